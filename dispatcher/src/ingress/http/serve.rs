//! Serving a router on listeners. Owns the connections: how many there are, how long one may stay silent, and their end;
//! binds nothing and knows no route. Notes where each request comes from, for [`super::router`] and whatever is merged
//! with it: as [`Peer`], and as `ConnectInfo<SocketAddr>` when it came over TCP.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::Service as _;

use crate::ingress::access::Peer;

/// How long a connection may take to send a request's header, idle time between requests included. Longer than the 90 s
/// after which common clients give up their idle connections, so that they close first and no request meets a closed one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);

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

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        Peer::Tcp(address)
    }
}

impl From<tokio::net::unix::SocketAddr> for Peer {
    fn from(_: tokio::net::unix::SocketAddr) -> Peer {
        Peer::Unix
    }
}

/// Serve until `stop` resolves, then let requests under way finish. Listeners are `tokio::net::TcpListener` and
/// `tokio::net::UnixListener`.
pub async fn serve<L>(mut listener: L, router: Router, limits: ServeLimits, stop: impl Future<Output = ()>)
where
    L: Listener,
    L::Addr: Into<Peer>,
{
    let room = Arc::new(Semaphore::new(limits.connections_max.max(1)));
    let stopping = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accept = async {
            let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
            (place, listener.accept().await)
        };
        let (place, (io, address)) = tokio::select! {
            accepted = accept => accepted,
            () = &mut stop => break,
        };
        // Those that ended meanwhile are forgotten here, so that the set is no larger than the connections.
        while connections.try_join_next().is_some() {}
        let connection = connection(io, address.into(), router.clone(), stopping.subscribe());
        connections.spawn(async move {
            connection.await;
            drop(place);
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
