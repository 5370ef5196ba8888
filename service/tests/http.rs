//! The HTTP server on real sockets: clocks, bounds, who makes room, the close in stages, the end.

mod support;

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::routing::{get, post};
use axum::{Extension, Router};
use halley_service::access::rules::AccessRules;
use halley_service::access::tokens::Token;
use halley_service::access::{Access, Caller, Peer, Scope};
use halley_service::panics::contained_total;
use halley_service::serve::answer::HeldByAnswer;
use halley_service::serve::asked::hold_back;
use halley_service::serve::body;
use halley_service::serve::budget::{Budget, Share};
use halley_service::serve::listener::Listener;
use halley_service::serve::places::{Phase, PlaceLimits};
use halley_service::serve::{Application, Clocks, HEAD_BYTES_FREE, HEAD_BYTES_MAX};
use support::{NEVER, PATIENCE, SOON, Server, ask, eventually, exchange, in_time, limits, places, read_all};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_LAST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";

/// How many requests are under way, or were, at the routes that somebody waits for.
#[derive(Clone, Default)]
struct Begun {
    /// `/wait`, which ends when a permit comes.
    waits: Arc<AtomicU32>,
    /// `/large`.
    large: Arc<AtomicU32>,
}

fn routes(begun: Begun) -> Router {
    let Begun { waits, large } = begun;
    let gate = Arc::new(Semaphore::new(0));
    let (wait, open) = (Arc::clone(&gate), gate);
    Router::new()
        .route("/", get(|Extension(peer): Extension<Peer>| async move { format!("hello {peer}") }))
        .route("/healthz", get(async || "ok"))
        .route("/take", post(take))
        .route("/refuse", post(async || (http::StatusCode::FORBIDDEN, "no")))
        .route(
            "/large",
            get(async move |share| {
                let response = self::large(share).await;
                large.fetch_add(1, Ordering::SeqCst);
                response
            }),
        )
        .route(
            "/wait",
            get(async move || {
                waits.fetch_add(1, Ordering::SeqCst);
                let _ = wait.acquire().await;
                "done"
            }),
        )
        .route("/open", post(async move || open.add_permits(100)))
}

async fn take(Extension(share): Extension<Share>, request: Request) -> (http::StatusCode, String) {
    let (head, body) = request.into_parts();
    match body::read(&head.headers, body, 1 << 20, &share).await {
        Ok(whole) => (http::StatusCode::OK, whole.bytes.len().to_string()),
        Err(error) => (http::StatusCode::PAYLOAD_TOO_LARGE, format!("{error:?}")),
    }
}

async fn large(Extension(share): Extension<Share>) -> http::Response<Body> {
    let mut response = http::Response::new(Body::from(Bytes::from(vec![b'x'; 32 << 20])));
    let held = share.try_hold(1 << 20).expect("room");
    response.extensions_mut().insert(HeldByAnswer::from(held));
    response
}

fn http() -> Application {
    http_with(&Begun::default())
}

fn http_with(begun: &Begun) -> Application {
    Application::Http(routes(begun.clone()))
}

async fn start(places: PlaceLimits, clocks: Clocks) -> Server {
    Server::start(http(), limits(places, clocks), Budget::new(4 << 20)).await
}

