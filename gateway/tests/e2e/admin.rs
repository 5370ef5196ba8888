//! Looking after one user, and the gateway's numbers: `/v1/connections`, `/v1/trace`, `/metrics`.

use std::io::{BufRead as _, BufReader};

use serde_json::{Value, json};

use crate::support::client::End;
use crate::support::gateway::Start;
use crate::support::http;
use crate::support::*;

/// The connections of a key, a user or a room are shown with what support needs to know.
#[test]
fn connections_are_shown() {
    let gateway = Start::new().shards(2).run();
    let mut tcp = Transport::Tcp.login(&gateway, 7, "phone", "live://1", &[1001, 1000]);
    let mut ws = Transport::WebSocket.login(&gateway, 7, "web", "live://1", &[]);
    let _other = Transport::Tcp.login(&gateway, 8, "other", "live://2", &[]);
    tcp.heartbeat();
    ws.heartbeat();
    let list = |query: &str| gateway.get(&format!("/v1/connections?{query}")).json();
    let phone = list("key=phone");
    assert_eq!(phone["total"], 1);
    let shown = &phone["connections"][0];
    assert_eq!((&shown["key"], &shown["mid"], &shown["room"]), (&json!("phone"), &json!(7), &json!("live://1")));
    assert_eq!((&shown["transport"], &shown["state"]), (&json!("tcp"), &json!("online")));
    assert_eq!(shown["accepts"], json!([1000, 1001]));
    assert_eq!((&shown["queued_bytes"], &shown["drops"]), (&json!(0), &json!(0)));
    assert!(shown["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{shown}");
    assert!(shown["since"].as_str().is_some_and(|since| since.len() >= 20 && since.contains('T')), "{shown}");
    assert!(shown["heartbeat_age_seconds"].as_u64().is_some_and(|age| age < 60));
    assert_eq!(list("mid=7")["total"], 2);
    assert_eq!(list("room=live://1")["total"], 2);
    assert_eq!(list("room=live://1&limit=1")["connections"].as_array().map(Vec::len), Some(1));
    assert_eq!(list("key=nobody"), json!({ "total": 0, "scope": "gateway", "connections": [] }));
    for (query, word) in [("", "exactly one"), ("key=a&mid=1", "exactly one"), ("mid=x", "mid"), ("kee=a", "kee")] {
        let response = gateway.get(&format!("/v1/connections?{query}"));
        assert_eq!(response.status, 400, "{query}");
        assert!(response.text().contains(word), "{query}: {}", response.text());
    }
}

/// `DELETE` closes exactly those, with a code of its own.
#[test]
fn an_operator_can_close_connections() {
    let gateway = Start::new().shards(2).run();
    let delete =
        |query: &str| http::request(gateway.http(), "DELETE", &format!("/v1/connections?{query}"), &[], b"").json();
    let mut clients: Vec<Client> =
        (0..4).map(|n| Transport::BOTH[n % 2].login(&gateway, 7, &format!("k{n}"), "live://1", &[])).collect();
    let mut other = Transport::Tcp.login(&gateway, 8, "other", "live://2", &[]);
    assert_eq!(delete("key=k0"), json!({ "closed": 1, "scope": "gateway" }));
    clients[0].expect_close(4006);
    assert_eq!(delete("room=live://1"), json!({ "closed": 3, "scope": "gateway" }));
    for client in &mut clients[1..] {
        client.expect_close(4006);
    }
    gateway.wait_closes("closed_by_operator", 4);
    assert_eq!(delete("mid=7"), json!({ "closed": 0, "scope": "gateway" }));
    assert_eq!(other.heartbeat(), 1);
    assert_eq!(delete("mid=8"), json!({ "closed": 1, "scope": "gateway" }));
    assert_eq!(other.wait_end(), End::Socket);
}

/// A trace shows what happens to a user as it happens: login, frames, pushes, room changes and why it ended, also of a
/// user who was not there when it began.
#[test]
fn a_trace_shows_what_happens_to_a_user() {
    let gateway = Gateway::start();
    let (status, headers, body) = http::open(gateway.http(), "GET", "/v1/trace?mid=7", &[], b"");
    assert_eq!(status, 200);
    assert!(headers.iter().any(|(name, value)| name == "content-type" && value == "application/x-ndjson"));
    let mut lines = BufReader::new(body).lines();
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut next = |wanted: &str| -> Value {
        loop {
            // The empty lines of a trace that is alive would keep a mere read deadline away.
            assert!(std::time::Instant::now() < deadline, "no `{wanted}` came");
            let line = lines.next().expect("the trace goes on").expect("the trace goes on");
            if line.is_empty() {
                continue;
            }
            let line: Value = serde_json::from_str(&line).expect("one JSON object a line");
            if line["event"] == wanted {
                return line;
            }
        }
    };
    next("watching");
    let mut client = Transport::WebSocket.login(&gateway, 7, "phone", "", &[1000]);
    let mut other = Transport::Tcp.login(&gateway, 8, "other", "", &[1000]);
    assert_eq!(next("login")["key"], "phone");
    // The shard has been told to report: from here on nothing is missed.
    next("traced");
    other.heartbeat();
    client.heartbeat();
    assert_eq!(next("received")["op"], op::HEARTBEAT);
    client.change_room("live://1");
    assert_eq!(next("room")["room"], "live://1");
    gateway.push_key("other", 1000, "not shown");
    gateway.push_key("phone", 1000, "0123456789");
    let queued = std::iter::repeat_with(|| next("queued")).find(|line| line["op"] == 1000).expect("the push");
    assert_eq!(queued["bytes"], 2 + 16 + 16 + 10, "its size on the wire");
    let (_, _, body) = http::open(gateway.http(), "GET", "/v1/trace?mid=8", &[], b"");
    let shown = BufReader::new(body).lines().nth(1).expect("a line").expect("a line");
    let shown: Value = serde_json::from_str(&shown).expect("one JSON object a line");
    assert_eq!((&shown["event"], &shown["key"]), (&json!("online"), &json!("other")), "there before the trace");
    drop(client);
    let closed = next("closed");
    assert!(["peer_closed", "peer_reset"].contains(&closed["reason"].as_str().expect("a reason")), "{closed}");
}

/// The admin side wants its token of everybody over TCP, and without one no foreign page and no proxy reaches it.
#[test]
fn the_admin_side_is_protected() {
    let gateway = Gateway::with("admin_token = \"secret-0123456789\"\nread_token = \"reader-0123456789\"");
    let status = |headers: &[(&str, &str)], path: &str| http::request(gateway.http(), "GET", path, headers, b"").status;
    for path in ["/v1/connections?mid=1", "/v1/trace?mid=1", "/metrics", "/goim/online/total", "/v1/online"] {
        assert_eq!(status(&[], path), 401, "{path}: this machine too");
        assert_eq!(status(&[("authorization", "Bearer wrong")], path), 401, "{path}");
    }
    for path in ["/v1/connections?mid=1", "/metrics", "/goim/online/total", "/v1/online"] {
        assert_eq!(status(&[("authorization", "Bearer secret-0123456789")], path), 200, "{path}");
        let read = status(&[("authorization", "Bearer reader-0123456789")], path);
        assert_eq!(read, if path.starts_with("/v1/connections") { 403 } else { 200 }, "{path}");
    }
    for path in ["/healthz", "/readyz", "/goim/nodes/weighted"] {
        assert_eq!(status(&[], path), 200, "{path}");
    }
    let open = Gateway::start();
    let from = |headers: &[(&str, &str)], path: &str| http::request(open.http(), "GET", path, headers, b"").status;
    for path in ["/v1/connections?mid=1", "/v1/trace?mid=1", "/metrics"] {
        for mark in ["x-forwarded-for", "via", "x-real-ip", "cf-connecting-ip", "x-unheard-of"] {
            assert_eq!(from(&[(mark, "192.0.2.1")], path), 403, "{path} {mark}");
        }
        assert_eq!(from(&[("origin", "https://evil.example")], path), 403, "{path}");
        assert_eq!(from(&[("sec-fetch-site", "cross-site")], path), 403, "{path}");
    }
    assert_eq!(from(&[], "/v1/connections?mid=1"), 200);
}

/// The admin side alone on a Unix socket, for this user only.
#[test]
fn the_admin_side_may_listen_on_a_unix_socket() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let gateway = Start::new().argument("--admin-listen").argument(format!("unix:{}", path.display())).run();
    let mode = std::fs::metadata(&path).expect("the socket file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    stream
        .write_all(b"GET /v1/connections?mid=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"total\""), "{answer}");
    drop(gateway);
}

