//! Limits that hold before and after the login: reaching one costs the peer, never a neighbour.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::support::client::{End, read_head, read_to_end};
use crate::support::gateway::Start;
use crate::support::*;

/// One timer covers connecting, upgrade and login together; whoever is silent or slow is closed by it (goim §1.3), and
/// nobody who has logged in.
#[test]
fn the_handshake_timeout_covers_everything() {
    let gateway = Gateway::with("[limits]\nhandshake_timeout_ms = 2000");
    let mut online = Transport::Tcp.login(&gateway, 0, "", "", &[]);
    // Silent on TCP, on WebSocket before the upgrade, and after it.
    let mut silent = TcpClient::connect(gateway.tcp());
    let mut before = TcpClient::connect(gateway.ws());
    let mut after = WsClient::connect(gateway.ws());
    // Trickling does not help: every byte comes in time, the login never ends.
    let mut trickle = TcpClient::connect(gateway.tcp());
    let began = Instant::now();
    for byte in Frame::new(op::AUTH, 1, vec![b' '; 4000]).encode() {
        use std::io::Write as _;
        if trickle.stream.write_all(&[byte]).is_err() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "a trickling client is closed");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Closed without a byte, or by a close frame where there can be one.
    assert_eq!(silent.next(), Err(End::Socket));
    assert!(read_to_end(&mut before, PATIENCE).is_empty());
    assert_eq!(after.next(), Err(End::Frame(1008)));
    // Those that talked too slowly count as timeouts; a client that never sent a byte is a time-out too, not an error.
    gateway.wait_closes("handshake_timeout", 4);
    // Who logged in before all of them is not concerned.
    assert_eq!(online.heartbeat(), 0);
}

