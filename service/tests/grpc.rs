//! The gRPC server on real sockets, against a client that speaks HTTP/2 by hand: what is asked before a body is read,
//! what bodies and connections may hold and for how long.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Request};
use axum::routing::post;
use axum::{Router, body};
use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use halley_service::access::rules::AccessRules;
use halley_service::access::tokens::Token;
use halley_service::access::{Access, Scope};
use halley_service::serve::answer::HeldByAnswer;
use halley_service::serve::budget::{Budget, Share};
use halley_service::serve::grpc::{Grpc, Method};
use halley_service::serve::places::{Phase, PlaceLimits};
use halley_service::serve::{Application, CONNECTION_WINDOW_BYTES, Clocks, STREAMS_MAX};
use support::{NEVER, PATIENCE, SOON, Server, eventually, in_time, limits, places, read_all};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::service::Routes;

const CALL: Scope = Scope { bit: 0, what: "calling", setting: "call_token", needs_this_machine: false };
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Calls whose messages came to a service.
static SERVED: AtomicUsize = AtomicUsize::new(0);

async fn echo(request: Request) -> http::Response<Body> {
    SERVED.fetch_add(1, Ordering::SeqCst);
    let message = body::to_bytes(request.into_body(), usize::MAX).await.expect("whole");
    answer(Bytes::from(message.len().to_string()))
}

async fn large(Extension(share): Extension<Share>) -> http::Response<Body> {
    let mut response = answer(Bytes::from(vec![b'x'; 8 << 20]));
    response.extensions_mut().insert(HeldByAnswer::from(share.try_hold(1 << 20).expect("room")));
    response
}

fn answer(bytes: Bytes) -> http::Response<Body> {
    let response = http::Response::builder().header("content-type", "application/grpc").header("grpc-status", "0");
    response.body(Body::from(bytes)).expect("an answer")
}

fn calls(access: Access, call_time: Duration) -> Application {
    let services = Router::new()
        .route("/t.T/Echo", post(echo))
        .route("/t.T/Large", post(large))
        .route("/t.T/Never", post(async || std::future::pending::<String>().await))
        .route("/t.T/Hidden", post(echo));
    let method = |path| Method {
        path,
        scope: CALL,
        message_bytes_max: MESSAGE_BYTES_MAX,
        weigh: Arc::new(|message: &[u8]| match message {
            [b'!', ..] => Err(Status::resource_exhausted("too heavy")),
            _ => Ok(0),
        }),
    };
    let methods = vec![method("/t.T/Echo"), method("/t.T/Large"), method("/t.T/Never")];
    Application::Grpc(Grpc::new(Routes::from(services), methods, AccessRules::new(access), call_time))
}

fn open() -> Access {
    Access::default().open_to_all(CALL)
}

async fn start(clocks: Clocks, budget: Budget) -> Server {
    Server::start(calls(open(), PATIENCE), limits(places(64), clocks), budget).await
}

struct Client {
    send: SendRequest<Bytes>,
    /// Resolves with the error that ended the connection, if any.
    driver: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(server: &Server) -> Client {
        Client::on(server.connect().await).await
    }

    async fn on(io: TcpStream) -> Client {
        Client::try_on(io).await.expect("HTTP/2")
    }

    /// `None` when the connection ends before it is one.
    async fn try_connect(server: &Server) -> Option<Client> {
        Client::try_on(server.connect().await).await
    }

    async fn try_on(io: TcpStream) -> Option<Client> {
        let (send, connection) = h2::client::handshake(io).await.ok()?;
        Some(Client { send, driver: tokio::spawn(connection) })
    }

    /// Begin a call; its body follows on the stream.
    async fn begin(&mut self, method: &str, headers: &[(&str, &str)]) -> (ResponseFuture, SendStream<Bytes>) {
        self.try_begin(method, headers).await.expect("a stream")
    }

    /// `None` when the connection has ended.
    async fn try_begin(
        &mut self,
        method: &str,
        headers: &[(&str, &str)],
    ) -> Option<(ResponseFuture, SendStream<Bytes>)> {
        let mut request =
            http::Request::post(format!("http://a/t.T/{method}")).header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send = self.send.clone().ready().await.ok()?;
        self.send.send_request(request.body(()).expect("a request"), false).ok()
    }

    async fn call(&mut self, method: &str, message: &[u8], headers: &[(&str, &str)]) -> (String, String) {
        let (response, mut body) = self.begin(method, headers).await;
        // The server may answer, and end the stream, before all of it is sent.
        let _ = body.send_data(framed(message), true);
        answered(response).await
    }
}

