//! Accepted gRPC connections. Owns their number, the time each has to say that it speaks HTTP/2, and the accept loop, which no
//! error ends: without a descriptor to spare it tries again shortly (goim's defect C20 made for clients what this avoids for
//! jobs). Understands nothing of what it reads. Next: tonic.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::feed::stats::FeedStats;

/// How long to leave the listener alone after it failed.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Length of what a client says first (RFC 9113 §3.4), in bytes.
const PREFACE_BYTES: usize = 24;
/// How long it may take to come, all of it. From then on the pings of HTTP/2 find out who is gone.
pub const PREFACE_TIME: Duration = Duration::from_secs(10);

/// How many connections there may be, on all listeners together, and where they are counted.
#[derive(Clone, Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    stats: Arc<FeedStats>,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
struct Place {
    stats: Arc<FeedStats>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// So many.
    pub fn new(places: usize, stats: Arc<FeedStats>) -> Places {
        Places { free: Arc::new(Semaphore::new(places)), stats }
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

impl Place {
    fn taken(places: &Places, permit: OwnedSemaphorePermit) -> Place {
        places.stats.connection_opened();
        Place { stats: Arc::clone(&places.stats), _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stats.connection_closed();
    }
}

/// One accepted connection, counted until it is dropped.
#[derive(Debug)]
pub struct Accepted {
    stream: TcpStream,
    /// `None` once it is here.
    preface: Option<Preface>,
    _place: Place,
}

/// What is still to come of a client's first words, and until when.
#[derive(Debug)]
struct Preface {
    bytes_left: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Preface {
    fn awaited() -> Preface {
        Preface { bytes_left: PREFACE_BYTES, deadline: Box::pin(sleep(PREFACE_TIME)) }
    }
}

/// The connections of a listener, for ever. None is accepted while all places are taken.
pub fn incoming(listener: TcpListener, places: Places) -> impl Stream<Item = Result<Accepted, Infallible>> {
    unfold((listener, places, false), |(listener, places, mut failing)| async move {
        let permit = places.place().await?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Without it answers are late, not wrong.
                    let _ = stream.set_nodelay(true);
                    let place = Place::taken(&places, permit);
                    let connection = Accepted { stream, preface: Some(Preface::awaited()), _place: place };
                    return Some((Ok(connection), (listener, places, false)));
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "cannot accept gRPC connections, trying again");
                    }
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    })
}

impl Connected for Accepted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Accepted {
    /// Fails with `TimedOut` when nothing more is there and the preface is late.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Accepted { stream, preface, .. } = &mut *self;
        let Some(Preface { bytes_left, deadline }) = preface else {
            return Pin::new(stream).poll_read(cx, buf);
        };
        let before = buf.filled().len();
        match Pin::new(stream).poll_read(cx, buf) {
            Poll::Pending => {
                ready!(deadline.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            read => {
                *bytes_left = bytes_left.saturating_sub(buf.filled().len() - before);
                if *bytes_left == 0 {
                    *preface = None;
                }
                read
            }
        }
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
