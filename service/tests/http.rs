//! The HTTP server on real sockets: who a request comes from, the bounds on connections, the end.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use halley_dispatcher::assemble::Settings;
use halley_dispatcher::ingress::access::Peer;
use halley_dispatcher::ingress::http::serve::{HEADER_BYTES_MAX, Listener, ServeLimits, ServeStats, serve};
use support::{FakeGateway, Stand};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const PUSH: &str =
    "POST /goim/push/all?operation=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";

/// A router on a port of its own; the sender stops it.
async fn start(router: Router, limits: ServeLimits) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(listener, router, limits, Arc::default(), async { drop(stopped.await) }));
    (address, stop, server)
}

async fn exchange(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Peers on this machine are known as such over TCP and over a Unix socket, and may push without a token.
#[tokio::test]
async fn local_peers_are_recognised() {
    let stand = Stand::new();
    let (address, _stop, _server) = start(stand.http.clone(), ServeLimits::default()).await;
    let answer = exchange(TcpStream::connect(address).await.unwrap(), PUSH).await;
    assert!(answer.ends_with(r#"{"code":0,"message":""}"#), "{answer}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ingress.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(serve(listener, stand.http.clone(), ServeLimits::default(), Arc::default(), std::future::pending()));
    let answer = exchange(UnixStream::connect(&path).await.unwrap(), PUSH).await;
    assert!(answer.ends_with(r#"{"code":0,"message":""}"#), "{answer}");
    assert_eq!(stand.delivered().await.len(), 2);
}

/// One connection more than allowed is served as soon as another ends, not before and not never.
#[tokio::test]
async fn connections_are_bounded() {
    let stand = Stand::new();
    let limits = ServeLimits { connections_max: 1, ..ServeLimits::default() };
    let (address, _stop, _server) = start(stand.http.clone(), limits).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET /goim/online/total HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(first.read(&mut [0; 1024]).await.unwrap() > 0, "the first is served and stays open");
    let second = tokio::spawn(async move { exchange(TcpStream::connect(address).await.unwrap(), PUSH).await });
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert!(!second.is_finished());
    drop(first);
    assert!(second.await.unwrap().ends_with(r#"{"code":0,"message":""}"#));
}

/// The stop lets a request under way finish, ends idle connections, and takes no new ones.
#[tokio::test]
async fn the_stop_waits_for_requests_under_way() {
    let stand = Stand::with(Settings::default(), FakeGateway::stuck());
    let limits = ServeLimits { finish_within: Duration::from_secs(60), ..ServeLimits::default() };
    let (address, stop, server) = start(stand.http.clone(), limits).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /goim/online/total HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
    let body = r#"{"target":{"all":true},"op":1,"text":"x"}"#;
    let request = format!(
        "POST /v1/push HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let under_way = tokio::spawn(async move { exchange(TcpStream::connect(address).await.unwrap(), &request).await });
    while stand.ingress.bus().depth().records == 0 {
        tokio::task::yield_now().await;
    }
    stop.send(()).unwrap();
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap(), 0, "an idle connection is closed");
    assert!(!server.is_finished());
    stand.gateway.may_deliver.add_permits(1);
    assert!(under_way.await.unwrap().ends_with(r#"{"id":"0-0","matched":3}"#));
    server.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

/// What never finishes is cut off when its time is over.
#[tokio::test]
async fn the_stop_is_bounded() {
    let stand = Stand::new();
    let limits = ServeLimits { finish_within: Duration::from_millis(50), ..ServeLimits::default() };
    let (address, stop, server) = start(stand.http.clone(), limits).await;
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"POST /goim/push/all?operation=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        .await
        .unwrap();
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    stop.send(()).unwrap();
    server.await.unwrap();
    assert_eq!(stand.delivered().await, []);
}

/// A request header beyond the bound is refused as such. It fills the bound to the byte, so that nothing of it is left
/// unread, which would make the close a reset that destroys the answer.
#[tokio::test]
async fn headers_are_bounded() {
    let stand = Stand::new();
    let (address, _stop, _server) = start(stand.http.clone(), ServeLimits::default()).await;
    let io = TcpStream::connect(address).await.unwrap();
    let begin = "GET / HTTP/1.1\r\nHost: a\r\nX-Long: ";
    let answer = exchange(io, &format!("{begin}{}", "x".repeat(HEADER_BYTES_MAX - begin.len()))).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// A listener that has no descriptor for its first three connections.
struct Poor(TcpListener, AtomicU32);

impl Listener for Poor {
    type Io = TcpStream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<(TcpStream, Peer)>> {
        if self.1.fetch_add(1, Ordering::Relaxed) < 3 {
            return Poll::Ready(Err(std::io::Error::from_raw_os_error(24 /* EMFILE */)));
        }
        Listener::poll_accept(&self.0, cx)
    }
}

/// Want of descriptors ends no listener: it is counted, and connections are served as soon as there are some again.
#[tokio::test]
async fn out_of_descriptors_never_ends_the_accept_loop() {
    let stand = Stand::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stats: Arc<ServeStats> = Arc::default();
    let poor = Poor(listener, AtomicU32::new(0));
    tokio::spawn(serve(poor, stand.http.clone(), ServeLimits::default(), stats.clone(), std::future::pending()));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /goim/online/total HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_ne!(client.read(&mut [0; 256]).await.unwrap(), 0);
    assert_eq!((stats.accept_errors(), stats.connections()), (3, 1));
}
