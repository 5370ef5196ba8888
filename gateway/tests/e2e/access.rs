//! Who may ask the gateway for what: tokens of every kind, from settings and files, and what operators see of those who
//! have none.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::gateway::Start;
use crate::support::*;

fn status(gateway: &Gateway, method: &str, path: &str, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("authorization", &bearer)] };
    http::request(gateway.http(), method, path, headers, b"x").status
}

const PUSH: &str = "/goim/push/all?operation=1000";

/// A token file holds several tokens and is read again on SIGHUP: the new token is let in before the old one is taken
/// out, and nobody who pushes notices. A file that went bad changes nothing.
#[test]
fn tokens_are_rotated_through_their_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("push-tokens");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    let (old, new) = ("old-0123456789abcdef", "new-0123456789abcdef");
    write(&format!("{old}\n"));
    let gateway = Gateway::with(&format!("push_token_file = {:?}", file.display().to_string()));
    assert_eq!([old, new, ""].map(|token| status(&gateway, "POST", PUSH, token)), [200, 401, 401]);
    write(&format!("{old}\n\n{new}\n"));
    gateway.signal(Signal::HUP);
    eventually("the new token is let in", || (status(&gateway, "POST", PUSH, new) == 200).then_some(()));
    assert_eq!(status(&gateway, "POST", PUSH, old), 200);
    write("short\n");
    gateway.signal(Signal::HUP);
    eventually("the bad file is named", || gateway.log().contains("push-tokens").then_some(()));
    assert_eq!(status(&gateway, "POST", PUSH, old), 200);
    write(&format!("{new}\n"));
    gateway.signal(Signal::HUP);
    eventually("the old token is taken out", || (status(&gateway, "POST", PUSH, old) == 401).then_some(()));
    assert_eq!(status(&gateway, "POST", PUSH, new), 200);
}

/// What a proxy on this machine passes on is not from this machine, whichever mark it leaves; least of all one that
/// adds no header (nginx's `proxy_pass` by itself speaks HTTP/1.0 behind).
#[test]
fn what_a_proxy_passes_on_is_not_from_this_machine() {
    let gateway = Gateway::start();
    let ask = |call: &str, version: &str, mark: &str| {
        let address = gateway.http();
        let mut stream = TcpStream::connect(address).expect("it listens");
        let head = format!("{call} HTTP/{version}\r\nHost: {address}\r\n{mark}Connection: close\r\n");
        stream.write_all(format!("{head}Content-Length: 1\r\n\r\nx").as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer[9..12].parse::<u16>().expect("a status")
    };
    for call in [&format!("POST {PUSH}"), "DELETE /v1/connections?key=k", "GET /metrics", "GET /v1/connections?key=k"] {
        let passed_on = [
            ask(call, "1.0", ""),
            ask(call, "1.1", "Via: 1.1 proxy\r\n"),
            ask(call, "1.1", "X-Real-IP: 192.0.2.1\r\n"),
            ask(call, "1.1", "CF-Connecting-IP: 192.0.2.1\r\n"),
        ];
        assert_eq!(passed_on, [403; 4], "{call}");
        assert_eq!(ask(call, "1.1", ""), 200, "{call}");
    }
    for open in ["GET /healthz", "GET /goim/nodes/weighted", "GET /"] {
        assert_eq!(ask(open, "1.0", "Via: 1.1 proxy\r\n"), 200, "{open}");
    }
}

/// What is no token never starts, and is never repeated; a token over a network without TLS is a danger that is
/// accepted by name.
#[test]
fn what_is_no_token_never_starts() {
    for (settings, part) in [
        ("push_token = \"hunter2\"", "a push_token has 7 characters"),
        ("admin_token = \"hunter2 and a few more\"", "an admin_token has a blank"),
        ("read_token = [\"hunter2-0123456789\", \"\"]", "a read_token has 0 characters"),
        ("comet_token_file = \"/no/such/file\"", "comet_token_file /no/such/file"),
        (
            "push_token = \"hunter2-0123456789\"\nhttp_listen = \"0.0.0.0:0\"",
            "http_listen 0.0.0.0:0 lets tokens come in over the network unencrypted",
        ),
    ] {
        let (status, said) = Start::new().own_ports().config(settings).refused();
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains(part) && !said.contains("hunter2"), "{said}");
    }
}

