//! Input that cannot be (goim §1.11): the sender loses its connection, nobody else notices, and no byte of another
//! connection ever comes back.

use crate::support::client::End;
use crate::support::frame::raw_header;
use crate::support::*;

/// Headers that end a TCP connection, and those that are a frame without a body.
#[test]
fn tcp_headers_are_judged_as_goim_judges_them() {
    let gateway = Gateway::start();
    for (pack, header) in [(4113, 16), (i32::MAX, 16), (i32::MIN, 16), (16, 15), (16, 17), (16, 0), (16, -16)] {
        let mut client = Transport::Tcp.login(&gateway, 0, "", "", &[]);
        client.send_bytes(&raw_header(pack, header, 1, op::SEND_MESSAGE, 1));
        assert_eq!(client.expect_end(), End::Socket, "packLen {pack}, headerLen {header}");
    }
    for pack in [0, 1, 15, 16, -1, -1000] {
        let mut client = Transport::Tcp.login(&gateway, 0, "", "", &[]);
        client.send_bytes(&raw_header(pack, 16, 1, op::SEND_MESSAGE, 6));
        assert_eq!(client.receive(), Frame::new(op::SEND_MESSAGE, 6, ""), "packLen {pack} is a frame without body");
        assert_eq!(client.heartbeat(), 0, "and the stream goes on behind its header");
    }
}

/// The same within WebSocket messages, where a negative length is refused too.
#[test]
fn websocket_messages_are_judged_as_goim_judges_them() {
    let gateway = Gateway::start();
    for (pack, header) in [(4113, 16), (i32::MAX, 16), (-1, 16), (i32::MIN, 16), (16, 15), (16, 0)] {
        let mut client = Transport::WebSocket.login(&gateway, 0, "", "", &[]);
        client.send_bytes(&raw_header(pack, header, 1, op::SEND_MESSAGE, 1));
        assert_eq!(client.expect_end(), End::Frame(1002), "packLen {pack}, headerLen {header}");
    }
    for short in [0, 1, 15] {
        let mut client = Transport::WebSocket.login(&gateway, 0, "", "", &[]);
        client.send_bytes(&vec![0; short]);
        assert_eq!(client.expect_end(), End::Frame(1002), "a message of {short} bytes");
    }
    for pack in [0, 1, 15, 16] {
        let mut client = Transport::WebSocket.login(&gateway, 0, "", "", &[]);
        client.send_bytes(&raw_header(pack, 16, 1, op::SEND_MESSAGE, 6));
        assert_eq!(client.receive(), Frame::new(op::SEND_MESSAGE, 6, ""), "packLen {pack} is a frame without body");
    }
}

/// Several frames in one WebSocket message are all handled; bytes behind them that form no frame are ignored.
#[test]
fn a_websocket_message_may_hold_several_frames() {
    let gateway = Gateway::start();
    let mut client = Transport::WebSocket.login(&gateway, 0, "", "", &[]);
    let mut bytes = Vec::new();
    for seq in 1..=5 {
        bytes.extend(Frame::new(op::SEND_MESSAGE, seq, "x").encode());
    }
    bytes.extend_from_slice(b"tail");
    client.send_bytes(&bytes);
    for seq in 1..=5 {
        assert_eq!(client.receive(), Frame::new(op::SEND_MESSAGE, seq, ""));
    }
    assert_eq!(client.heartbeat(), 0);
}

