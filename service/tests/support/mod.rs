//! What the tests of this crate share: a server on a port of its own, with short clocks and few places.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use halley_service::serve::budget::Budget;
use halley_service::serve::listener::Listener;
use halley_service::serve::places::PlaceLimits;
use halley_service::serve::stats::ListenerStats;
use halley_service::serve::{Application, Clocks, ServeLimits, Serving, serve};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Clocks that never strike within a test.
pub const NEVER: Clocks = Clocks {
    head: Duration::from_secs(3600),
    idle: Duration::from_secs(3600),
    write: Duration::from_secs(3600),
    answer: Duration::from_secs(3600),
    linger: Duration::from_secs(3600),
    linger_silence: Duration::from_secs(3600),
};

/// Times after which something strikes, and which is soon over.
pub const SOON: Duration = Duration::from_millis(200);

pub struct Server {
    pub address: SocketAddr,
    pub serving: Serving,
    pub stats: Arc<ListenerStats>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// So many places, all of which one address may have.
pub fn places(places_max: usize) -> PlaceLimits {
    PlaceLimits { places_max, per_address_max: places_max, kept: 2 }
}

pub fn limits(places: PlaceLimits, clocks: Clocks) -> ServeLimits {
    ServeLimits { places, clocks, finish_within: Duration::from_secs(60) }
}

impl Server {
    pub async fn start(application: Application, limits: ServeLimits, budget: Budget) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        Server::start_on(listener, address, application, limits, budget)
    }

    pub fn start_on(
        listener: impl Listener,
        address: SocketAddr,
        application: Application,
        limits: ServeLimits,
        budget: Budget,
    ) -> Server {
        let (serving, stats) = (Serving::new(budget), ListenerStats::new("test"));
        let (stop, stopped) = oneshot::channel();
        let serve =
            serve(listener, application, limits, serving.clone(), Arc::clone(&stats), async { drop(stopped.await) });
        Server { address, serving, stats, stop: Some(stop), task: tokio::spawn(serve) }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// A connection from another address of this machine.
    pub async fn connect_from(&self, last: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).expect("a free port");
        socket.connect(self.address).await.expect("it listens")
    }

    /// Tell it to stop, and return what ends when it has.
    pub fn stop(&mut self) -> &mut JoinHandle<()> {
        let _ = self.stop.take().map(|stop| stop.send(()));
        &mut self.task
    }

    /// Wait until so many connections are served.
    pub async fn wait_for_connections(&self, count: u64) {
        eventually("so many connections", || self.stats.connections() == count).await;
    }
}

/// Wait until something is true.
pub async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Tries what must be done within a time until it was: an attempt that fails says something only if it was not late.
pub async fn in_time<T>(time: Duration, what: &str, attempt: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let began = Instant::now();
        let done = tokio::time::timeout(PATIENCE, attempt()).await.unwrap_or_else(|_| panic!("never: {what}"));
        if let Some(done) = done {
            return done;
        }
        assert!(began.elapsed() >= time, "not done, though there was time: {what}");
        assert!(Instant::now() < deadline, "never in time: {what}");
    }
}

/// Everything up to the end of the stream; a reset is an error.
pub async fn read_all(io: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut text = Vec::new();
    tokio::time::timeout(PATIENCE, io.read_to_end(&mut text)).await.expect("an end in time")?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Send a request and read everything that comes.
pub async fn exchange(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    io.write_all(request.as_bytes()).await.expect("sent");
    read_all(&mut io).await.expect("an answer")
}

/// Send a request on a connection that stays open, and read its answer's beginning.
pub async fn ask(io: &mut TcpStream, request: &str) -> String {
    io.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4096];
    let bytes = tokio::time::timeout(PATIENCE, io.read(&mut answer)).await.expect("in time").expect("an answer");
    String::from_utf8_lossy(&answer[..bytes]).into_owned()
}
