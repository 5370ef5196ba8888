//! The admin routes: what they find, close and stream, and whom they refuse.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use halley_gateway::close::CloseReason;
use halley_gateway::control::access::{ADMIN, OBSERVE};
use halley_gateway::control::admin::{Admin, router};
use halley_gateway::control::health::{CONTROL, others};
use halley_gateway::control::metrics::shards::Shards;
use halley_gateway::control::trace_stream::TRACES_MAX;
use halley_gateway::feed::intake::{self, DirectoryEntry, Intake, Select, Totals, WatchNews, WatchSink};
use halley_gateway::mesh::msg::{ConnRef, ControlToShard, RoomRef};
use halley_service::access::rules::AccessRules;
use halley_service::access::tokens::Token;
use halley_service::access::{Access, Peer};
use halley_service::health::{HEALTH_MS, Health};
use halley_service::lifecycle::{Lifecycle, Phase};
use halley_service::metrics::Metrics;
use halley_service::pulse::Pulse;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt;

use crate::support::{PATIENCE, conn, start, within};

/// A gateway of two shards. Mid 7 has the keys `a` on shard 0 and `b` on shard 1; the room `live://1` has both.
struct Gateway {
    routes: Router,
    lifecycle: Lifecycle,
    admin: Arc<Admin>,
    access: AccessRules,
    shards: mpsc::UnboundedReceiver<ControlToShard>,
    watches: mpsc::UnboundedReceiver<(Select, WatchSink)>,
}

fn entry(shard: u16, conn: ConnRef, key: &str) -> DirectoryEntry {
    DirectoryEntry { shard, conn, key: key.to_owned(), mid: 7, peer: None }
}

fn logins(select: &Select) -> Vec<DirectoryEntry> {
    let both = [entry(0, conn(1), "a"), entry(1, conn(2), "b")];
    let meant = |entry: &DirectoryEntry| match select {
        Select::Key(key) => *key == entry.key,
        Select::Mid(mid) => *mid == entry.mid,
    };
    both.into_iter().filter(meant).collect()
}

async fn fake_feed(mut requests: mpsc::Receiver<intake::Request>, watches: mpsc::UnboundedSender<(Select, WatchSink)>) {
    while let Some(request) = requests.recv().await {
        match request {
            intake::Request::Find { select, reply } => drop(reply.send(logins(&select))),
            intake::Request::Close { select, reason, reply } => {
                assert_eq!(reason, CloseReason::ClosedByOperator);
                let _ = reply.send(logins(&select).len() as u64);
            }
            intake::Request::FindRoom { room, reply } => {
                let place = RoomRef { slot: 0, generation: 1 };
                let places = if room == "live://1" { vec![(0, place, 1), (1, place, 1)] } else { Vec::new() };
                drop(reply.send(places));
            }
            intake::Request::Name { conns, reply } => {
                let all = logins(&Select::Mid(7));
                let named = all.into_iter().filter(|entry| conns.contains(&(entry.shard, entry.conn)));
                drop(reply.send(named.collect()));
            }
            intake::Request::Totals { reply } => drop(reply.send(Totals::default())),
            intake::Request::Watch { select, news } => drop(watches.send((select, news))),
            other => panic!("{other:?}"),
        }
    }
}

fn gateway() -> Gateway {
    let (control, fakes) = start(2, 64, None);
    let (heard, shards) = mpsc::unbounded_channel();
    for (fake, member) in fakes.into_iter().zip([conn(1), conn(2)]) {
        tokio::spawn(fake.serve(vec![member], heard.clone()));
    }
    let (intake, requests) = Intake::new();
    let (watch, watches) = mpsc::unbounded_channel();
    tokio::spawn(fake_feed(requests, watch));
    let lifecycle = Lifecycle::default();
    let metrics = Metrics::default().with(Shards(vec![Arc::default(), Arc::default()]));
    let access = AccessRules::default();
    let health = Health::new(others(control.clone(), intake.clone()), Vec::new());
    let admin = Admin::new(control, intake, metrics, lifecycle.clone(), health, access.clone());
    Gateway { routes: router(Arc::clone(&admin)), lifecycle, admin, access, shards, watches }
}

