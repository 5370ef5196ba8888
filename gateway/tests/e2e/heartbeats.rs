//! Heartbeats: always answered, and what keeps a connection alive (goim §1.7, §1.10).

use std::time::{Duration, Instant};

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

/// A client that stops beating is closed with a reason of its own; other traffic does not keep it alive, beating does
/// (goim §1.3).
#[test]
fn only_heartbeats_keep_a_connection_alive() {
    let gateway = Gateway::with("[node]\nheartbeat_seconds = 1\nheartbeat_max = 1");
    for transport in Transport::BOTH {
        let mut beats = transport.login(&gateway, 0, "beats", "", &[]);
        let mut talks = transport.login(&gateway, 0, "talks", "", &[]);
        let began = Instant::now();
        loop {
            beats.heartbeat();
            talks.send(&Frame::new(op::SEND_MESSAGE, 1, ""));
            if talks.next().is_err() {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "talking keeps a connection alive");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(beats.heartbeat(), 0, "the one that beats lives");
        drop(beats);
        gateway.wait_metric("halley_connections_authenticated", &[], 0.0);
    }
    gateway.wait_closes("heartbeat_timeout", 2);
}

/// Proves defects C18 and C5 are not there: a client that stops reading and beating while pushes wait for it is closed
/// when its time is over, its slot is free again, and its key can log in anew.
#[test]
fn c18_a_client_that_stopped_reading_is_let_go() {
    let gateway = Gateway::with("[node]\nheartbeat_seconds = 1\nheartbeat_max = 1");
    let stuck = Transport::Tcp.login(&gateway, 0, "stuck", "", &[1000]);
    let body = "x".repeat(4000);
    for _ in 0..2000 {
        gateway.push_key("stuck", 1000, &body);
        if gateway.metrics().sum("halley_queued_bytes", &[]) > 0.0 {
            break;
        }
    }
    gateway.wait_metric("halley_connections", &[], 0.0);
    gateway.wait_metric("halley_queued_bytes", &[], 0.0);
    let mut again = Transport::Tcp.login(&gateway, 0, "stuck", "", &[1000]);
    assert_eq!(gateway.push_key("stuck", 1000, "hello"), 1);
    assert_eq!(again.receive().text(), "hello");
    drop(stuck);
}

/// Proves defect C21 is not there: for as long as a connection beats it can be reached by key and by mid, over many times
/// the time after which it would be closed.
#[test]
fn c21_a_beating_connection_is_always_reachable() {
    let gateway = Gateway::with("[node]\nheartbeat_seconds = 1\nheartbeat_max = 1");
    let mut client = Transport::WebSocket.login(&gateway, 9, "always", "", &[1000]);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(4000) {
        client.heartbeat();
        assert_eq!(gateway.push_key("always", 1000, "key"), 1);
        assert_eq!(client.receive().text(), "key");
        assert_eq!(gateway.push_mid(9, 1000, "mid"), 1);
        assert_eq!(client.receive().text(), "mid");
        std::thread::sleep(Duration::from_millis(100));
    }
}