/// A message with its prefix.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("short");
    [&[0], &length.to_be_bytes()[..], message].concat().into()
}

/// The status and the body of an answer.
async fn answered(response: ResponseFuture) -> (String, String) {
    let response = tokio::time::timeout(PATIENCE, response).await.expect("in time").expect("an answer");
    let (head, mut body) = response.into_parts();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        text.extend_from_slice(&data.expect("data"));
    }
    let status = head.headers.get("grpc-status").map_or("", |status| status.to_str().expect("digits")).to_owned();
    (status, String::from_utf8_lossy(&text).into_owned())
}

const UNAUTHENTICATED: &str = "16";
const OUT_OF_RANGE: &str = "11";
const RESOURCE_EXHAUSTED: &str = "8";
const INVALID_ARGUMENT: &str = "3";
const DEADLINE_EXCEEDED: &str = "4";
const UNIMPLEMENTED: &str = "12";

/// Messages come whole to their service; methods that are not listed are not there; other things than gRPC are told so.
#[tokio::test]
async fn calls_are_served() {
    let server = start(NEVER, Budget::new(8 << 20)).await;
    let mut client = Client::connect(&server).await;
    for bytes in [0, 1, 100_000, MESSAGE_BYTES_MAX] {
        let expected = ("0".to_owned(), (bytes + 5).to_string());
        assert_eq!(client.call("Echo", &vec![b'x'; bytes], &[]).await, expected);
    }
    assert_eq!(client.call("Hidden", b"x", &[]).await.0, UNIMPLEMENTED);
    assert_eq!(client.call("Nothing", b"x", &[]).await.0, UNIMPLEMENTED);
    assert_eq!(client.call("Echo", b"!", &[]).await.0, RESOURCE_EXHAUSTED);
    let (response, mut body) = client.begin("Echo", &[]).await;
    body.send_data(Bytes::from_static(b"\0\0\0\0\x02x"), true).expect("sent");
    assert_eq!(answered(response).await.0, INVALID_ARGUMENT, "half a message");
    let (response, mut body) = client.begin("Echo", &[]).await;
    body.send_data([framed(b"one"), framed(b"two")].concat().into(), true).expect("sent");
    assert_eq!(answered(response).await.0, INVALID_ARGUMENT, "two messages");
    eventually("all is given back", || server.serving.budget().held_bytes() == 0).await;
}

/// Who may not call is told so by his header, before he sends a byte of his message.
#[tokio::test]
async fn the_token_is_asked_for_before_a_body_is_read() {
    let token = Token::new("call-0123456789abcdef", "call_token", &[CALL]).expect("a token");
    let application = calls(Access::new(vec![token]), PATIENCE);
    let server = Server::start(application, limits(places(4), NEVER), Budget::new(1 << 20)).await;
    let mut client = Client::connect(&server).await;
    let (response, _body) = client.begin("Echo", &[]).await;
    assert_eq!(answered(response).await.0, UNAUTHENTICATED);
    let began = tokio::time::Instant::now();
    let (response, _body) = client.begin("Echo", &[("authorization", "Bearer wrong")]).await;
    assert_eq!(answered(response).await.0, UNAUTHENTICATED);
    assert!(began.elapsed() >= Duration::from_millis(250), "it is held back");
    let right = [("authorization", "Bearer call-0123456789abcdef")];
    assert_eq!(client.call("Echo", b"x", &right).await.0, "0");
}

/// A message that is too long is refused by its prefix, not when it has come.
#[tokio::test]
async fn a_message_is_judged_by_its_prefix() {
    let server = start(NEVER, Budget::new(8 << 20)).await;
    let mut client = Client::connect(&server).await;
    let (response, mut body) = client.begin("Echo", &[]).await;
    body.send_data(Bytes::from_static(b"\0\0\x10\0\x01"), false).expect("sent");
    assert_eq!(answered(response).await.0, OUT_OF_RANGE);
}

/// Unfinished messages hold what came of them and no more than the budget; when it is used up others are refused in
/// bounded time, and all is given back.
#[tokio::test]
async fn unfinished_messages_hold_no_more_than_the_budget() {
    let budget = Budget::new(2 << 20);
    let server = start(NEVER, budget.clone()).await;
    let mut clients = Vec::new();
    let mut calls = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(&server).await;
        for _ in 0..2 {
            let (response, mut body) = client.begin("Echo", &[]).await;
            body.send_data(framed(&vec![b'x'; 200_000]).slice(..100_000), false).expect("sent");
            calls.push((response, body));
        }
        clients.push(client);
    }
    // One address holds half: about ten of the sixteen.
    eventually("the half is held", || budget.held_bytes() > 900_000).await;
    assert!(budget.held_bytes() <= 1 << 20);
    let refused = futures_util::future::join_all(calls.into_iter().map(async |(response, body)| {
        let waited = tokio::time::timeout(Duration::from_secs(10), response).await;
        drop(body);
        matches!(waited, Ok(Ok(response)) if response.headers()["grpc-status"] == RESOURCE_EXHAUSTED)
    }));
    assert!(refused.await.contains(&true));
    drop(clients);
    eventually("all is given back", || budget.held_bytes() == 0).await;
}