/// Where a request comes from is noted, over TCP and over a Unix socket.
#[tokio::test]
async fn peers_are_noted() {
    let server = start(places(4), NEVER).await;
    let answer = exchange(server.connect().await, GET_LAST).await;
    assert!(answer.contains("hello 127.0.0.1:"), "{answer}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("http.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let local = Server::start_on(listener, server.address, http(), limits(places(4), NEVER), Budget::new(1 << 20));
    let answer = exchange(UnixStream::connect(&path).await.expect("it listens"), GET_LAST).await;
    assert!(answer.contains("hello unix socket"), "{answer}");
    drop(local);
}

/// A header that has begun has its time, an idle connection another one, and whoever sends a header in pieces within
/// its time is served.
#[tokio::test]
async fn headers_and_idle_connections_have_their_times() {
    let server = start(places(8), Clocks { head: SOON, ..NEVER }).await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nHos").await.expect("sent");
    let answer = read_all(&mut half).await.expect("an answer, no reset");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let mut second = server.connect().await;
    assert!(ask(&mut second, GET).await.starts_with("HTTP/1.1 200"));
    second.write_all(b"GET /").await.expect("sent");
    assert!(read_all(&mut second).await.expect("no reset").starts_with("HTTP/1.1 408 "), "the second header too");
    let mut idle = server.connect().await;
    tokio::time::sleep(3 * SOON).await;
    assert!(ask(&mut idle, GET).await.starts_with("HTTP/1.1 200"), "before the first byte no header has begun");
    tokio::time::sleep(3 * SOON).await;
    assert!(ask(&mut idle, GET).await.starts_with("HTTP/1.1 200"), "between requests neither");

    let server = start(places(8), Clocks { idle: SOON, ..NEVER }).await;
    // One that was idle too long before it came to ask proves nothing: it gets a successor.
    let mut idle = in_time(SOON, "an answer", async || {
        let mut io = server.connect().await;
        io.write_all(GET.as_bytes()).await.ok()?;
        let mut answer = vec![0; 4096];
        let bytes = io.read(&mut answer).await.ok().filter(|bytes| *bytes > 0)?;
        assert!(answer[..bytes].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        Some(io)
    })
    .await;
    assert_eq!(read_all(&mut idle).await.expect("no reset"), "");
    assert_eq!(read_all(&mut server.connect().await).await.expect("no reset"), "", "nor who never says a word");
}

/// A header may be long, but not endless, and one that fills the bound is told so, whatever follows it.
#[tokio::test]
async fn headers_are_bounded() {
    let server = start(places(4), NEVER).await;
    let begin = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Long: ";
    let long = format!("{begin}{}\r\n\r\n", "x".repeat(100_000));
    assert!(exchange(server.connect().await, &long).await.starts_with("HTTP/1.1 200 "));
    let target = format!("GET /?{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "k=0123456789&".repeat(5_000));
    assert!(target.len() > 60_000 && exchange(server.connect().await, &target).await.starts_with("HTTP/1.1 200 "));
    let endless = format!("{begin}{}", "x".repeat(4 * HEAD_BYTES_MAX));
    let mut io = server.connect().await;
    // The answer comes while we are still sending.
    let _ = io.write_all(endless.as_bytes()).await;
    io.shutdown().await.expect("our end");
    assert!(read_all(&mut io).await.expect("no reset").starts_with("HTTP/1.1 431 "));
}

/// Sixteen KiB of a header are free; the rest is held as long as the request, and is given back.
#[tokio::test]
async fn long_headers_take_from_the_budget() {
    let budget = Budget::new(512 * 1024);
    let server = Server::start(http(), limits(places(16), NEVER), budget.clone()).await;
    let mut free = Vec::new();
    for _ in 0..4 {
        let mut io = server.connect().await;
        io.write_all(&[b'x'; HEAD_BYTES_FREE - 1]).await.expect("sent");
        free.push(io);
    }
    server.wait_for_connections(4).await;
    assert_eq!(budget.held_bytes(), 0);
    // One address holds half of half of the budget: 128 KiB.
    let mut holding = Vec::new();
    for number in 1..=2 {
        let mut io = server.connect().await;
        io.write_all(&vec![b'x'; HEAD_BYTES_FREE + 60 * 1024 - 1]).await.expect("sent");
        holding.push(io);
        eventually("the header is held", || budget.held_bytes() == number * 60 * 1024).await;
    }
    let mut third = server.connect().await;
    third.write_all(&[b'x'; HEAD_BYTES_FREE + 20 * 1024]).await.expect("sent");
    let answer = read_all(&mut third).await.expect("no reset");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    let mut other = server.connect_from(2).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(80_000));
    assert!(ask(&mut other, &long).await.starts_with("HTTP/1.1 200 "), "another address has its own quarter");
    assert!(ask(&mut server.connect().await, GET).await.starts_with("HTTP/1.1 200 "), "a short header needs none");
    // What was refused holds its bytes as long as its connection.
    assert!(budget.held_bytes() > 120 * 1024);
    drop((holding, third));
    eventually("all is given back", || budget.held_bytes() == 0).await;
}

/// A header that has come with the request before it has its time too.
#[tokio::test]
async fn a_header_that_came_with_another_request_has_its_time() {
    let server = start(places(4), Clocks { head: SOON, ..NEVER }).await;
    let mut io = server.connect().await;
    io.write_all(format!("{GET}GET / HT").as_bytes()).await.expect("sent");
    let answers = read_all(&mut io).await.expect("no reset");
    assert!(answers.starts_with("HTTP/1.1 200 ") && answers.contains("HTTP/1.1 408 "), "{answers}");
    let mut io = server.connect().await;
    assert!(ask(&mut io, &format!("{GET}{GET}")).await.starts_with("HTTP/1.1 200 "));
    tokio::time::sleep(3 * SOON).await;
    assert!(ask(&mut io, GET).await.starts_with("HTTP/1.1 200 "), "whole headers leave it idle");
}

/// Whoever sends very many requests at once is answered one of them, and then others have their turn.
#[tokio::test]
async fn many_requests_at_once_keep_nobody_waiting() {
    const AT_ONCE: u32 = 4_000;
    let (begun, first) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let (counted, opened) = (Arc::clone(&begun), Arc::clone(&first));
    let routes = Router::new()
        .route("/count", get(async move || counted.fetch_add(1, Ordering::SeqCst).to_string()))
        .route("/first", get(async move || opened.acquire().await.map(drop).map_or("", |()| "go")));
    let server = Server::start(Application::Http(routes), limits(places(8), NEVER), Budget::new(4 << 20)).await;
    let mut many = server.connect().await;
    let begin = "GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
    let rest = "GET /count HTTP/1.1\r\nHost: a\r\n\r\n".repeat(AT_ONCE as usize);
    many.write_all(format!("{begin}{rest}").as_bytes()).await.expect("sent");
    let mut other = server.connect().await;
    ask(&mut other, "GET /count HTTP/1.1\r\nHost: a\r\n\r\n").await;
    first.add_permits(1);
    let came = ask(&mut other, "GET /count HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let before = came.rsplit("\r\n").next().and_then(|count| count.parse::<u32>().ok()).expect("a number");
    assert!(before < AT_ONCE / 4, "{before} of them were answered first");
}

/// Answers to wrong tokens are held back on their connections, which stay; beyond the bound they go out at once and end
/// them.
#[tokio::test]
async fn beyond_the_bound_a_wrong_token_ends_its_connection() {
    const HELD_BACK: usize = 256;
    let scope = Scope { bit: 0, what: "asking", setting: "ask_token", needs_this_machine: true };
    let token = Token::new("ask-0123456789abcdef", "ask_token", &[scope]).expect("a token");
    let rules = AccessRules::new(Access::new(vec![token]));
    let guess = async move |request: Request| {
        let caller = Caller::of(&request);
        let denied = rules.check(&caller, scope).expect_err("a wrong token");
        hold_back(&rules, request.extensions(), caller.peer, denied).await.to_string()
    };
    let routes = Router::new().route("/guess", get(guess));
    let server = Server::start(Application::Http(routes), limits(places(400), NEVER), Budget::new(4 << 20)).await;
    let ask_with = async |io: &mut TcpStream| {
        let answer = ask(io, "GET /guess HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer wrong\r\n\r\n").await;
        (answer.contains("connection: close"), answer.contains("too many wrong tokens"))
    };
    // Each wrong token doubles the time for which the next ones are held back, up to four seconds.
    let together = in_time(Duration::from_secs(4), "all at once", async || {
        let guesses = (0..HELD_BACK + 4).map(async |_| ask_with(&mut server.connect().await).await);
        let ended = futures_util::future::join_all(guesses).await;
        ended.contains(&(true, true)).then_some(ended)
    });
    let ended = together.await;
    assert!(ended.iter().all(|(last, too_many)| last == too_many), "those held back stay, the others end");
    assert!(ended.contains(&(false, false)));
}

/// A body in very small pieces is its sender's business, not ours: he makes room, and others have their turn meanwhile.
#[tokio::test]
async fn a_body_that_comes_without_end_makes_room() {
    let server = start(PlaceLimits { places_max: 1, per_address_max: 2, kept: 0 }, NEVER).await;
    let mut busy = server.connect().await;
    busy.write_all(b"POST /take HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.expect("sent");
    let feed = tokio::spawn(async move { while busy.write_all(b"1\r\nx\r\n").await.is_ok() {} });
    server.wait_for_connections(1).await;
    assert!(ask(&mut server.connect().await, GET).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(server.stats.evicted(Phase::Body), 1);
    feed.await.expect("it ends");
}

/// Who has sent all of his body and waits for us is not taken for one who lets us wait.
#[tokio::test]
async fn who_waits_for_us_after_his_body_stays() {
    let gate = Arc::new(Semaphore::new(0));
    let (wait, taken) = (Arc::clone(&gate), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&taken);
    let work = async move |Extension(share): Extension<Share>, request: Request| {
        let (head, body) = request.into_parts();
        let whole = body::read(&head.headers, body, 1 << 20, &share).await.map(|whole| whole.bytes.len());
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = wait.acquire().await;
        whole.unwrap_or(0).to_string()
    };
    let routes = Router::new().route("/work", post(work)).route("/", get(async || "hello"));
    let places = PlaceLimits { places_max: 1, per_address_max: 2, kept: 0 };
    let server = Server::start(Application::Http(routes), limits(places, NEVER), Budget::new(4 << 20)).await;
    let mut waits = server.connect().await;
    waits.write_all(b"POST /work HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo").await.expect("sent");
    server.wait_for_connections(1).await;
    waits.write_all(b"dy").await.expect("sent");
    eventually("the body is taken", || taken.load(Ordering::SeqCst) == 1).await;
    let mut other = server.connect().await;
    other.write_all(GET.as_bytes()).await.expect("sent");
    tokio::time::sleep(halley_service::serve::places::GRACE + SOON).await;
    gate.add_permits(1);
    let mut answer = [0; 15];
    tokio::time::timeout(PATIENCE, waits.read_exact(&mut answer)).await.expect("in time").expect("it stayed");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    assert!(read_some(&mut other).await.starts_with("HTTP/1.1 200 "), "who came meanwhile is let in after it");
}

async fn read_some(io: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let bytes = tokio::time::timeout(PATIENCE, io.read(&mut answer)).await.expect("in time").expect("an answer");
    String::from_utf8_lossy(&answer[..bytes]).into_owned()
}

/// Whoever is answered before his body was read gets the answer, however much he still sends; and is told that the
/// connection ends.
#[tokio::test]
async fn an_early_answer_survives_what_the_client_still_sends() {
    let server = start(places(64), NEVER).await;
    let address = server.address;
    for (path, status) in [("/refuse", "403"), ("/take", "413"), ("/nothing", "404")] {
        for bytes in [5_000_000, 900_000] {
            if path == "/take" && bytes < 1 << 20 {
                continue;
            }
            // A client that reads only when all is sent, as Python's http.client does: blocking, on a thread of its
            // own.
            let answer = tokio::task::spawn_blocking(move || {
                use std::io::{Read as _, Write as _};
                let mut io = std::net::TcpStream::connect(address).expect("it listens");
                io.set_read_timeout(Some(PATIENCE)).expect("set");
                io.set_write_timeout(Some(PATIENCE)).expect("set");
                let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n");
                io.write_all(head.as_bytes()).expect("sent");
                io.write_all(&vec![b'x'; bytes]).expect("no broken pipe");
                let mut answer = vec![0; 4096];
                let got = io.read(&mut answer).expect("an answer, no reset");
                String::from_utf8_lossy(&answer[..got]).into_owned()
            });
            let answer = answer.await.expect("no panic");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {bytes}: {answer}");
            assert!(answer.contains("connection: close"), "{path}: {answer}");
        }
    }
    let mut kept = server.connect().await;
    let whole = "POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    for _ in 0..2 {
        let answer = ask(&mut kept, whole).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("connection: close"), "{answer}");
    }
}

/// Who still sends after his answer is read on only for a while.
#[tokio::test]
async fn reading_on_is_bounded() {
    let clocks = Clocks { linger: 5 * SOON, linger_silence: SOON, ..NEVER };
    let server = start(places(4), clocks).await;
    let head = "POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
    let mut silent = server.connect().await;
    silent.write_all(head.as_bytes()).await.expect("sent");
    let mut busy = server.connect().await;
    busy.write_all(head.as_bytes()).await.expect("sent");
    let trickle = tokio::spawn(async move {
        while busy.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SOON / 4).await
        }
    });
    assert!(read_all(&mut silent).await.expect("no reset").starts_with("HTTP/1.1 403 "));
    tokio::time::timeout(PATIENCE, trickle).await.expect("it ends in time").expect("no panic");
    server.wait_for_connections(0).await;
}

/// A peer that does not read its answer loses the connection, and what the answer held is given back.
#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let begun = Begun::default();
    let clocks = Clocks { write: SOON, ..NEVER };
    let server = Server::start(http_with(&begun), limits(places(4), clocks), Budget::new(4 << 20)).await;
    let mut deaf = server.connect().await;
    deaf.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    // It holds what it needs until it is given up, which may be before we look.
    eventually("the answer is made", || begun.large.load(Ordering::SeqCst) == 1).await;
    server.wait_for_connections(0).await;
    assert_eq!(server.serving.budget().held_bytes(), 0);
}

