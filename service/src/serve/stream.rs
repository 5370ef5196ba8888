//! A socket below the HTTP library. Owns what a peer may do to a connection before anybody above hears of it: how long
//! a header may take and how many bytes it may hold, how long a connection may say nothing, how long the peer may leave
//! its answer unread. Owns the close in stages too (RFC 9112 §9.6). It reads no HTTP: the library above says through
//! [`Progress`] when a request has begun and when it is answered.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::budget::Held;
use super::progress::{Progress, Speech, Stage};

/// Header bytes that a connection may hold without taking from the budget.
pub const HEAD_BYTES_FREE: usize = 16 * 1024;
/// Bytes read at once of a body, so that the library above never grows its buffer by more.
const READ_BYTES_MAX: usize = 16 * 1024;
/// Bytes read at once of what is no body, and bytes after which other connections have their turn, whatever still lies
/// there: some hundred of the shortest frames of HTTP/2.
const TURN_BYTES: usize = 4 * 1024;
/// Length of what an HTTP/2 client says first (RFC 9113 §3.4), in bytes.
const PREFACE_BYTES: usize = 24;

/// How long a peer may take for what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// For a header, from its first byte to its last, or for the first words of HTTP/2, from the accept on.
    pub head: Duration,
    /// Without a request.
    pub idle: Duration,
    /// Without taking a byte of what we write.
    pub write: Duration,
    /// For taking all of an answer of known length.
    pub answer: Duration,
    /// To close after we have said everything: in all, and without sending anything.
    pub linger: Duration,
    /// See `linger`.
    pub linger_silence: Duration,
}

/// How the end of a connection goes on, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// Bytes of ours that the library above did not make, and how many of them are out.
    Refusing(&'static [u8], usize),
    /// FIN.
    ShuttingDown,
    /// Reading on until the peer closes: from then, and since it last sent something.
    Lingering(Instant, Instant),
    Closed,
}

/// A socket whose reads and writes are counted, and cut into turns.
pub(super) struct Stream<S> {
    io: S,
    clocks: Clocks,
    progress: Arc<Progress>,
    /// Since when the peer takes nothing.
    stuck: Option<Instant>,
    closing: Option<Closing>,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    /// Bytes read since others had their turn.
    taken: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// Around this socket.
    pub(super) fn new(io: S, clocks: Clocks, progress: Arc<Progress>) -> Stream<S> {
        Stream { io, clocks, progress, stuck: None, closing: None, read_timer: None, write_timer: None, taken: 0 }
    }

    /// Bytes came while no request was under way: they begin, or continue, a header.
    fn count_head(&mut self, bytes: usize) {
        let progress = Arc::clone(&self.progress);
        let mut state = progress.state();
        if state.stage == Stage::Idle {
            drop(state);
            progress.enter(Stage::Head);
            state = progress.state();
        }
        state.head_bytes += bytes;
        if progress.speech() == Speech::Http2 && state.head_bytes >= PREFACE_BYTES {
            drop(state);
            progress.enter(Stage::Request);
        }
    }

    /// Bytes that may be read now; none when a header is to be refused. What is read of it is held before.
    fn may_read(&self) -> usize {
        let mut state = self.progress.state();
        if state.stage == Stage::Request {
            return if state.has_requests() { READ_BYTES_MAX } else { TURN_BYTES };
        }
        let held = state.head_held.as_ref().map_or(0, Held::bytes);
        let left = (HEAD_BYTES_FREE + held).saturating_sub(state.head_bytes);
        if left > 0 {
            return left.min(TURN_BYTES);
        }
        let share = self.progress.share();
        let more = state.head_held.get_or_insert_with(|| share.for_strangers().hold_nothing());
        if more.try_grow_to(held + TURN_BYTES) {
            return TURN_BYTES;
        }
        state.refusal = Some(super::answers::NO_ROOM);
        0
    }

    /// Whether the time of what the peer does now is over; wakes the task when it is.
    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<Stage> {
        let (stage, since) = {
            let state = self.progress.state();
            (state.stage, state.since)
        };
        let time = match stage {
            Stage::Idle => self.clocks.idle,
            Stage::Head => self.clocks.head,
            Stage::Request => return Poll::Pending,
        };
        poll_timer(&mut self.read_timer, since + time, cx).map(|()| stage)
    }