/// A call has a deadline, the caller's if that is sooner, from its header on.
#[tokio::test]
async fn calls_have_a_deadline() {
    let application = calls(open(), SOON);
    let server = Server::start(application, limits(places(4), NEVER), Budget::new(1 << 20)).await;
    let mut client = Client::connect(&server).await;
    assert_eq!(client.call("Never", b"x", &[]).await.0, DEADLINE_EXCEEDED);
    let (response, _body) = client.begin("Echo", &[]).await;
    assert_eq!(answered(response).await.0, DEADLINE_EXCEEDED, "its message does not come");
    let patient = start(NEVER, Budget::new(1 << 20)).await;
    let mut client = Client::connect(&patient).await;
    assert_eq!(client.call("Never", b"x", &[("grpc-timeout", "50m")]).await.0, DEADLINE_EXCEEDED);
}

/// Idle connections end, and say so first; those with a call under way stay.
#[tokio::test]
async fn idle_connections_end() {
    let server = start(Clocks { idle: SOON, ..NEVER }, Budget::new(1 << 20)).await;
    // Connections that were idle too long before they came to call prove nothing: they get successors.
    let (_busy, mut response, mut body) = in_time(SOON, "a call under way", async || {
        let mut busy = Client::try_connect(&server).await?;
        let (response, body) = busy.try_begin("Echo", &[]).await?;
        // Answered, it is not idle; the call that stays makes it so.
        let (other, mut whole) = busy.try_begin("Echo", &[]).await?;
        whole.send_data(framed(b"x"), true).ok()?;
        other.await.ok()?;
        Some((busy, response, body))
    })
    .await;
    let idle = in_time(SOON, "an answer", async || {
        let mut idle = Client::try_connect(&server).await?;
        let (response, mut body) = idle.try_begin("Echo", &[]).await?;
        body.send_data(framed(b"x"), true).ok()?;
        response.await.ok()?;
        Some(idle)
    })
    .await;
    tokio::time::timeout(PATIENCE, idle.driver).await.expect("in time").expect("no panic").expect("a clean end");
    let still = tokio::time::timeout(3 * SOON, &mut response).await;
    assert!(still.is_err(), "the call goes on");
    body.send_data(framed(b"x"), true).expect("sent");
    assert_eq!(answered(response).await.0, "0");
}

/// Who does not say the preface in time is closed, and a preface in pieces is taken.
#[tokio::test]
async fn the_preface_has_its_time() {
    let server = start(Clocks { head: SOON, ..NEVER }, Budget::new(1 << 20)).await;
    for words in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let mut io = server.connect().await;
        io.write_all(words).await.expect("sent");
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, io.read_to_end(&mut rest)).await.expect("closed in time");
    }
    // One whose pieces took too long proves nothing: it gets a successor.
    let mut io = in_time(SOON, "settings", async || {
        let mut io = server.connect().await;
        for piece in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".chunks(11) {
            io.write_all(piece).await.ok()?;
            tokio::time::sleep(SOON / 10).await;
        }
        hears(&mut io, b"\0\0\0\x04\x01").await.then_some(io)
    })
    .await;
    tokio::time::sleep(2 * SOON).await;
    // PING and its answer.
    io.write_all(b"\0\0\x08\x06\0\0\0\0\0halley!!").await.expect("sent");
    assert!(hears(&mut io, b"halley!!").await, "still open");
    let mut http1 = server.connect().await;
    http1.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    let _ = read_all(&mut http1).await;
    server.wait_for_connections(1).await;
}