/// A peer that takes its answer a little at a time has a time for all of it.
#[tokio::test]
async fn an_answer_that_is_read_byte_by_byte_is_given_up() {
    let clocks = Clocks { answer: 5 * SOON, ..NEVER };
    let server = start(places(4), clocks).await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    let reading = tokio::spawn(async move {
        let mut some = [0; 1024];
        while let Ok(1..) = slow.read(&mut some).await {
            tokio::time::sleep(SOON / 20).await;
        }
    });
    server.wait_for_connections(1).await;
    // What the kernel holds by then is still read for a while.
    server.wait_for_connections(0).await;
    reading.abort();
}

/// Who does not take his answer makes room after a second, as does who does not send his body; who waits for us stays.
#[tokio::test]
async fn those_who_let_us_wait_make_room() {
    let begun = Begun::default();
    let server = Server::start(http_with(&begun), limits(places(3), NEVER), Budget::new(4 << 20)).await;
    let mut held = Vec::new();
    for words in [
        "GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
        "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut io = server.connect().await;
        io.write_all(words.as_bytes()).await.expect("sent");
        held.push(io);
    }
    eventually("one waits", || begun.waits.load(Ordering::SeqCst) == 1).await;
    for phase in [Phase::Answer, Phase::Body] {
        let ask_until_served = async {
            loop {
                let mut io = server.connect().await;
                io.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
                let waits = begun.waits.load(Ordering::SeqCst);
                let mut answer = [0; 12];
                // It is answered that there is no place, or waits.
                let refused = tokio::time::timeout(SOON, io.read(&mut answer)).await;
                if refused.is_err() && begun.waits.load(Ordering::SeqCst) >= waits {
                    break io;
                }
            }
        };
        held.push(tokio::time::timeout(PATIENCE, ask_until_served).await.expect("a place"));
        eventually("it made room", || server.stats.evicted(phase) == 1).await;
    }
    assert_eq!(server.stats.evicted(Phase::Work), 0);
}

