//! One HTTP/2 connection with gRPC calls. Owns its settings: how many calls there are at once, and how much of their
//! messages may lie unread. Owns its life: how long one call may last down to its answer, and the end of a connection
//! without calls or of old age. `grpc` says what a call is answered.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::answer::{Answer, HeldByAnswer, HeldByExchange};
use super::answers;
use super::asked::Asked;
use super::budget::Held;
use super::connection::Connection;
use super::grpc::{self, Grpc};
use super::progress::{Progress, Speech};
use super::request::{self, Followed};
use super::stream::Stream;
use crate::access::Peer;
use crate::panics::{ContainedFuture, Ours};

/// Calls under way on one connection; a client waits with further ones.
pub const STREAMS_MAX: u32 = 64;
/// HTTP/2 window of a call, in bytes.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Window of a connection, in bytes: what all its calls together may leave unread outside of the budget.
pub const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes of a call's answer that the library may hold unsent.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a call's header.
const HEAD_BYTES_MAX: u32 = 16 * 1024;
/// Bytes that a call takes besides its header and its messages: its stream, its task, its answer.
const CALL_BYTES: usize = 8 * 1024;
/// Calls that wait for those at once, in the process.
static WAITING: Semaphore = Semaphore::const_new(256);
/// How long a call waits for those.
const ROOM_WITHIN: Duration = Duration::from_secs(2);
/// Silence after which the server pings, and how long it then waits.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection of this age is asked to go (GOAWAY), so that clients spread over new servers; up to a tenth later.
const AGE_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// How long a call lasts at most, until its answer is out; those of a connection that was asked to go too.
const CALL_LIFE: Duration = Duration::from_secs(60);
/// How long a connection that must make room has for its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The calls of one connection.
#[derive(Debug)]
struct Calls {
    active: AtomicUsize,
    idle_since: Mutex<Instant>,
    changed: Notify,
}

impl Calls {
    fn begin(self: &Arc<Calls>) -> Call {
        if self.active.fetch_add(1, Ordering::AcqRel) == 0 {
            self.changed.notify_one();
        }
        Call(Arc::clone(self))
    }

    /// Resolves when there has been no call for so long.
    async fn idle(&self, time: Duration) {
        loop {
            let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
            let busy = self.active.load(Ordering::Acquire) > 0;
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(since + time), if !busy => return,
            }
        }
    }
}

/// One call, until it is dropped.
struct Call(Arc<Calls>);

impl Drop for Call {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if self.0.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_one();
        }
    }
}

/// Runs each call from its header to the last byte of its answer, for a bounded time.
#[derive(Clone)]
struct RunCalls(Arc<Calls>);

impl<F> Executor<F> for RunCalls
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let call = self.0.begin();
        tokio::spawn(async move {
            // Whoever does not take his answer in time loses the call: dropping it resets the stream.
            let _ = tokio::time::timeout(CALL_LIFE, ContainedFuture::new("h2", future)).await;
            drop(call);
        });
    }
}

/// Serve calls on one connection to its end.
pub(super) async fn run<S>(io: S, mut connection: Connection, grpc: Grpc)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let progress = Progress::new(connection.place, connection.share, Speech::Http2);
    let stream = Stream::new(io, connection.clocks, Arc::clone(&progress));
    let calls =
        Arc::new(Calls { active: AtomicUsize::new(0), idle_since: Mutex::new(Instant::now()), changed: Notify::new() });
    let peer = connection.peer;
    let service = service_fn({
        let progress = Arc::clone(&progress);
        move |request| Ours::new(respond(grpc.clone(), peer, Arc::clone(&progress), request))
    });
    let http = settings(RunCalls(Arc::clone(&calls))).serve_connection(TokioIo::new(stream), service);
    let mut http = ContainedFuture::new("h2", http);
    let age = AGE_MAX + SmallRng::from_os_rng().random_range(Duration::ZERO..AGE_MAX / 10);
    let (old, mut last) = (tokio::time::sleep(age), None::<Instant>);
    let idle = calls.idle(connection.clocks.idle);
    tokio::pin!(old, idle);
    let mut evicted = false;
    loop {
        let time = tokio::select! {
            _ = &mut http => return,
            () = at(last) => return,
            () = progress.place().evicted(), if !evicted => {
                evicted = true;
                if !progress.place().may_have_last_words() {
                    return;
                }
                LAST_WORDS
            }
            () = &mut idle, if last.is_none() => LAST_WORDS,
            () = progress.ends(), if last.is_none() => LAST_WORDS,
            () = &mut old, if last.is_none() => CALL_LIFE,
            // Whoever serves bounds the time that is left.
            () = connection.stopping.wait() => CALL_LIFE,
        };
        let end = Instant::now() + time;
        last = Some(last.map_or(end, |last| end.min(last)));
        if let Some(http) = http.as_mut() {
            http.graceful_shutdown();
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn settings(calls: RunCalls) -> http2::Builder<RunCalls> {
    let mut builder = http2::Builder::new(calls);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}

async fn respond(
    grpc: Grpc,
    peer: Peer,
    progress: Arc<Progress>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let (exchange, _) = progress.request_begun();
    let call_held = hold(&progress, CALL_BYTES + head_bytes(request.uri(), request.headers())).await;
    let mut request = request.map(|body| Followed::new(body, Arc::clone(&exchange)));
    let checked = request::check(request.version(), request.uri(), request.headers());
    let mut response = match checked {
        Err(why) => answers::error(StatusCode::BAD_REQUEST, "bad_request", why),
        Ok(()) if call_held.is_none() => grpc::no_room(),
        Ok(()) => {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(Asked(Arc::clone(&exchange)));
            request.extensions_mut().insert(progress.share().clone());
            grpc.call(request).await
        }
    };
    let held = HeldByExchange(call_held, response.extensions_mut().remove::<HeldByAnswer>());
    Ok(response.map(|body: Body| Answer::new(body, held, Some(exchange))))
}

/// What a call holds. When there is no room, somebody makes room who lets us wait for his calls.
async fn hold(progress: &Progress, bytes: usize) -> Option<Held> {
    let share = progress.share().for_strangers();
    let mut held = share.hold_nothing();
    if held.grow_now(bytes) {
        return Some(held);
    }
    // Whose own address has used up what it may hold is told so at once: its calls would wait for each other, and are
    // no reason to end those of others.
    let own_full = !share.has_own(bytes);
    progress.place().end_one_that_stalls(own_full);
    if own_full {
        return None;
    }
    let Ok(_waits) = WAITING.try_acquire() else { return None };
    held.grow_to(bytes, ROOM_WITHIN).await.then_some(held)
}

/// What a header takes, about as HTTP/2 counts it (RFC 9113 §6.5.2).
fn head_bytes(uri: &Uri, headers: &HeaderMap) -> usize {
    let target =
        uri.path_and_query().map_or(0, |path| path.as_str().len()) + uri.authority().map_or(0, |a| a.as_str().len());
    target + headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>()
}
