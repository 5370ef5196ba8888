//! Every operation of goim §1.2 gets its own answer, byte for byte, over both transports.

use crate::support::frame::golden;
use crate::support::*;

/// Proves goim §9.1 and §9.2 on the wire: a client that sends F1, F3, F5, F7, F9, F11 reads F2, F4, F6, F8, F10, F12.
#[test]
fn golden_requests_get_golden_replies() {
    let gateway = Gateway::start();
    let talk = [
        (golden::F1, golden::F2),
        (golden::F3, golden::F4_ONE),
        (golden::F5, golden::F6),
        (golden::F7, golden::F8),
        (golden::F9, golden::F10),
        (golden::F11, golden::F12),
    ];
    let mut tcp = TcpClient::connect(gateway.tcp());
    for (request, reply) in talk {
        tcp.send_bytes(&hex(request));
        let reply = hex(reply);
        assert_eq!(tcp.exact(reply.len()), reply, "TCP: {request}");
    }
    drop(tcp);
    gateway.wait_metric("halley_connections_authenticated", &[], 0.0);
    let mut ws = WsClient::connect(gateway.ws());
    for (request, reply) in talk {
        ws.send_message(&hex(request));
        assert_eq!(ws.next_message(), Ok(hex(reply)), "WebSocket: {request}");
    }
}

/// Proves that version and sequence come back as they were sent, also negative ones (goim §1.1).
#[test]
fn version_and_sequence_are_echoed() {
    let gateway = Gateway::start();
    for transport in Transport::BOTH {
        let mut client = transport.login(&gateway, 0, "", "", &[]);
        for (ver, seq) in [(0, 0), (-1, -1), (i16::MAX, i32::MAX), (i16::MIN, i32::MIN)] {
            client.send(&Frame { ver, op: op::SEND_MESSAGE, seq, body: b"x".to_vec() });
            assert_eq!(client.receive(), Frame { ver, op: op::SEND_MESSAGE, seq, body: Vec::new() });
        }
    }
}

/// Proves goim §1.2 "other": an upstream message of any business op is answered with the same op and no body.
#[test]
fn upstream_messages_are_answered_with_their_own_op() {
    let gateway = Gateway::start();
    for transport in Transport::BOTH {
        let mut client = transport.login(&gateway, 5, "k", "", &[]);
        for op in [0, 1, 3, 4, 5, 6, 8, 10, 11, 13, 15, 17, 18, 1000, i32::MAX, -1, i32::MIN] {
            assert_eq!(client.ask(op, 77, vec![7; 4096]), Frame::new(op, 77, ""), "{transport:?} op {op}");
        }
    }
}

/// Proves goim §1.2: a second op 7 on a live connection is an upstream message when tokens are open; nobody is logged
/// in again.
#[test]
fn a_second_login_is_an_upstream_message() {
    let gateway = Gateway::start();
    for transport in Transport::BOTH {
        let mut client = transport.login(&gateway, 5, "first", "test://here", &[1000]);
        let reply = client.ask(op::AUTH, 2, token(6, "second", "test://there", &[]));
        assert_eq!(reply, Frame::new(op::AUTH, 2, ""));
        assert_eq!(gateway.push_key("second", 1000, "nobody"), 0);
        assert_eq!(gateway.push_key("first", 1000, "still me"), 1);
        assert_eq!(client.receive().text(), "still me");
        drop(client);
        gateway.wait_metric("halley_connections_authenticated", &[], 0.0);
    }
}

/// Proves goim §1.8: op 9 from a client has no answer on TCP (a raw frame with nothing inside) and an empty op 9 on
/// WebSocket.
#[test]
fn an_upstream_raw_frame_is_answered_as_goim_does() {
    let gateway = Gateway::start();
    let raw = Frame::new(op::RAW, 8, "abc");
    let mut tcp = Transport::Tcp.login(&gateway, 0, "t", "", &[]);
    tcp.send(&raw);
    assert_eq!(tcp.ask(op::SEND_MESSAGE, 9, ""), Frame::new(op::SEND_MESSAGE, 9, ""), "the next answer comes first");
    let mut ws = Transport::WebSocket.login(&gateway, 0, "w", "", &[]);
    ws.send(&raw);
    assert_eq!(ws.receive(), Frame::new(op::RAW, 8, ""));
}

