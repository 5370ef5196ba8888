//! Serving a router on listeners. Owns the connections: how many there are, how long one may stay silent, and their end;
//! binds nothing and knows no route. Notes where each request comes from, for [`super::router`] and whatever is merged
//! with it: as [`Peer`], and as `ConnectInfo<SocketAddr>` when it came over TCP.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::Service as _;

use crate::ingress::access::Peer;

/// How long a connection may take to send a request's header, idle time between requests included. Longer than the 90 s
/// after which common clients give up their idle connections, so that they close first and no request meets a closed one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);

/// Wait after an accept that failed, for want of descriptors for one: it would fail again at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Bytes of one request's header; goim's lists of keys stand in it.
pub const HEADER_BYTES_MAX: usize = 512 * 1024;

/// Bounds on one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// How long requests under way may take to finish after the stop.
    pub finish_within: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        ServeLimits { connections_max: 4096, finish_within: Duration::from_secs(5) }
    }
}

/// What the servers that share it count.
#[derive(Debug, Default)]
pub struct ServeStats {
    connections: AtomicU64,
    accept_errors: AtomicU64,
}

impl ServeStats {
    /// Connections now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Accepts that failed and were tried again.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }
}

/// One connection, counted until this is dropped.
struct Counted(Arc<ServeStats>);

impl Counted {
    fn new(stats: &Arc<ServeStats>) -> Counted {
        stats.connections.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(stats))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What connections are accepted from.
pub trait Listener: Send {
    /// A connection.
    type Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static;

    /// The next connection and where it comes from.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, Peer)>>;
}

impl Listener for TcpListener {
    type Io = TcpStream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, Peer)>> {
        TcpListener::poll_accept(self, cx).map_ok(|(stream, address)| (stream, Peer::Tcp(address)))
    }
}

impl Listener for UnixListener {
    type Io = UnixStream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, Peer)>> {
        UnixListener::poll_accept(self, cx).map_ok(|(stream, _)| (stream, Peer::Unix))
    }
}

/// The next connection, however often accepting fails before: the listener outlives any want of descriptors. It is said once
/// until one was accepted again.
async fn accept<L: Listener>(listener: &L, failing: &mut bool, stats: &ServeStats) -> (L::Io, Peer) {
    loop {
        match poll_fn(|cx| listener.poll_accept(cx)).await {
            Ok(accepted) => {
                *failing = false;
                return accepted;
            }
            Err(error) => {
                stats.accept_errors.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(failing, true) {
                    tracing::warn!(%error, "cannot accept HTTP connections, trying again");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Serve until `stop` resolves, then let requests under way finish.
pub async fn serve<L: Listener>(
    listener: L,
    router: Router,
    limits: ServeLimits,
    stats: Arc<ServeStats>,
    stop: impl Future<Output = ()>,
) {
    let room = Arc::new(Semaphore::new(limits.connections_max.max(1)));
    let stopping = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    let mut failing = false;
    tokio::pin!(stop);
    loop {
        let accept = async {
            let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
            (place, accept(&listener, &mut failing, &stats).await)
        };
        let (place, (io, peer)) = tokio::select! {
            accepted = accept => accepted,
            () = &mut stop => break,
        };
        // Those that ended meanwhile are forgotten here, so that the set is no larger than the connections.
        while connections.try_join_next().is_some() {}
        let connection = connection(io, peer, router.clone(), stopping.subscribe());
        let counted = Counted::new(&stats);
        connections.spawn(async move {
            connection.await;
            drop((counted, place));
        });
    }
    drop(listener);
    stopping.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    // Whoever takes longer is cut off as the set is dropped.
    let _ = tokio::time::timeout(limits.finish_within, all).await;
}

async fn connection<I>(io: I, peer: Peer, router: Router, mut stopping: watch::Receiver<bool>)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| respond(router.clone(), peer, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    tokio::select! {
        // What went wrong on one connection is its peer's business; the peer sees it closed.
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn respond(mut router: Router, peer: Peer, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    if let Peer::Tcp(address) = peer {
        request.extensions_mut().insert(ConnectInfo(address));
    }
    router.call(request).await
}