    /// Go on closing. `Ok` when there is nothing left to wait for.
    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let next = match self.closing.unwrap_or(Closing::ShuttingDown) {
                Closing::Refusing(answer, out) if out < answer.len() => {
                    match ready!(self.poll_io_write(cx, |io, cx| io.poll_write(cx, &answer[out..])))? {
                        0 => Closing::Closed,
                        bytes => Closing::Refusing(answer, out + bytes),
                    }
                }
                Closing::Refusing(..) => Closing::ShuttingDown,
                Closing::ShuttingDown => {
                    ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
                    let state = self.progress.state();
                    // A header that is not whole, or a body that nobody read: more of it may be on its way.
                    let more = state.unread || state.stage == Stage::Head || self.progress.speech() == Speech::Http2;
                    drop(state);
                    // Who makes room for somebody else is not waited for.
                    let more = more && !self.progress.place().is_evicted();
                    self.progress.linger();
                    let now = Instant::now();
                    if more { Closing::Lingering(now, now) } else { Closing::Closed }
                }
                Closing::Lingering(began, heard) => match self.poll_linger(cx, began, heard) {
                    Poll::Ready(true) => Closing::Lingering(began, Instant::now()),
                    Poll::Ready(false) => Closing::Closed,
                    Poll::Pending => return Poll::Pending,
                },
                Closing::Closed => {
                    self.closing = Some(Closing::Closed);
                    return Poll::Ready(Ok(()));
                }
            };
            self.closing = Some(next);
        }
    }

    /// Throw away what still comes: true when something did, false when the waiting is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>, began: Instant, heard: Instant) -> Poll<bool> {
        let mut scrap = [const { MaybeUninit::uninit() }; TURN_BYTES];
        let mut scrap = ReadBuf::uninit(&mut scrap);
        match Pin::new(&mut self.io).poll_read(cx, &mut scrap) {
            Poll::Ready(Ok(())) if !scrap.filled().is_empty() && began.elapsed() < self.clocks.linger => {
                return Poll::Ready(true);
            }
            Poll::Ready(_) => return Poll::Ready(false),
            Poll::Pending => {}
        }
        let end = (began + self.clocks.linger).min(heard + self.clocks.linger_silence);
        poll_timer(&mut self.read_timer, end, cx).map(|()| false)
    }

    /// Write, and keep the time for which the peer takes nothing.
    fn poll_io_write(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match write(Pin::new(&mut self.io), cx) {
            Poll::Ready(written) => {
                if self.stuck.take().is_some() {
                    self.progress.stuck(false);
                }
                Poll::Ready(written)
            }
            Poll::Pending => {
                let stuck = *self.stuck.get_or_insert_with(|| {
                    self.progress.stuck(true);
                    Instant::now()
                });
                let made = self.progress.state().answer_made;
                let end = made.map_or(stuck + self.clocks.write, |made| made + self.clocks.answer);
                poll_timer(&mut self.write_timer, end.min(stuck + self.clocks.write), cx)
                    .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not take its answer")))
            }
        }
    }
}

/// Resolves at `deadline`; one timer serves one wait after the other.
fn poll_timer(timer: &mut Option<Pin<Box<Sleep>>>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
    if timer.deadline() != deadline {
        timer.as_mut().reset(deadline);
    }
    timer.as_mut().poll(cx)
}

fn aborted() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was refused")
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = &mut *self;
        loop {
            if let Some(answer) = stream.progress.take_refusal() {
                // Not into the middle of another answer.
                let out = if stream.stuck.is_some() { answer.len() } else { 0 };
                stream.closing = Some(Closing::Refusing(answer, out));
            }
            if stream.closing.is_some() {
                let _ = ready!(stream.poll_closing(cx));
                return Poll::Ready(Err(aborted()));
            }
            if stream.taken >= TURN_BYTES {
                stream.taken = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let room = buf.remaining().min(stream.may_read());
            if stream.progress.state().refusal.is_some() {
                continue;
            }
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
            let read = Pin::new(&mut stream.io).poll_read(cx, &mut part);
            let bytes = part.filled().len();
            stream.progress.state().note(part.filled());
            match read {
                Poll::Ready(Ok(())) => {
                    if bytes > 0 && stream.progress.state().stage != Stage::Request {
                        stream.count_head(bytes);
                    }
                    stream.taken += bytes;
                    buf.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => match ready!({
                    stream.taken = 0;
                    stream.progress.waits_for_peer();
                    stream.poll_clock(cx)
                }) {
                    Stage::Head if stream.progress.speech() == Speech::Http1 => {
                        stream.progress.state().refusal = Some(super::answers::TOO_SLOW);
                    }
                    Stage::Head => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    // Nothing was asked, so nothing is answered: the end of the stream ends the connection.
                    Stage::Idle | Stage::Request => return Poll::Ready(Ok(())),
                },
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.closing.is_some() {
            return Poll::Ready(Err(aborted()));
        }
        self.poll_io_write(cx, |io, cx| io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.closing.is_some() {
            return Poll::Ready(Err(aborted()));
        }
        self.poll_io_write(cx, |io, cx| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Closes in stages: FIN, then whatever the peer still sends is thrown away, until it closes too or takes too long.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_closing(cx)
    }
}