/// Whether these bytes come before the stream ends.
async fn hears(io: &mut TcpStream, bytes: &[u8]) -> bool {
    let mut heard = Vec::new();
    let hear = async {
        while !heard.windows(bytes.len()).any(|window| window == bytes) {
            if io.read_buf(&mut heard).await.unwrap_or(0) == 0 {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(PATIENCE, hear).await.expect("heard in time")
}

/// Strangers who only hold connections are no reason to keep a job waiting: the longest idle makes room.
#[tokio::test]
async fn idle_connections_make_room_for_calls() {
    let places = PlaceLimits { places_max: 6, per_address_max: 3, kept: 0 };
    let server = Server::start(calls(open(), PATIENCE), limits(places, NEVER), Budget::new(1 << 20)).await;
    let mut strangers = Vec::new();
    for last in [5, 5, 5, 6, 6, 6] {
        strangers.push(Client::on(server.connect_from(last).await).await);
    }
    server.wait_for_connections(6).await;
    tokio::time::sleep(halley_service::serve::places::NEW_GRACE).await;
    let mut job = Client::on(server.connect_from(7).await).await;
    assert_eq!(job.call("Echo", b"x", &[]).await.0, "0");
    let evicted = || server.stats.evicted(Phase::New) + server.stats.evicted(Phase::Idle);
    assert_eq!(evicted(), 1);
    strangers.push(Client::on(server.connect_from(6).await).await);
    eventually("its own makes room", || evicted() == 2).await;
    assert_eq!(job.call("Echo", b"x", &[]).await.0, "0");
}

/// Calls that wait for their caller are no claim to a place: he does not send his message, or gives no window for his
/// answer.
#[tokio::test]
async fn calls_that_let_us_wait_make_room() {
    let places = PlaceLimits { places_max: 3, per_address_max: 4, kept: 0 };
    let server = Server::start(calls(open(), PATIENCE), limits(places, NEVER), Budget::new(64 << 20)).await;
    let deaf = {
        let mut builder = h2::client::Builder::new();
        let io = server.connect().await;
        let (send, connection) = builder.initial_window_size(0).handshake::<_, Bytes>(io).await.expect("HTTP/2");
        let driver = tokio::spawn(connection);
        let mut send = send.ready().await.expect("ready");
        // No gRPC, so it is answered with a sentence.
        let request = http::Request::post("http://a/").body(()).expect("a request");
        let (response, _) = send.send_request(request, true).expect("sent");
        let response = tokio::time::timeout(PATIENCE, response).await.expect("in time").expect("a head");
        assert_eq!(response.status(), 415);
        (send, driver, response)
    };
    let silent = {
        let mut client = Client::connect(&server).await;
        let call = client.begin("Echo", &[]).await;
        (client, call)
    };
    let mut works = Client::connect(&server).await;
    let mut call = works.begin("Never", &[]).await;
    call.1.send_data(framed(b"x"), true).expect("sent");
    assert_eq!(works.call("Echo", b"x", &[]).await.0, "0", "behind the call");
    let mut new = Vec::new();
    for phase in [Phase::Answer, Phase::Body] {
        // It is let in when the other had his second.
        let mut client = Client::connect(&server).await;
        let mut call = client.begin("Never", &[]).await;
        call.1.send_data(framed(b"x"), true).expect("sent");
        assert_eq!(client.call("Echo", b"x", &[]).await.0, "0", "behind the call");
        new.push((client, call));
        assert_eq!(server.stats.evicted(phase), 1, "{phase:?}");
    }
    assert_eq!(server.stats.evicted(Phase::Work), 0);
    drop((silent, deaf, works, call));
}

/// Calls whose messages do not come hold no room that others need: the one that lets us wait longest leaves for a new
/// call.
#[tokio::test]
async fn stalled_calls_make_room_for_others() {
    let budget = Budget::new(512 * 1024);
    let server = start(NEVER, budget.clone()).await;
    let (mut stalled, mut held) = (Vec::new(), Vec::new());
    for last in [5, 6] {
        for _ in 0..4 {
            let mut client = Client::on(server.connect_from(last).await).await;
            for _ in 0..4 {
                held.push(client.begin("Echo", &[]).await);
            }
            stalled.push(client);
        }
    }
    // One address holds 128 KiB of this at most, two all that strangers have.
    eventually("it is full", || budget.held_bytes() > 230 * 1024).await;
    tokio::time::sleep(halley_service::serve::places::GRACE).await;
    let mut job = Client::on(server.connect_from(7).await).await;
    for _ in 0..3 {
        assert_eq!(job.call("Echo", b"x", &[]).await.0, "0");
    }
    drop((stalled, held));
}

/// Too many wrong tokens end their connection, which is slower than guessing on.
#[tokio::test]
async fn too_many_wrong_tokens_end_the_connection() {
    let token = Token::new("call-0123456789abcdef", "call_token", &[CALL]).expect("a token");
    let application = calls(Access::new(vec![token]), PATIENCE);
    let server = Server::start(application, limits(places(64), NEVER), Budget::new(64 << 20)).await;
    let (mut clients, mut waiting) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let mut client = Client::connect(&server).await;
        for _ in 0..60 {
            let Some((response, _)) = client.try_begin("Echo", &[("authorization", "Bearer wrong")]).await else {
                break;
            };
            waiting.push(response);
        }
        clients.push(client);
    }
    let mut ended = futures_util::future::select_all(clients.into_iter().map(|client| client.driver));
    let (first, ..) = tokio::time::timeout(PATIENCE, &mut ended).await.expect("one ends");
    first.expect("no panic").expect("a clean end");
}

/// What a message is packed with is said in the header also of one that is not packed.
#[tokio::test]
async fn an_unpacked_message_may_come_with_an_encoding() {
    let server = start(NEVER, Budget::new(8 << 20)).await;
    let mut client = Client::connect(&server).await;
    for encoding in ["gzip", "identity"] {
        assert_eq!(client.call("Echo", b"x", &[("grpc-encoding", encoding)]).await, ("0".to_owned(), "6".to_owned()));
    }
}

/// Long headers of calls take from the budget as long as the call.
#[tokio::test]
async fn long_headers_take_from_the_budget() {
    let budget = Budget::new(512 * 1024);
    let server = start(NEVER, budget.clone()).await;
    let mut client = Client::connect(&server).await;
    let long = "x".repeat(15_000);
    let mut held = Vec::new();
    // One address holds a quarter: 128 KiB, and a call with such a header some 23.
    for number in 1..=5 {
        held.push(client.begin("Echo", &[("x-long", &long)]).await);
        eventually("it is held", || budget.held_bytes() >= number * 22_000).await;
    }
    assert_eq!(client.call("Echo", b"x", &[("x-long", &long)]).await.0, RESOURCE_EXHAUSTED);
    assert!(server.stats.evicted(Phase::Body) == 0, "nobody leaves for himself");
    drop((held, client));
    eventually("it is given back", || budget.held_bytes() == 0).await;
}

/// An address whose calls take all its places gets no further connection, and nobody waits behind it.
#[tokio::test]
async fn a_busy_address_is_in_nobodys_way() {
    let places = PlaceLimits { places_max: 8, per_address_max: 2, kept: 0 };
    let server = Server::start(calls(open(), PATIENCE), limits(places, NEVER), Budget::new(1 << 20)).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = Client::on(server.connect_from(5).await).await;
        let mut call = client.begin("Never", &[]).await;
        call.1.send_data(framed(b"x"), true).expect("sent");
        busy.push((client, call));
    }
    for (client, _) in &mut busy {
        // Answered behind the call: by now it is under way.
        assert_eq!(client.call("Echo", b"x", &[]).await.0, "0");
    }
    let mut refused = server.connect_from(5).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, refused.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty(), "closed without a word");
    assert_eq!(Client::on(server.connect_from(6).await).await.call("Echo", b"x", &[]).await.0, "0");
}

