//! Stopping and reloading: SIGTERM, a second SIGTERM, SIGHUP.

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::client::End;
use crate::support::gateway::Start;
use crate::support::http;
use crate::support::*;

/// Proves defect C25 is not there: on SIGTERM every client is told (WebSocket 1012), new ones are not accepted,
/// readiness is taken back, and the process ends with 0.
#[test]
fn c25_stopping_tells_the_clients_and_exits_with_0() {
    let mut gateway = Start::new().shards(2).config("drain_seconds = 2").run();
    let mut clients: Vec<Client> =
        (0..20).map(|n| Transport::BOTH[n % 2].login(&gateway, 0, &format!("k{n}"), "test://r", &[])).collect();
    assert_eq!(gateway.get("/readyz").status, 200);
    gateway.signal(Signal::TERM);
    // Readiness goes first: while the drain lasts, the load balancer is told.
    eventually("the gateway is not ready", || {
        // Nobody to ask any more is not ready either.
        http::try_status(gateway.http(), "/readyz").map_or(Some(()), |status| (status == 503).then_some(()))
    });
    for (number, client) in clients.iter_mut().enumerate() {
        let told = if number % 2 == 0 { End::Socket } else { End::Frame(1012) };
        assert_eq!(client.expect_end(), told, "client {number}");
    }
    drop(clients);
    let status = gateway.wait_exit();
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
}

/// While draining nobody new gets in.
#[test]
fn a_draining_gateway_accepts_nobody() {
    let mut gateway = Start::new().config("drain_seconds = 60").run();
    let mut inside: Vec<Client> =
        (0..5).map(|n| Transport::Tcp.login(&gateway, 0, &format!("k{n}"), "", &[])).collect();
    gateway.signal(Signal::TERM);
    // By the kernel, at once: a client that waits in a queue would find no other gateway meanwhile.
    for address in [gateway.tcp(), gateway.ws()] {
        eventually("connecting is refused", || {
            let refused = TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
            refused.then_some(())
        });
    }
    assert!(inside.iter_mut().any(|client| client.heartbeat() == 0), "those inside are served until their turn");
    // A second SIGTERM ends it now.
    assert!(!gateway.has_ended());
    gateway.signal(Signal::TERM);
    let status = gateway.wait_exit();
    assert_eq!(status.code(), Some(0), "it exits by itself");
    for client in &mut inside {
        assert_eq!(client.wait_end(), End::Socket);
    }
}

/// A trace ends with a last line when the drain begins, and a second SIGTERM ends the process at once however long the
/// drain would last.
#[test]
fn a_trace_ends_with_the_drain_and_a_second_signal_waits_for_nobody() {
    let mut gateway = Start::new().config("drain_seconds = 3600").run();
    let (status, _, body) = http::open(gateway.http(), "GET", "/v1/trace?mid=7", &[], b"");
    assert_eq!(status, 200);
    let mut client = Transport::WebSocket.login(&gateway, 7, "k", "", &[]);
    gateway.signal(Signal::TERM);
    let lines: Vec<String> = BufReader::new(body).lines().map(|line| line.expect("the trace ends in order")).collect();
    assert!(lines.last().is_some_and(|line| line.contains("\"stopping\"")), "{lines:?}");
    assert_eq!(client.heartbeat(), 0, "the drain goes on");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.log());
    assert_eq!(gateway.log().matches("told again to stop").count(), 1, "{}", gateway.log());
}

/// An idle gateway stops at once, on SIGINT too.
#[test]
fn an_idle_gateway_stops_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = Start::new().config("drain_seconds = 3600").run();
        gateway.signal(signal);
        assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.log());
    }
}

/// Pushes accepted before SIGTERM are delivered before the clients go.
#[test]
fn accepted_pushes_are_delivered_before_the_end() {
    let mut gateway = Start::new().config("drain_seconds = 1").run();
    let mut client = Transport::WebSocket.login(&gateway, 0, "k", "", &[1000]);
    for number in 0..200 {
        assert_eq!(gateway.post("/goim/push/keys?operation=1000&keys=k", format!("{number}").as_bytes()).status, 200);
    }
    gateway.signal(Signal::TERM);
    for number in 0..200 {
        assert_eq!(client.receive().text(), number.to_string());
    }
    assert_eq!(client.expect_end(), End::Frame(1012));
    drop(client);
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

/// SIGHUP applies what can change without a restart, says what changed and what needs a restart; a broken file changes
/// nothing; nobody is disconnected.
#[test]
fn reload_applies_what_can_change() {
    let gateway = Gateway::with("[limits]\nroom_changes_per_second = 1\nroom_changes_burst = 1000");
    let mut client = Transport::WebSocket.login(&gateway, 0, "k", "", &[1000]);
    client.change_room("test://a");
    gateway.rewrite_config(
        "push_token = \"secret-0123456789\"\n[limits]\nmax_connections_per_key = 2\n[sockets]\nbacklog = 17\n",
    );
    gateway.signal(Signal::HUP);
    eventually("the token is in force", || {
        (gateway.post("/goim/push/all?operation=1", b"x").status == 401).then_some(())
    });
    eventually("the log names the changes", || {
        let log = gateway.log();
        (log.contains("max_connections_per_key") && log.contains("backlog") && log.contains("restart")).then_some(())
    });
    assert!(!gateway.log().contains("secret-0"), "secrets are not logged");
    let mut second = Transport::Tcp.login(&gateway, 0, "k", "", &[]);
    assert_eq!((client.heartbeat(), second.heartbeat()), (1, 0), "two of one key may live now");

    gateway.rewrite_config("push_tokn = \"x\"\n");
    gateway.signal(Signal::HUP);
    eventually("the mistake is named", || gateway.log().contains("push_tokn").then_some(()));
    assert_eq!(gateway.post("/goim/push/all?operation=1", b"x").status, 401, "the old settings hold");
    assert_eq!(client.heartbeat(), 1);
}
