//! Pushes in both their forms: the golden bytes of goim §9.1 and §9.2, and each border of the WebSocket length forms.

use halley_protocol::goim::{Decoded, Frame, decode_stream};
use halley_protocol::payload::Payload;

use crate::vectors::vector;

#[test]
fn golden_pushes() {
    let message = Payload::message(1000, br#"{"test":1}"#);
    assert_eq!(message.bytes(true), vector("R1"));
    assert_eq!(message.bytes(false), vector("T1"));
    assert_eq!(Payload::raw(&vector("T1")), message, "a stock job's wrapping and ours are the same bytes");

    let batch = Payload::raw(&vector("T2"));
    assert_eq!(batch.bytes(true), vector("R2"));
    assert_eq!(batch.bytes(false), vector("T2"));

    let long = Payload::message(1000, &[b'x'; 94]);
    assert_eq!(long.bytes(true)[..24], vector("R3"));

    for (plain, websocket, tcp) in
        [(Payload::plain(1, 8, 1, b""), "W2", "F2"), (Payload::plain(1, 3, 1, &[0, 0, 0, 7]), "W3", "F4")]
    {
        assert_eq!(plain.bytes(true), vector(websocket));
        assert_eq!(plain.bytes(false), vector(tcp));
    }
}

/// An op 9 that holds nothing: no bytes on TCP, a bare outer header on WebSocket (goim §1.8).
#[test]
fn an_empty_batch() {
    let empty = Payload::raw(&[]);
    assert_eq!(empty.bytes(false), b"");
    assert_eq!(empty.bytes(true), b"\x82\x10\0\0\0\x10\0\x10\0\x01\0\0\0\x09\0\0\0\0");
}

/// goim §1.1: 32 bits of version between components, the low 16 on the wire.
#[test]
fn plain_keeps_the_low_half_of_the_version() {
    for (version, on_wire) in [(-1, -1), (0x1_0002, 2), (0x8000, i16::MIN), (i32::MIN, 0)] {
        let payload = Payload::plain(version, 7, -1, b"x");
        let expected = Frame { version: on_wire, op: 7, seq: -1, body: b"x" };
        assert_eq!(decode_stream(payload.bytes(false)), Ok(Decoded::Frame { frame: expected, consumed: 17 }));
    }
}

/// The WebSocket header takes its shortest form on both sides of each border, and the TCP form begins where it should.
#[test]
fn websocket_lengths() {
    for (message_bytes, header) in [
        (125, vec![0x82, 125]),
        (126, vec![0x82, 126, 0, 126]),
        (65_535, vec![0x82, 126, 0xff, 0xff]),
        (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let body = vec![b'x'; message_bytes - 32];
        let payload = Payload::message(1000, &body);
        assert!(payload.bytes(true).starts_with(&header), "{message_bytes}");
        assert_eq!(payload.bytes(true).len(), header.len() + message_bytes);
        assert_eq!(payload.bytes(false).len(), message_bytes - 16);
        assert!(payload.bytes(true).ends_with(payload.bytes(false)));

        let plain = Payload::plain(1, 1000, 0, &body);
        assert_eq!(plain.bytes(false), payload.bytes(false));
    }
}