/// Proves that replies keep the order of their requests (goim §1.10) when all come in one segment.
#[test]
fn replies_keep_the_order_of_requests() {
    let gateway = Gateway::start();
    let ops = [op::SEND_MESSAGE, op::HEARTBEAT, op::CHANGE_ROOM, 1234, op::SUBSCRIBE, op::UNSUBSCRIBE];
    let replies = [
        op::SEND_MESSAGE,
        op::HEARTBEAT_REPLY,
        op::CHANGE_ROOM_REPLY,
        1234,
        op::SUBSCRIBE_REPLY,
        op::UNSUBSCRIBE_REPLY,
    ];
    let mut client = TcpClient::connect(gateway.tcp());
    let mut bytes = Frame::new(op::AUTH, 0, "{}").encode();
    for seq in 1..=300 {
        let index = usize::try_from(seq).expect("positive") % ops.len();
        let body = if ops[index] == op::CHANGE_ROOM { format!("test://{}", seq % 7) } else { String::new() };
        bytes.extend(Frame::new(ops[index], seq, body).encode());
    }
    client.send_bytes(&bytes);
    assert_eq!(client.next().map(|frame| frame.op), Ok(op::AUTH_REPLY));
    for seq in 1..=300 {
        let frame = client.next().expect("every request is answered");
        let index = usize::try_from(seq).expect("positive") % ops.len();
        assert_eq!((frame.seq, frame.op), (seq, replies[index]));
    }
}

/// Proves defect C6 is not there: bodies that are echoed are never those of a later request. 200 subscriptions of 3,600
/// bytes are sent at once, and each reply must carry its own.
#[test]
fn c06_pipelined_echoes_carry_their_own_body() {
    let gateway = Gateway::start();
    for transport in Transport::BOTH {
        let mut client = transport.login(&gateway, 0, "", "", &[]);
        let body = |seq: i32| {
            let op = 10_000 + seq % 3;
            let mut text = vec![op.to_string(); 600].join(",");
            text.truncate(3599);
            text
        };
        let mut sent = 0;
        for seq in 0..200 {
            client.send(&Frame::new(op::SUBSCRIBE, seq, body(seq)));
            sent += 1;
            // Both sides' buffers are finite: answers are read once in a while, many requests ahead.
            if seq % 20 == 19 {
                for seq in seq - 19..=seq {
                    let reply = client.receive();
                    assert_eq!((reply.op, reply.seq), (op::SUBSCRIBE_REPLY, seq));
                    assert_eq!(reply.text(), body(seq), "{transport:?}: reply {seq} echoes its own request");
                }
                sent -= 20;
            }
        }
        assert_eq!(sent, 0);
    }
}

/// Proves defect C19 is not there: upstream messages are answered in the shard and wait for nobody. One client floods
/// upstream messages without reading; another one's heartbeats are answered meanwhile.
#[test]
fn c19_upstream_messages_never_stall_another_client() {
    let gateway = Gateway::with("[limits]\nframes_per_second = 0\nbytes_per_second = 0\n");
    let mut flood = TcpClient::connect(gateway.tcp());
    flood.send_bytes(&Frame::new(op::AUTH, 1, "{}").encode());
    assert_eq!(flood.next().map(|frame| frame.op), Ok(op::AUTH_REPLY));
    let mut other = Transport::Tcp.login(&gateway, 0, "", "", &[]);
    flood.stream.set_nonblocking(true).expect("nonblocking");
    let upstream = Frame::new(op::SEND_MESSAGE, 1, vec![1; 64]).encode().repeat(512);
    for _ in 0..200 {
        use std::io::Write as _;
        let _ = flood.stream.write(&upstream);
        assert_eq!(other.heartbeat(), 0);
    }
}