/// Idle connections make room, longest idle first; nobody is shut out by them.
#[tokio::test]
async fn idle_connections_make_room_for_new_ones() {
    let server = start(places(4), NEVER).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut io = server.connect().await;
        ask(&mut io, GET).await;
        idle.push(io);
    }
    let mut asks_again = idle.remove(0);
    ask(&mut asks_again, GET).await;
    let mut fifth = server.connect().await;
    assert!(ask(&mut fifth, GET).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(read_all(&mut idle[0]).await.expect("no reset"), "", "the longest idle");
    assert!(ask(&mut asks_again, GET).await.starts_with("HTTP/1.1 200 "), "who asked since then stays");
    assert_eq!(server.stats.evicted(Phase::Idle), 1);
}

/// Half a header is no claim to a place: after a second it makes room, with a word of why.
#[tokio::test]
async fn unfinished_headers_make_room_after_a_second() {
    // A server whose first second was over before anybody asked proves nothing: it gets a successor.
    let (server, mut half) = in_time(Duration::from_secs(1), "a refusal", async || {
        let server = start(places(2), NEVER).await;
        let mut half = Vec::new();
        for _ in 0..2 {
            let mut io = server.connect().await;
            io.write_all(b"GET / HTTP/1.1\r\nHost").await.expect("sent");
            half.push(io);
        }
        server.wait_for_connections(2).await;
        // Within the first second only who asks for health is answered.
        let busy = ask(&mut server.connect().await, GET).await;
        let refused = busy.starts_with("HTTP/1.1 503 ") && busy.contains("connection: close");
        let healthy = ask(&mut server.connect().await, HEALTH).await.starts_with("HTTP/1.1 200 ");
        (refused && healthy).then_some((server, half))
    })
    .await;
    let began = tokio::time::Instant::now();
    while !ask(&mut server.connect().await, GET).await.starts_with("HTTP/1.1 200 ") {
        assert!(began.elapsed() < PATIENCE, "they never make room");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(read_all(&mut half[0]).await.expect("no reset").starts_with("HTTP/1.1 503 "));
    assert_eq!(server.stats.evicted(Phase::Head), 1);
}

/// When everybody waits for us, who asks how we are is answered all the same, again and again, and nobody else is kept
/// waiting without a word.
#[tokio::test]
async fn health_is_answered_when_all_places_are_busy() {
    let begun = Begun::default();
    let server = Server::start(http_with(&begun), limits(places(3), NEVER), Budget::new(4 << 20)).await;
    let mut busy = Vec::new();
    for _ in 0..3 {
        let mut io = server.connect().await;
        io.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        busy.push(io);
    }
    eventually("they wait for us", || begun.waits.load(Ordering::SeqCst) == 3).await;
    // Those who take the kept places and say nothing.
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(server.connect().await);
        let mut io = server.connect().await;
        let answer = ask(&mut io, HEALTH).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
        let answer = ask(&mut server.connect().await, GET).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("too many connections"), "{answer}");
    }
    let (address, listener) = server.stats.turned_away();
    assert_eq!(address + listener, 30);
    assert!(busy.iter().all(|io| io.try_read(&mut [0; 1]).is_err()), "nobody who waits for us was ended");
}