/// Proves defect C1 is not there: a WebSocket message whose packLen goes beyond it is refused. None of the ops that
/// echo gives a byte back that was not sent by the same client.
#[test]
fn c01_a_message_shorter_than_its_frame_is_refused() {
    let gateway = Gateway::start();
    let mut victim = Transport::WebSocket.connect(&gateway);
    victim.login(r#"{"mid":1,"key":"SECRET-TOKEN-OF-THE-VICTIM"}"#);
    for op in [op::CHANGE_ROOM, op::SUBSCRIBE, op::UNSUBSCRIBE] {
        for pack in [17, 100, 4112] {
            let mut client = Transport::WebSocket.login(&gateway, 0, "", "", &[]);
            client.send_bytes(&raw_header(pack, 16, 1, op, 1));
            assert_eq!(client.expect_end(), End::Frame(1002), "op {op} packLen {pack}: closed, and nothing echoed");
        }
    }
    assert_eq!(victim.heartbeat(), 0);
}

/// Proves defect C2 is not there: the same in fragments, before the login, ends that connection and nothing else.
#[test]
fn c02_a_short_fragmented_message_ends_only_its_own_connection() {
    let gateway = Gateway::start();
    let mut other = Transport::Tcp.login(&gateway, 0, "", "", &[]);
    for first in [0_usize, 1, 8, 15, 16] {
        let (answer, mut client) = client::raw_upgrade(gateway.ws());
        assert!(answer.starts_with("HTTP/1.1 101 "));
        let header = raw_header(4112, 16, 1, op::AUTH, 1);
        let part = |fin_opcode: u8, bytes: &[u8]| {
            [&[fin_opcode, 0x80 | u8::try_from(bytes.len()).expect("short"), 0, 0, 0, 0], bytes].concat()
        };
        client.send_bytes(&[part(0x02, &header[..first]), part(0x80, &header[first..])].concat());
        let bytes = client::read_to_end(&mut client, PATIENCE);
        assert_eq!(bytes[..4], [0x88, bytes[1], 0x03, 0xea], "a close frame with 1002 and nothing before it");
    }
    assert_eq!(other.heartbeat(), 0);
    let mut ended = gateway;
    assert!(!ended.has_ended(), "the gateway lives");
}

/// HTTP sent to the TCP port is no goim frame.
#[test]
fn http_on_the_tcp_port_is_refused() {
    let gateway = Gateway::start();
    let mut client = TcpClient::connect(gateway.tcp());
    client.send_bytes(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.next(), Err(End::Socket));
    gateway.wait_closes("bad_frame", 1);
}

/// A peer that breaks off inside a frame, at each byte of it, leaves nothing behind.
#[test]
fn a_truncated_frame_at_the_end_is_no_harm() {
    let gateway = Gateway::start();
    let bytes = Frame::new(op::CHANGE_ROOM, 1, "test://x").encode();
    for cut in 1..bytes.len() {
        let mut client = Transport::Tcp.login(&gateway, 0, "", "", &[]);
        client.send_bytes(&bytes[..cut]);
    }
    gateway.wait_metric("halley_connections", &[], 0.0);
    gateway.wait_metric("halley_partial_bytes", &[], 0.0);
    gateway.wait_metric("halley_rooms", &[], 0.0);
}

/// Requests that come byte by byte are answered like any other.
#[test]
fn frames_may_come_byte_by_byte() {
    let gateway = Gateway::start();
    let mut client = TcpClient::connect(gateway.tcp());
    for byte in
        [Frame::new(op::AUTH, 1, "{}").encode(), Frame::new(op::CHANGE_ROOM, 2, "test://slow").encode()].concat()
    {
        client.send_bytes(&[byte]);
    }
    assert_eq!(client.next(), Ok(Frame::new(op::AUTH_REPLY, 1, "")));
    assert_eq!(client.next(), Ok(Frame::new(op::CHANGE_ROOM_REPLY, 2, "test://slow")));
}

/// The largest body is 4096 bytes, on both transports (goim §1.10).
#[test]
fn the_largest_body_passes() {
    let gateway = Gateway::start();
    for transport in Transport::BOTH {
        let mut client = transport.login(&gateway, 0, "", "", &[]);
        assert_eq!(client.ask(op::SEND_MESSAGE, 1, vec![9; 4096]), Frame::new(op::SEND_MESSAGE, 1, ""));
        client.send(&Frame::new(op::SEND_MESSAGE, 2, vec![9; 4097]));
        assert_ne!(client.expect_end(), End::Frame(1000));
    }
}