/// What a stranger may do at once, as it is told to him.
#[tokio::test]
async fn streams_and_windows_are_small() {
    let server = start(NEVER, Budget::new(1 << 20)).await;
    let mut client = Client::connect(&server).await;
    assert_eq!(client.call("Echo", b"x", &[]).await.0, "0");
    assert_eq!(client.send.current_max_send_streams(), STREAMS_MAX as usize);
    // Nothing is read of bodies that are not waited for: the connection's window is what may lie there.
    let (_response, mut body) = client.begin("Never", &[]).await;
    body.send_data(framed(b"x"), false).expect("sent");
    body.reserve_capacity(16 << 20);
    eventually("more than without settings", || body.capacity() > 65_535).await;
    assert!(body.capacity() <= CONNECTION_WINDOW_BYTES as usize, "{}", body.capacity());
}

/// A caller that never takes its answer loses the call after a minute, and what the answer held is given back.
#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_is_given_up() {
    let server = start(NEVER, Budget::new(4 << 20)).await;
    let mut client = Client::connect(&server).await;
    let (response, mut body) = client.begin("Large", &[]).await;
    body.send_data(framed(b"x"), true).expect("sent");
    let response = response.await.expect("its head");
    let budget = server.serving.budget().clone();
    assert!(budget.held_bytes() > 0);
    tokio::time::sleep(Duration::from_secs(70)).await;
    eventually("it is given back", || budget.held_bytes() == 0).await;
    let mut rest = response.into_body();
    let ended = async {
        while let Some(data) = rest.data().await {
            let Ok(data) = data else { return };
            let _ = rest.flow_control().release_capacity(data.len());
        }
        panic!("the answer came whole");
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("reset");
}