/// Wrong tokens are counted and logged with who showed them; what they were is nobody's business.
#[test]
fn wrong_tokens_are_seen() {
    let gateway = Gateway::with("admin_token = \"right-0123456789abcdef\"");
    for path in ["/metrics", "/v1/connections?key=k", "/goim/online/total"] {
        assert_eq!(status(&gateway, "GET", path, "wrong-0123456789abcdef"), 401);
    }
    let scrape =
        http::request(gateway.http(), "GET", "/metrics", &[("authorization", "Bearer right-0123456789abcdef")], b"");
    let metrics = metrics::Metrics::parse(scrape.text());
    assert_eq!(metrics.sum("halley_ingress_wrong_tokens_total", &[]), 3.0);
    for scope in ["observe", "admin", "questions"] {
        assert_eq!(metrics.sum("halley_ingress_denied_total", &[("scope", scope)]), 1.0, "{scope}");
    }
    let said = "a wrong token was shown peer=127.0.0.1:";
    eventually("it is logged", || gateway.log().contains(said).then_some(()));
    let log = gateway.log();
    assert!(!log.contains("wrong-0123456789") && !log.contains("right-0123456789"), "{log}");
}

/// Who ends connections is in the log: by what right, and from where.
#[test]
fn operators_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let listen = format!("admin_token = \"right-0123456789abcdef\"\nadmin_listen = \"unix:{}\"", path.display());
    let gateway = Gateway::with(&listen);
    assert_eq!(status(&gateway, "DELETE", "/v1/connections?key=one", "right-0123456789abcdef"), 200);
    let mut socket = std::os::unix::net::UnixStream::connect(&path).expect("connects");
    socket.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    socket
        .write_all(b"DELETE /v1/connections?key=two HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for line in
        ["key=one closed=0 role=admin_token peer=127.0.0.1:", "key=two closed=0 role=unix socket peer=unix socket"]
    {
        eventually(line, || gateway.log().contains(line).then_some(()));
    }
}

/// A listener serves what it is told to, and what everybody may ask.
#[test]
fn kinds_of_routes_can_be_left_out() {
    let all = [
        ("POST", PUSH, "push"),
        ("GET", "/goim/online/total", "read"),
        ("GET", "/v1/online", "read"),
        ("GET", "/metrics", "read"),
        ("GET", "/v1/connections?key=k", "admin"),
        ("GET", "/", "demo"),
        ("GET", "/v1/demo.json", "demo"),
        ("GET", "/healthz", ""),
        ("GET", "/readyz", ""),
        ("GET", "/goim/nodes/weighted", ""),
        ("GET", "/openapi.json", ""),
    ];
    for kept in ["push", "read", "admin", "demo"] {
        let gateway = Gateway::with(&format!("http_routes = [\"{kept}\"]"));
        for (method, path, kind) in all {
            let expected = if kind.is_empty() || kind == kept { 200 } else { 404 };
            assert_eq!(status(&gateway, method, path, ""), expected, "{kept}: {method} {path}");
        }
    }
}

/// From the moment of SIGTERM every answer says that its connection ends.
#[test]
fn answers_end_their_connections_while_the_gateway_stops() {
    let gateway = Start::new().config("drain_seconds = 3600").run();
    let _client = Transport::Tcp.login(&gateway, 0, "k", "", &[]);
    let ask = || {
        let mut stream = TcpStream::connect(gateway.http()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"ing\n") {
            let mut piece = [0; 512];
            match stream.read(&mut piece).expect("an answer") {
                0 => panic!("{}", String::from_utf8_lossy(&answer)),
                bytes => answer.extend_from_slice(&piece[..bytes]),
            }
        }
        String::from_utf8(answer).expect("text")
    };
    assert!(!ask().contains("connection: close"));
    gateway.signal(Signal::TERM);
    let answer = eventually("it drains", || Some(ask()).filter(|answer| answer.contains("draining")));
    assert!(answer.contains("connection: close"), "{answer}");
}