impl Gateway {
    async fn ask(&self, method: &str, path: &str, accept: &str, peer: &str) -> axum::response::Response {
        let peer: SocketAddr = peer.parse().expect("an address");
        let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1").header("accept", accept);
        let mut request = request.body(Body::empty()).expect("a request");
        request.extensions_mut().insert(Peer::Tcp(peer));
        self.routes.clone().oneshot(request).await.expect("an answer")
    }

    async fn text(&self, method: &str, path: &str) -> (StatusCode, String) {
        let answer = self.ask(method, path, "*/*", "127.0.0.1:9").await;
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    async fn json(&self, method: &str, path: &str) -> (u16, Value) {
        let (status, text) = self.text(method, path).await;
        (status.as_u16(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
    }
}

#[tokio::test]
async fn connections_are_shown_by_key_user_and_room() {
    let gateway = gateway();
    let (status, mut found) = gateway.json("GET", "/v1/connections?key=b").await;
    let since = found["connections"][0]["since"].take();
    let expected = json!({ "total": 1, "scope": "gateway", "connections": [{
        "connection": "1-2-1", "shard": 1, "key": "b", "mid": 7, "room": "live://1", "peer": "192.0.2.7:4000",
        "transport": "websocket", "state": "online", "since": null, "age_seconds": 3600, "heartbeat_age_seconds": 12,
        "accepts": [1000, 1001], "queued_bytes": 5, "drops": 2,
    }]});
    assert_eq!((status, found), (200, expected));
    assert!(since.as_str().is_some_and(|since| since.ends_with('Z') && since.len() == 24), "{since}");
    for (query, total, shown) in
        [("mid=7", 2, 2), ("mid=7&limit=1", 2, 1), ("mid=8", 0, 0), ("room=live%3A%2F%2F1", 2, 2), ("room=x", 0, 0)]
    {
        let (status, found) = gateway.json("GET", &format!("/v1/connections?{query}")).await;
        let count = found["connections"].as_array().map_or(0, Vec::len);
        assert_eq!((status, found["total"].as_u64(), count), (200, Some(total), shown), "{query}");
    }
}

#[tokio::test]
async fn connections_are_closed_by_key_user_and_room() {
    let mut gateway = gateway();
    for (query, closed) in [("key=a", 1), ("mid=7", 2), ("mid=8", 0), ("room=live://1", 2), ("room=x", 0)] {
        let answer = gateway.json("DELETE", &format!("/v1/connections?{query}")).await;
        assert_eq!(answer, (200, json!({ "closed": closed, "scope": "gateway" })), "{query}");
    }
    for _ in 0..2 {
        let message = within(gateway.shards.recv()).await.expect("a close");
        assert!(matches!(message, ControlToShard::Close { reason: CloseReason::ClosedByOperator, .. }), "{message:?}");
    }
}

#[tokio::test]
async fn wrong_questions_are_explained() {
    let (gateway, long) = (gateway(), "k".repeat(1025));
    for (method, path, status, code, part) in [
        ("GET", "/v1/connections", 400, "bad_request", "exactly one of key, mid and room"),
        ("GET", "/v1/connections?key=a&mid=7", 400, "bad_request", "exactly one"),
        ("GET", "/v1/connections?mid=x", 400, "bad_request", "whole number above 0"),
        ("GET", "/v1/connections?mid=0", 400, "bad_request", "whole number above 0"),
        ("GET", "/v1/connections?key=", 400, "bad_request", "must not be empty"),
        ("GET", &format!("/v1/trace?key={long}"), 400, "bad_request", "key must have at most 1024 bytes"),
        ("GET", &format!("/v1/connections?room={long}"), 400, "bad_request", "room must have at most 1024 bytes"),
        ("GET", "/v1/connections?key=a&limit=0", 400, "bad_request", "from 1 to 1000"),
        ("GET", "/v1/connections?key=a&limit=1001", 400, "bad_request", "from 1 to 1000"),
        ("GET", "/v1/connections?kee=a", 400, "bad_request", "kee"),
        ("GET", "/v1/connections?kee=a", 400, "bad_request", "expected one of `key`, `mid`, `room`, `limit`"),
        ("GET", "/v1/connections?key=a&key=b", 400, "bad_request", "duplicate field `key`"),
        ("DELETE", "/v1/connections", 400, "bad_request", "exactly one of key, mid and room"),
        (
            "DELETE",
            "/v1/connections?all=1",
            400,
            "bad_request",
            "unknown field `all`, expected one of `key`, `mid`, `room`",
        ),
        (
            "DELETE",
            "/v1/connections?key=a&limit=5",
            400,
            "bad_request",
            "unknown field `limit`, expected one of `key`, `mid`, `room`",
        ),
        ("GET", "/v1/trace", 400, "bad_request", "either key or mid"),
        ("GET", "/v1/trace?key=a&mid=7", 400, "bad_request", "either key or mid"),
        ("GET", "/v1/trace?room=live://1", 400, "bad_request", "unknown field `room`, expected `key` or `mid`"),
        ("POST", "/v1/connections?key=a", 405, "method_not_allowed", "method"),
        ("GET", "/v1/nothing", 404, "not_found", "/v1/connections"),
    ] {
        let (found, body) = gateway.json(method, path).await;
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert_eq!((found, body["error"]["code"].as_str()), (status, Some(code)), "{method} {path} {body}");
        assert!(message.contains(part), "{method} {path} {message}");
        assert!(method == "GET" || !message.contains("`room`, `limit`"), "{method} {path} {message}");
    }
}

#[tokio::test]
async fn strangers_are_refused_but_may_ask_for_health() {
    let gateway = gateway();
    let status = async |path: &str| gateway.ask("GET", path, "*/*", "192.0.2.1:9").await.status().as_u16();
    for path in ["/v1/connections?key=a", "/v1/trace?key=a", "/metrics"] {
        assert_eq!(status(path).await, 403, "{path}");
    }
    assert_eq!(status("/healthz").await, 200);
    let token = |text: &str, scopes: &[_]| Token::new(text, "a_token", scopes).expect("a token");
    let tokens = vec![token("read-0123456789abcdef", &[OBSERVE]), token("admin-0123456789abcdef", &[ADMIN, OBSERVE])];
    gateway.access.replace(Access::new(tokens));
    let ask = async |path: &str, token: &str| {
        let request = Request::get(path).header("host", "127.0.0.1").header("authorization", format!("Bearer {token}"));
        let mut request = request.body(Body::empty()).expect("a request");
        request.extensions_mut().insert(Peer::Tcp("192.0.2.1:9".parse().expect("an address")));
        gateway.routes.clone().oneshot(request).await.expect("an answer").status().as_u16()
    };
    for (path, read) in [("/v1/connections?key=a", 403), ("/v1/trace?key=a", 200), ("/metrics", 200)] {
        let refused = gateway.ask("GET", path, "*/*", "127.0.0.1:9").await;
        assert_eq!(refused.status().as_u16(), 401, "{path}: this machine too");
        assert_eq!(refused.headers()["www-authenticate"].as_bytes(), &b"Bearer"[..]);
        assert_eq!(ask(path, "read-0123456789abcdef").await, read, "{path}");
        assert_eq!(ask(path, "admin-0123456789abcdef").await, 200, "{path}");
    }
    assert_eq!(gateway.ask("GET", "/healthz", "*/*", "192.0.2.1:9").await.status().as_u16(), 200);
}

#[tokio::test]
async fn readiness_follows_the_gateways_life() {
    let gateway = gateway();
    assert_eq!(gateway.text("GET", "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()));
    gateway.lifecycle.enter(Phase::Serving);
    assert_eq!(gateway.text("GET", "/readyz").await, (StatusCode::OK, "serving\n".to_owned()));
    gateway.lifecycle.enter(Phase::Draining);
    assert_eq!(gateway.text("GET", "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()));
    assert_eq!(gateway.text("GET", "/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
}

#[tokio::test]
async fn health_names_the_threads_that_do_not_answer() {
    let (control, _silent) = start(2, 64, None);
    let (intake, _requests) = Intake::new();
    let ((ingress, beats), (control_pulse, control_beats)) = (Pulse::new(), Pulse::new());
    let health =
        Health::new(others(control.clone(), intake.clone()), vec![("ingress", ingress), (CONTROL, control_pulse)]);
    let ask = async |seconds| {
        let now = Instant::now() + Duration::from_secs(seconds);
        health.stuck_threads(now).await
    };
    assert_eq!(ask(0).await, ["feed", "ingress", "control"], "the shards are asked through control");
    tokio::spawn(control_beats.run());
    assert_eq!(ask(10).await, ["shard-0", "shard-1", "feed", "ingress"]);
    tokio::spawn(beats.run());
    assert_eq!(ask(20).await, ["shard-0", "shard-1", "feed"]);
    let access = AccessRules::default();
    let admin = Admin::new(control, intake, Metrics::default(), Lifecycle::default(), health, access);
    let request = Request::get("/healthz").body(Body::empty()).expect("a request");
    let answer = router(admin).oneshot(request).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(body, "stuck\n");
}

/// Everybody may ask for health, so asking often must cost no more than asking once.
#[tokio::test]
async fn health_is_asked_of_the_threads_at_most_once_a_second() {
    let (control, _shards) = start(0, 64, None);
    let (intake, mut requests) = Intake::new();
    let (asked, mut questions) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(intake::Request::Totals { reply }) = requests.recv().await {
            let _ = (reply.send(Totals::default()), asked.send(()));
        }
    });
    let health = Health::new(others(control, intake), Vec::new());
    let now = Instant::now();
    for _ in 0..10 {
        assert!(health.stuck_threads(now).await.is_empty());
    }
    assert_eq!((within(questions.recv()).await, questions.try_recv().is_ok()), (Some(()), false));
    let later = now + Duration::from_millis(HEALTH_MS);
    assert!(health.stuck_threads(later).await.is_empty());
    assert_eq!(within(questions.recv()).await, Some(()));
}

#[tokio::test]
async fn metrics_are_served_as_prometheus_reads_them() {
    let gateway = gateway();
    let answer = gateway.ask("GET", "/metrics", "*/*", "127.0.0.1:9").await;
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    assert!(body.starts_with(b"# HELP halley_"));
}

/// The next line of a trace, without its time.
async fn line(body: &mut Body, prefix: &str) -> Value {
    loop {
        let frame = tokio::time::timeout(PATIENCE, body.frame())
            .await
            .expect("a line in time")
            .expect("a line")
            .expect("no error")
            .into_data()
            .expect("data");
        let text = std::str::from_utf8(&frame).expect("text");
        if let Some(json) = text.strip_prefix(prefix).filter(|json| json.len() > 2) {
            let mut line: Value = serde_json::from_str(json).expect("JSON");
            assert!(line["time"].take().is_string());
            return line;
        }
    }
}

#[tokio::test]
async fn a_trace_tells_a_users_life_from_before_the_login() {
    let mut gateway = gateway();
    for (accept, kind, prefix) in
        [("*/*", "application/x-ndjson", ""), ("text/event-stream", "text/event-stream", "data: ")]
    {
        let answer = gateway.ask("GET", "/v1/trace?mid=7", accept, "127.0.0.1:9").await;
        assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].as_bytes()), (200, kind.as_bytes()));
        let mut body = answer.into_body();
        assert_eq!(line(&mut body, prefix).await, json!({ "time": null, "event": "watching", "mid": 7 }));
        let (select, news) = within(gateway.watches.recv()).await.expect("a watch");
        assert_eq!(select, Select::Mid(7));
        assert!(news.give(WatchNews::Opened(entry(1, conn(2), "b"))));
        let expected =
            json!({ "time": null, "event": "login", "connection": "1-2-1", "key": "b", "mid": 7, "peer": null });
        assert_eq!(line(&mut body, prefix).await, expected);
        let expected = json!({ "time": null, "event": "received", "connection": "1-2-1", "op": 2, "body_bytes": 0 });
        assert_eq!(line(&mut body, prefix).await, expected);
        assert!(news.give(WatchNews::Gone { shard: 1, conn: conn(2) }));
        assert_eq!(line(&mut body, prefix).await, json!({ "time": null, "event": "gone", "connection": "1-2-1" }));
        // The client leaves: the watch ends, and with it what the shard reports.
        drop(body);
        news.closed().await;
        loop {
            if let ControlToShard::Trace { on: false, .. } = within(gateway.shards.recv()).await.expect("the end") {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_trace_tells_who_was_there_from_who_logs_in() {
    let mut gateway = gateway();
    let mut body = gateway.ask("GET", "/v1/trace?mid=7", "*/*", "127.0.0.1:9").await.into_body();
    assert_eq!(line(&mut body, "").await["event"], "watching");
    let (_, news) = within(gateway.watches.recv()).await.expect("a watch");
    assert!(news.give(WatchNews::There(entry(0, conn(1), "a"))));
    assert!(news.give(WatchNews::Opened(entry(1, conn(2), "b"))));
    let mut told = Vec::new();
    while told.len() < 2 {
        let line = line(&mut body, "").await;
        // What the shards report may come between.
        if let Some(key) = line["key"].as_str() {
            told.push(format!("{} {key}", line["event"]));
        }
    }
    assert_eq!(told, ["\"online\" a", "\"login\" b"]);
}

#[tokio::test]
async fn a_trace_tells_how_much_news_was_lost() {
    let mut gateway = gateway();
    let mut body = gateway.ask("GET", "/v1/trace?mid=7", "*/*", "127.0.0.1:9").await.into_body();
    assert_eq!(line(&mut body, "").await["event"], "watching");
    let (_, news) = within(gateway.watches.recv()).await.expect("a watch");
    let gone = || WatchNews::Gone { shard: 1, conn: conn(2) };
    // No await: the trace does not run meanwhile.
    while news.give(gone()) {}
    assert!(!news.give(gone()));
    assert_eq!(line(&mut body, "").await, json!({ "time": null, "event": "lost", "count": 2, "what": "logins" }));
}

#[tokio::test]
async fn a_trace_ends_when_the_gateway_drains() {
    let gateway = gateway();
    let mut body = gateway.ask("GET", "/v1/trace?mid=7", "*/*", "127.0.0.1:9").await.into_body();
    assert_eq!(line(&mut body, "").await["event"], "watching");
    gateway.lifecycle.enter(Phase::Draining);
    assert_eq!(line(&mut body, "").await["event"], "stopping");
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn traces_are_bounded() {
    let gateway = gateway();
    let mut running = Vec::new();
    for _ in 0..TRACES_MAX {
        let answer = gateway.ask("GET", "/v1/trace?key=a", "*/*", "127.0.0.1:9").await;
        assert_eq!(answer.status(), StatusCode::OK);
        running.push(answer);
    }
    assert_eq!(gateway.json("GET", "/v1/trace?key=a").await.0, 429);
    running.pop();
    crate::support::eventually(|| (gateway.admin.traces_free() > 0).then_some(())).await;
    assert_eq!(gateway.ask("GET", "/v1/trace?key=a", "*/*", "127.0.0.1:9").await.status(), StatusCode::OK);
}

/// While feed keeps a push for a stuck shard and answers nobody, every admin question ends with a 503 that says so.
#[tokio::test]
async fn a_feed_that_does_not_answer_is_503_for_everybody() {
    let (control, _fakes) = start(1, 64, None);
    let (intake, _never_read) = Intake::new();
    let metrics = Metrics::default().with(Shards(vec![Arc::default()]));
    let access = AccessRules::default();
    let health = Health::new(others(control.clone(), intake.clone()), Vec::new());
    let admin = Admin::new(control, intake, metrics, Lifecycle::default(), health, access.clone());
    let (_heard, shards) = mpsc::unbounded_channel();
    let (_watch, watches) = mpsc::unbounded_channel();
    let gateway =
        Gateway { routes: router(Arc::clone(&admin)), lifecycle: Lifecycle::default(), admin, access, shards, watches };
    let asked = [("GET", "key=a"), ("GET", "room=x"), ("DELETE", "mid=7"), ("DELETE", "room=x")];
    let answers = futures_util::future::join_all(asked.map(|(method, query)| {
        let gateway = &gateway;
        async move { gateway.json(method, &format!("/v1/connections?{query}")).await }
    }));
    for ((status, answer), asked) in answers.await.into_iter().zip(asked) {
        assert_eq!((status, answer["error"]["code"].as_str()), (503, Some("stuck")), "{asked:?}");
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("does not answer"), "{message}");
        assert_eq!(message.contains("may still be closed"), asked == ("DELETE", "mid=7"), "{asked:?}: {message}");
    }
}