/// One address holds its share; others find places, and its own idle ones make room for its new ones.
#[tokio::test]
async fn one_address_holds_its_share_only() {
    let server = start(PlaceLimits { places_max: 8, per_address_max: 3, kept: 2 }, NEVER).await;
    let mut own = Vec::new();
    for _ in 0..6 {
        let mut io = server.connect_from(9).await;
        assert!(ask(&mut io, GET).await.starts_with("HTTP/1.1 200 "));
        own.push(io);
    }
    assert_eq!(server.stats.evicted(Phase::Idle), 3);
    server.wait_for_connections(3).await;
    for last in 10..14 {
        let mut io = server.connect_from(last).await;
        assert!(ask(&mut io, GET).await.starts_with("HTTP/1.1 200 "), "{last}");
        own.push(io);
    }
    assert!(ask(&mut own[5], GET).await.starts_with("HTTP/1.1 200 "));
}

/// What is no request of HTTP's is refused below all routes, and what follows on the connection is not believed.
#[tokio::test]
async fn requests_without_one_host_are_refused() {
    let server = start(places(64), NEVER).await;
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /take HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let answer = exchange(server.connect().await, &format!("{request}{GET}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close"), "{request}: {answer}");
        assert_eq!(answer.matches("content-length").count(), 1, "{request}: {answer}");
    }
    for request in
        ["GET http://a/ HTTP/1.1\r\nHost: a\r\n", "GET http://a:80/ HTTP/1.1\r\nHost: A\r\n", "GET / HTTP/1.0\r\n"]
    {
        let answer = exchange(server.connect().await, &format!("{request}Connection: close\r\n\r\n")).await;
        assert!(answer.contains(" 200 "), "{request}: {answer}");
    }
}

