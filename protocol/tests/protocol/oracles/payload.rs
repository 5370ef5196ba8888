//! Pushes and batches from any bytes: what a client would read of them is what was put in.

use halley_protocol::goim::{Frame, HEADER_BYTES, decode_batch, op};
use halley_protocol::payload::Payload;
use halley_protocol::websocket::Profile;
use halley_protocol::websocket::frame::{Decoder, Item};

/// Twelve bytes of version, op and seq, then a body that is also tried as a batch.
pub fn payload(data: &[u8]) {
    let Some((&[v0, v1, v2, v3, o0, o1, o2, o3, s0, s1, s2, s3], body)) = data.split_first_chunk() else { return };
    let version = i32::from_be_bytes([v0, v1, v2, v3]);
    let op = i32::from_be_bytes([o0, o1, o2, o3]);
    let seq = i32::from_be_bytes([s0, s1, s2, s3]);

    let message = Payload::message(op, body);
    assert_eq!(only_frame(message.bytes(false)), Frame { version: 1, op, seq: 0, body });
    assert_wrapped(&message);

    let plain = Payload::plain(version, op, seq, body);
    assert_eq!(only_frame(plain.bytes(false)), Frame { version: i16::from_be_bytes([v2, v3]), op, seq, body });
    assert_eq!(websocket_message(&plain), plain.bytes(false));

    if decode_batch(body).all(|frame| frame.is_ok()) {
        let raw = Payload::raw(body);
        assert_eq!(raw.bytes(false), body);
        assert_wrapped(&raw);
        let encoded = decode_batch(body).flatten().fold(Vec::new(), |mut encoded, frame| {
            frame.encode(&mut encoded);
            encoded
        });
        assert_eq!(encoded, body, "a batch is nothing but its frames");
    }
}

/// On WebSocket, the bytes for TCP stand in an op 9 frame of version 1 and seq 0.
fn assert_wrapped(payload: &Payload) {
    let message = websocket_message(payload);
    let outer = only_frame(&message);
    assert_eq!(outer, Frame { version: 1, op: op::RAW, seq: 0, body: payload.bytes(false) });
    assert_eq!(outer.encoded_bytes(), HEADER_BYTES + payload.bytes(false).len());
}

fn only_frame(bytes: &[u8]) -> Frame<'_> {
    let mut frames = decode_batch(bytes);
    let frame = frames.next().expect("a frame").expect("a whole frame");
    assert_eq!(frames.next(), None);
    frame
}

/// The one binary message that the WebSocket form is. (A server's frame reads like an unmasked one of a client.)
fn websocket_message(payload: &Payload) -> Vec<u8> {
    let mut bytes = payload.bytes(true).to_vec();
    let length = u32::try_from(bytes.len()).expect("short");
    match Decoder::new(Profile::Goim).next(&mut bytes, length) {
        Ok((consumed, Item::Data { bytes: range, first: true, end: true, text: false })) => {
            assert_eq!(consumed, bytes.len());
            bytes[range].to_vec()
        }
        other => panic!("{other:?}"),
    }
}
