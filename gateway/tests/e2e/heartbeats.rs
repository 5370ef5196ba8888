//! Heartbeats: always answered, and what keeps a connection alive (goim §1.7, §1.10).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::client::End;
use crate::support::*;

/// Proves defect C7 is not there: 200 heartbeats in one segment get 200 answers, in order, 20 times over.
#[test]
fn c07_two_hundred_pipelined_heartbeats_are_all_answered() {
    let gateway = Gateway::start();
    for transport in Transport::BOTH {
        for _ in 0..20 {
            let mut client = transport.login(&gateway, 0, "", "test://beat", &[]);
            match &mut client {
                Client::Tcp(tcp) => {
                    let bytes: Vec<u8> = (0..200).flat_map(|seq| Frame::new(op::HEARTBEAT, seq, "").encode()).collect();
                    tcp.send_bytes(&bytes);
                }
                Client::WebSocket(ws) => {
                    for seq in 0..200 {
                        let bytes = Frame::new(op::HEARTBEAT, seq, "").encode();
                        ws.socket.write(tungstenite::Message::binary(bytes)).expect("buffered");
                    }
                    ws.socket.flush().expect("sent");
                }
            }
            for seq in 0..200 {
                let reply = client.receive();
                assert_eq!((reply.op, reply.seq), (op::HEARTBEAT_REPLY, seq));
            }
        }
    }
}

/// The heartbeat timeout of these tests, as configured and as time.
const ONE_SECOND: &str = "[node]\nheartbeat_seconds = 1\nheartbeat_max = 1";
const TIMEOUT: Duration = Duration::from_secs(1);

fn beat(client: &mut Client) {
    assert_eq!(client.heartbeat(), 0, "a client without a room is told of nobody");
}

/// Waits until so many connections, or more, have ended because they did not beat.
fn wait_timeouts(gateway: &Gateway, count: f64) {
    eventually("the timeouts are counted", || {
        let closes = gateway.metrics().sum("halley_closes_total", &[("reason", "heartbeat_timeout")]);
        (closes >= count).then_some(())
    });
}

/// A thread that has nothing to do with any gateway: it sleeps over and over, and notes how long it was kept from
/// waking.
struct MachineClock {
    stop: mpsc::Sender<()>,
    sleeps: JoinHandle<Duration>,
}

impl MachineClock {
    fn start() -> MachineClock {
        let (stop, stopped) = mpsc::channel();
        let sleeps = std::thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            loop {
                let sleep = stopped.recv_timeout(Duration::from_millis(10));
                longest = longest.max(last.elapsed());
                last = Instant::now();
                if sleep == Err(mpsc::RecvTimeoutError::Disconnected) {
                    return longest;
                }
            }
        });
        MachineClock { stop, sleeps }
    }

    /// The longest time for which it stood still.
    fn stop(self) -> Duration {
        drop(self.stop);
        self.sleeps.join().expect("it only sleeps")
    }
}

/// Runs what must keep up with beating. A failure says something about the gateway, however slow that was, unless the
/// machine itself stood still for a good part of the timeout: then the attempt is repeated.
fn in_time(attempt: impl Fn()) {
    for left in (0..5).rev() {
        let clock = MachineClock::start();
        let outcome = catch_unwind(AssertUnwindSafe(&attempt));
        let stood_still = clock.stop();
        match outcome {
            Ok(()) => return,
            Err(_) if left > 0 && stood_still > TIMEOUT / 4 => {}
            Err(failure) => resume_unwind(failure),
        }
    }
}

/// A client that stops beating is closed with a reason of its own; other traffic does not keep it alive, beating does
/// (goim §1.3).
#[test]
fn only_heartbeats_keep_a_connection_alive() {
    let gateway = Gateway::with(ONE_SECOND);
    for transport in Transport::BOTH {
        in_time(|| {
            let mut talks = transport.login(&gateway, 0, "talks", "", &[]);
            let mut beats = transport.login(&gateway, 0, "beats", "", &[]);
            let began = Instant::now();
            let end = loop {
                beat(&mut beats);
                talks.send(&Frame::new(op::SEND_MESSAGE, 1, ""));
                if let Err(end) = talks.next() {
                    break end;
                }
                assert!(began.elapsed() < PATIENCE, "talking keeps a connection alive");
                std::thread::sleep(Duration::from_millis(50));
            };
            assert_eq!(end, if transport == Transport::Tcp { End::Socket } else { End::Frame(1008) });
            beat(&mut beats);
        });
        gateway.wait_metric("halley_connections_authenticated", &[], 0.0);
    }
    wait_timeouts(&gateway, 2.0);
}

/// Proves defects C18 and C5 are not there: a client that stops reading and beating while pushes wait for it is closed
/// when its time is over, its slot is free again, and its key can log in anew.
#[test]
fn c18_a_client_that_stopped_reading_is_let_go() {
    let gateway = Gateway::with(&format!("[sockets]\nsend_buffer_bytes = 4096\n{ONE_SECOND}"));
    let body = "x".repeat(60_000);
    // One whose time was over before anything waited for it proves nothing: it gets a successor.
    let stuck = eventually("pushes wait for a client that does not read", || {
        let mut client = Client::Tcp(TcpClient::connect_narrow(gateway.tcp()));
        client.login(&token(0, "stuck", "", &[1000]));
        let mut pushes = 0..100;
        pushes
            .any(|_| {
                gateway.push_key("stuck", 1000, &body);
                let metrics = gateway.metrics();
                metrics.sum("halley_queued_bytes", &[]) > 0.0
                    && metrics.sum("halley_connections_authenticated", &[]) == 1.0
            })
            .then_some(client)
    });
    gateway.wait_metric("halley_connections", &[], 0.0);
    gateway.wait_metric("halley_queued_bytes", &[], 0.0);
    wait_timeouts(&gateway, 1.0);
    in_time(|| {
        let mut again = Transport::Tcp.login(&gateway, 0, "stuck", "", &[1000]);
        assert_eq!(gateway.push_key("stuck", 1000, "hello"), 1);
        assert_eq!(again.receive().text(), "hello");
    });
    drop(stuck);
}

/// Proves defect C21 is not there: for as long as a connection beats it can be reached by key and by mid, over many
/// times the time after which it would be closed.
#[test]
fn c21_a_beating_connection_is_always_reachable() {
    let gateway = Gateway::with(ONE_SECOND);
    in_time(|| {
        let mut client = Transport::WebSocket.login(&gateway, 9, "always", "", &[1000]);
        let began = Instant::now();
        while began.elapsed() < 4 * TIMEOUT {
            beat(&mut client);
            assert_eq!(gateway.push_key("always", 1000, "key"), 1);
            assert_eq!(client.receive().text(), "key");
            assert_eq!(gateway.push_mid(9, 1000, "mid"), 1);
            assert_eq!(client.receive().text(), "mid");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}