/// While the process stops, answers say that their connections end, so that clients go elsewhere.
#[tokio::test]
async fn while_stopping_answers_close_their_connections() {
    let server = start(places(4), NEVER).await;
    let mut io = server.connect().await;
    assert!(!ask(&mut io, GET).await.contains("connection: close"));
    server.serving.close_soon();
    assert!(ask(&mut io, GET).await.contains("connection: close"));
    assert_eq!(read_all(&mut io).await.expect("no reset"), "");
}

/// The stop lets a request under way finish, ends idle connections, and takes no new ones.
#[tokio::test]
async fn the_stop_waits_for_requests_under_way() {
    let begun = Begun::default();
    let mut server = Server::start(http_with(&begun), limits(places(8), NEVER), Budget::new(4 << 20)).await;
    let mut idle = server.connect().await;
    ask(&mut idle, GET).await;
    let mut opens = server.connect().await;
    opens.write_all(b"POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").await.expect("sent");
    let mut waits = server.connect().await;
    waits.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    eventually("it waits", || begun.waits.load(Ordering::SeqCst) == 1).await;
    let address = server.address;
    let stopping = server.stop();
    assert_eq!(read_all(&mut idle).await.expect("no reset"), "", "an idle connection is closed");
    assert!(!stopping.is_finished());
    opens.write_all(b"x").await.expect("sent");
    assert!(read_all(&mut waits).await.expect("no reset").ends_with("done"));
    drop(opens);
    tokio::time::timeout(PATIENCE, stopping).await.expect("in time").expect("no panic");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

/// What never finishes is cut off when its time is over.
#[tokio::test]
async fn the_stop_is_bounded() {
    let mut short = limits(places(4), NEVER);
    short.finish_within = SOON;
    let mut server = Server::start(http(), short, Budget::new(1 << 20)).await;
    let mut half = server.connect().await;
    half.write_all(b"POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await.expect("sent");
    server.wait_for_connections(1).await;
    tokio::time::timeout(PATIENCE, server.stop()).await.expect("in time").expect("no panic");
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
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let poor = Poor(listener, AtomicU32::new(0));
    let server = Server::start_on(poor, address, http(), limits(places(4), NEVER), Budget::new(1 << 20));
    assert!(ask(&mut server.connect().await, GET).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(server.stats.accept_errors(), 3);
}

/// Sockets on which reading a `!` panics, as a library below a connection might on some byte.
struct Trap(TcpListener);

struct TrapIo(TcpStream);

impl Listener for Trap {
    type Io = TrapIo;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<(TrapIo, Peer)>> {
        Listener::poll_accept(&self.0, cx).map_ok(|(io, peer)| (TrapIo(io), peer))
    }
}

impl AsyncRead for TrapIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.0).poll_read(cx, buf);
        assert!(!buf.filled().contains(&b'!'), "on a byte of the peer");
        polled
    }
}

impl AsyncWrite for TrapIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A panic below a connection ends that connection, is counted, and concerns nobody else.
#[tokio::test]
async fn a_panic_on_what_a_peer_sent_ends_his_connection_only() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let server = Server::start_on(Trap(listener), address, http(), limits(places(4), NEVER), Budget::new(1 << 20));
    let mut good = server.connect().await;
    ask(&mut good, GET).await;
    let before = contained_total();
    let mut bad = server.connect().await;
    bad.write_all(b"GET /! HTTP/1.1\r\n").await.expect("sent");
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, bad.read_to_end(&mut rest)).await.expect("it ends");
    assert_eq!(contained_total(), before + 1);
    assert!(ask(&mut good, GET).await.starts_with("HTTP/1.1 200 "));
    server.wait_for_connections(1).await;
}