/// Connections, logins, deliveries, drops and the work behind them are counted, in a form that a strict reader of the
/// text format takes.
#[test]
fn metrics_tell_what_happened() {
    let gateway = Start::new().shards(2).run();
    let mut clients: Vec<Client> =
        (0..10).map(|n| Transport::BOTH[n % 2].login(&gateway, 0, &format!("k{n}"), "live://1", &[1000])).collect();
    gateway.push_room("live://1", 1000, "x");
    for client in &mut clients {
        client.receive();
        client.heartbeat();
    }
    for (name, value) in [
        ("halley_connections", 10.0),
        ("halley_connections_authenticated", 10.0),
        ("halley_handshakes_pending", 0.0),
        ("halley_logins_total", 10.0),
        ("halley_accepted_total", 10.0),
        ("halley_deliveries_total", 10.0),
        ("halley_heartbeats_total", 10.0),
        ("halley_queued_bytes", 0.0),
        ("halley_drops_total", 0.0),
    ] {
        // What a send has taken is counted until the kernel says so.
        gateway.wait_metric(name, &[], value);
    }
    let metrics = gateway.metrics();
    for name in [
        "halley_build_info",
        "halley_turn_seconds_total",
        "halley_sends_total",
        "halley_ring_enters_total",
        "halley_ring_submissions_total",
        "halley_ring_overflows_total",
        "halley_inbox_depth",
        "process_start_time_seconds",
    ] {
        assert!(metrics.has(name), "{name}");
    }
    let version = metrics.sum("halley_build_info", &[("version", env!("CARGO_PKG_VERSION"))]);
    assert_eq!(version, 1.0);
    assert!(metrics.sum("halley_sends_total", &[]) <= 40.0, "at most one send for each reply and push");
    drop(clients);
    eventually("every end has a reason", || {
        let metrics = gateway.metrics();
        let ends = metrics.sum("halley_closes_total", &[]);
        (ends == 10.0 && metrics.sum("halley_connections", &[]) == 0.0).then_some(())
    });
}

/// ARCHITECTURE.md promises a metric for every queue: each that it names is there, or among those that Kafka adds, to
/// whose committed names the dispatcher is held.
#[test]
fn every_documented_metric_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let kafka = std::fs::read_to_string(root.join("dispatcher/src/metrics.golden.txt")).expect("the names of Kafka");
    let gateway = Gateway::start();
    // Routes have metrics once they were asked.
    assert_eq!(gateway.get("/healthz").status, 200);
    let metrics = gateway.metrics();
    let mut seen = 0;
    for (at, _) in text.match_indices("`halley_") {
        let rest = &text[at + 1..];
        let name = &rest[..rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').expect("a name ends")];
        let is_of_kafka = || kafka.contains(&format!("# TYPE {name} "));
        assert!(metrics.has(name) || is_of_kafka(), "there is no metric {name}");
        seen += 1;
    }
    assert!(seen > 20, "the table of queues was found: {seen}");
}