/// A load balancer's probe (connect and leave) is counted as that and is no error in the log.
#[test]
fn a_silent_probe_is_no_error() {
    let gateway = Gateway::start();
    for address in [gateway.tcp(), gateway.ws()] {
        for _ in 0..5 {
            drop(TcpClient::connect(address));
        }
    }
    gateway.wait_closes("probe", 10);
    let log = gateway.log();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

/// Proves defect C27 is not there: headers are bounded (431), foreign origins refused (403), connections per address
/// limited, and TCP can be had inside TLS (see `tls`).
#[test]
fn c27_strangers_meet_limits() {
    let gateway = Gateway::with(
        "origins = [\"https://app.example\"]\n[limits]\nupgrade_bytes_max = 1024\nmax_connections_per_address = 3",
    );
    let mut long = TcpClient::connect_from(Ipv4Addr::new(127, 0, 0, 9), gateway.ws());
    long.send_bytes(format!("GET /sub HTTP/1.1\r\nX-Long: {}", "x".repeat(1100)).as_bytes());
    assert!(read_head(&mut long).starts_with("HTTP/1.1 431 "));
    assert_eq!(WsClient::request(gateway.ws(), "/sub", &[("origin", "https://evil.example")]).err(), Some(403));
    gateway.wait_metric("halley_connections", &[], 0.0);

    let from = |last: u8| TcpClient::connect_from(Ipv4Addr::new(127, 0, 0, last), gateway.tcp());
    let mut inside: Vec<Client> = (0..3).map(|_| Client::Tcp(from(2))).collect();
    for client in &mut inside {
        client.login("{}");
    }
    assert_eq!(Client::Tcp(from(2)).expect_end(), End::Socket, "the fourth of one address");
    gateway.wait_closes("address_limit", 1);
    Client::Tcp(from(3)).login("{}");
    drop(inside.pop());
    gateway.wait_metric("halley_connections", &[], 2.0);
    Client::Tcp(from(2)).login("{}");
    for client in &mut inside {
        assert_eq!(client.heartbeat(), 0);
    }
}

/// Beyond `max_pending_handshakes` the oldest of those that have not logged in goes; the newcomer gets its chance.
#[test]
fn pending_handshakes_are_bounded() {
    let gateway = Gateway::with("[limits]\nmax_pending_handshakes = 10");
    let mut online = Transport::Tcp.login(&gateway, 0, "", "", &[]);
    let silent: Vec<TcpClient> = (0..30).map(|_| TcpClient::connect(gateway.tcp())).collect();
    let mut newcomer = Transport::Tcp.login(&gateway, 0, "", "", &[]);
    assert_eq!(newcomer.heartbeat(), 0);
    assert_eq!(online.heartbeat(), 0);
    // Those who went first: before they came the bound was not reached.
    eventually("those beyond the bound are ended", || {
        let metrics = gateway.metrics();
        let ended = metrics.sum("halley_closes_total", &[("reason", "handshake_limit")]);
        (ended >= 20.0 && metrics.sum("halley_handshakes_pending", &[]) <= 10.0).then_some(())
    });
    drop(silent);
}

/// The accept rate lets its burst in at once and the rest in later; nobody is refused. That the rest keeps the rate is
/// proved in virtual time (`simulation/accepting.rs`).
#[test]
fn accepts_beyond_the_rate_wait() {
    let gateway = Gateway::with("[limits]\naccepts_per_second = 20\naccepts_burst = 5");
    let mut clients: Vec<Client> = (0..15).map(|_| Transport::Tcp.connect(&gateway)).collect();
    for client in &mut clients {
        client.login("{}");
    }
    assert_eq!(gateway.push_all(1, "x"), 0, "nobody takes op 1");
    for client in &mut clients {
        assert_eq!(client.heartbeat(), 0);
    }
    assert_eq!(gateway.metrics().sum("halley_closes_total", &[]), 0.0);
}

/// A client beyond its rates is closed with the reason of the rate; bursts of 1,000 frames pass with the defaults.
#[test]
fn rates_after_login_are_bounded() {
    let gateway = Gateway::start();
    let burst: Vec<u8> = (0..1000).flat_map(|seq| Frame::new(op::HEARTBEAT, seq, "").encode()).collect();
    for _ in 0..2 {
        let mut client = Transport::Tcp.login(&gateway, 0, "", "", &[]);
        client.send_bytes(&burst);
        for seq in 0..1000 {
            assert_eq!(client.receive().seq, seq);
        }
    }
    let cases = [
        ("frames_per_second = 1\nframes_burst = 10", "frame_rate", op::HEARTBEAT, 0, 11),
        ("bytes_per_second = 1\nbytes_burst = 8192", "byte_rate", op::SEND_MESSAGE, 4000, 3),
        ("room_changes_per_second = 1\nroom_changes_burst = 10", "room_change_rate", op::CHANGE_ROOM, 0, 11),
    ];
    for (limits, reason, op, body, count) in cases {
        let gateway = Gateway::with(&format!("[limits]\n{limits}"));
        let mut other = Transport::Tcp.login(&gateway, 0, "other", "", &[]);
        for transport in Transport::BOTH {
            let mut client = transport.login(&gateway, 0, "busy", "", &[]);
            for seq in 0..count {
                client.send(&Frame::new(op, seq, vec![b'x'; body]));
            }
            client.expect_close(1008);
        }
        gateway.wait_closes(reason, 2);
        assert_eq!(other.heartbeat(), 0, "{reason}: a neighbour is not concerned");
    }
}

/// Proves defect C22 is not there: a gateway without connections needs little memory, whatever its limits allow.
#[test]
fn c22_an_idle_gateway_needs_little_memory() {
    let gateway = Start::new().config("max_connections = 15000").shards(2).run();
    let status = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", gateway.pid())).expect("our own child");
    let line = status.lines().find(|line| line.starts_with("Pss:")).expect("a Pss line");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    assert!(kib < 64 * 1024, "{kib} KiB at start; goim reserves 512 MiB");
}

/// Proves defect C20 is not there: out of descriptors the gateway goes on accepting as soon as one is free, any number
/// of times.
#[test]
fn c20_running_out_of_slots_never_ends_accepting() {
    let gateway = Gateway::with("max_connections = 20");
    for round in 0..5 {
        let mut inside: Vec<Client> = (0..20).map(|_| Transport::Tcp.login(&gateway, 0, "", "", &[])).collect();
        let mut outside: Vec<TcpClient> = (0..200).map(|_| TcpClient::connect(gateway.tcp())).collect();
        for client in &mut outside {
            assert_eq!(client.next(), Err(End::Socket), "round {round}: a full gateway says so");
        }
        for client in &mut inside {
            assert_eq!(client.heartbeat(), 0, "round {round}: those inside stay");
        }
        drop(inside);
        gateway.wait_metric("halley_connections", &[], 0.0);
    }
    eventually("they are counted", || {
        (gateway.metrics().sum("halley_closes_total", &[("reason", "server_full")]) > 0.0).then_some(())
    });
}
