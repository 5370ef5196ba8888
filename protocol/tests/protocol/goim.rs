//! goim frames: the golden bytes both ways, and the rules for wrong lengths (goim §1.4, §1.5, §1.11) as tables.

use halley_protocol::goim::{
    BODY_BYTES_MAX, Decoded, FRAME_BYTES_MAX, Frame, FrameError, HEADER_BYTES, decode_batch, decode_message,
    decode_stream,
};

use crate::vectors::vector;

/// A frame as the header's numbers would have it, whatever they are.
fn wire(length: i32, header_length: i16, body_bytes: usize) -> Vec<u8> {
    let mut wire = length.to_be_bytes().to_vec();
    wire.extend_from_slice(&header_length.to_be_bytes());
    wire.extend_from_slice(&[0, 1, 0, 0, 0, 4, 0, 0, 0, 9]);
    wire.resize(HEADER_BYTES + body_bytes, b'x');
    wire
}

fn frame(op: i32, seq: i32, body: &[u8]) -> Frame<'_> {
    Frame { version: 1, op, seq, body }
}

/// What a stream decoder says, as body length and bytes consumed, so that tables stay readable.
fn stream(input: &[u8]) -> Result<Result<(usize, usize), usize>, FrameError> {
    decode_stream(input).map(|decoded| match decoded {
        Decoded::Frame { frame, consumed } => Ok((frame.body.len(), consumed)),
        Decoded::Incomplete { needed } => Err(needed),
    })
}

fn message_bodies(message: &[u8]) -> Result<Vec<usize>, FrameError> {
    decode_message(message).map(|frames| frames.map(|frame| frame.body.len()).collect())
}

#[test]
fn golden_frames_both_ways() {
    let token = br#"{"mid":123,"room_id":"live://1000","platform":"web","accepts":[1000,1001,1002]}"#;
    let golden = [
        ("F1", frame(7, 1, token)),
        ("F2", frame(8, 1, b"")),
        ("F3", frame(2, 1, b"")),
        ("F4", frame(3, 1, &[0, 0, 0, 7])),
        ("F5", frame(4, 2, b"hi")),
        ("F6", frame(4, 2, b"")),
        ("F7", frame(12, 3, b"live://2000")),
        ("F8", frame(13, 3, b"live://2000")),
        ("F9", frame(14, 4, b"1003,1004")),
        ("F10", frame(15, 4, b"1003,1004")),
        ("F11", frame(16, 5, b"1003")),
        ("F12", frame(17, 5, b"1003")),
        ("T1", frame(1000, 0, br#"{"test":1}"#)),
    ];
    for (id, frame) in golden {
        let bytes = vector(id);
        let mut encoded = Vec::new();
        frame.encode(&mut encoded);
        assert_eq!(encoded, bytes, "{id} encoded");
        assert_eq!(frame.encoded_bytes(), bytes.len(), "{id}");
        assert_eq!(decode_stream(&bytes), Ok(Decoded::Frame { frame, consumed: bytes.len() }), "{id} on TCP");
        assert_eq!(decode_message(&bytes).map(Vec::from_iter), Ok(vec![frame]), "{id} as a message");
    }
}

#[test]
fn a_batch_is_its_frames() {
    let batch = vector("T2");
    let frames: Result<Vec<Frame<'_>>, FrameError> = decode_batch(&batch).collect();
    assert_eq!(frames, Ok(vec![frame(1000, 0, br#"{"test":1}"#), frame(1001, 0, br#"{"test":2}"#)]));
    assert_eq!(decode_batch(&[]).count(), 0);
}

/// Everything in a batch is checked, because clients check nothing; the frames before the fault are still given.
#[test]
fn a_batch_forgives_nothing() {
    let cases = [
        ("a length below the header", wire(15, 16, 0), FrameError::Length(15)),
        ("a length of zero", wire(0, 16, 0), FrameError::Length(0)),
        ("a negative length", wire(-1, 16, 0), FrameError::Length(-1)),
        ("another header length", wire(16, 17, 0), FrameError::HeaderLength(17)),
        ("a body cut short", wire(20, 16, 3), FrameError::Truncated),
        ("the largest length", wire(i32::MAX, 16, 0), FrameError::Truncated),
        ("half a header", vec![0; 15], FrameError::Truncated),
    ];
    for (what, tail, error) in cases {
        let batch = [vector("T1"), tail].concat();
        let items: Vec<_> = decode_batch(&batch).collect();
        assert_eq!(items, [Ok(frame(1000, 0, br#"{"test":1}"#)), Err(error)], "{what}");
    }
    let long = wire(100_016, 16, 100_000);
    assert_eq!(decode_batch(&long).map(|frame| frame.map(|frame| frame.body.len())).collect::<Vec<_>>(), [Ok(100_000)]);
}

#[test]
fn stream_lengths() {
    let max = i32::try_from(FRAME_BYTES_MAX).expect("small");
    let bodiless = Ok(Ok((0, HEADER_BYTES)));
    let cases = [
        ("nothing", vec![], Ok(Err(16))),
        ("half a header", vec![0xff; 15], Ok(Err(16))),
        ("a header alone, body to come", wire(20, 16, 0), Ok(Err(20))),
        ("a byte short", wire(20, 16, 3), Ok(Err(20))),
        ("whole", wire(20, 16, 4), Ok(Ok((4, 20)))),
        ("whole and more", wire(20, 16, 9), Ok(Ok((4, 20)))),
        ("no body", wire(16, 16, 0), bodiless),
        ("15 counts as no body", wire(15, 16, 9), bodiless),
        ("0 counts as no body", wire(0, 16, 9), bodiless),
        ("-1 counts as no body", wire(-1, 16, 9), bodiless),
        ("the last that does not wrap", wire(i32::MIN + 16, 16, 9), bodiless),
        ("the first that wraps", wire(i32::MIN + 15, 16, 9), Err(FrameError::Length(i32::MIN + 15))),
        ("the smallest", wire(i32::MIN, 16, 9), Err(FrameError::Length(i32::MIN))),
        ("the longest", wire(max, 16, BODY_BYTES_MAX), Ok(Ok((BODY_BYTES_MAX, FRAME_BYTES_MAX)))),
        ("one more", wire(max + 1, 16, BODY_BYTES_MAX + 1), Err(FrameError::Length(max + 1))),
        ("the largest", wire(i32::MAX, 16, 0), Err(FrameError::Length(i32::MAX))),
        ("header length 15", wire(16, 15, 0), Err(FrameError::HeaderLength(15))),
        ("header length -16", wire(16, -16, 0), Err(FrameError::HeaderLength(-16))),
        ("length is looked at first", wire(max + 1, 0, 0), Err(FrameError::Length(max + 1))),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), Err(FrameError::Length(0x4745_5420))),
    ];
    for (what, input, expected) in cases {
        assert_eq!(stream(&input), expected, "{what}");
    }
}

#[test]
fn message_lengths() {
    let max = i32::try_from(FRAME_BYTES_MAX).expect("small");
    let cases = [
        ("nothing", vec![], Err(FrameError::Truncated)),
        ("half a header", vec![0; 15], Err(FrameError::Truncated)),
        ("whole", wire(20, 16, 4), Ok(vec![4])),
        ("no body", wire(16, 16, 0), Ok(vec![0])),
        ("15 counts as no body", wire(15, 16, 0), Ok(vec![0])),
        ("0 counts as no body", wire(0, 16, 0), Ok(vec![0])),
        ("-1", wire(-1, 16, 0), Err(FrameError::Length(-1))),
        ("the smallest", wire(i32::MIN, 16, 0), Err(FrameError::Length(i32::MIN))),
        ("the longest", wire(max, 16, BODY_BYTES_MAX), Ok(vec![BODY_BYTES_MAX])),
        ("one more", wire(max + 1, 16, BODY_BYTES_MAX + 1), Err(FrameError::Length(max + 1))),
        ("header length 17", wire(16, 17, 0), Err(FrameError::HeaderLength(17))),
    ];
    for (what, message, expected) in cases {
        assert_eq!(message_bodies(&message), expected, "{what}");
    }
}

/// What follows the first frame of a message never makes it an error.
#[test]
fn frames_behind_the_first_are_taken_while_whole() {
    let cases = [
        ("a second frame", wire(18, 16, 2), vec![4, 2]),
        ("two more", [wire(18, 16, 2), wire(17, 16, 1)].concat(), vec![4, 2, 1]),
        ("frames without a body, one after another", [wire(0, 16, 0), wire(15, 16, 0)].concat(), vec![4, 0, 0]),
        ("a byte", vec![0], vec![4]),
        ("zeros", vec![0; 64], vec![4]),
        ("a frame cut short", wire(20, 16, 3), vec![4]),
        ("nothing behind a frame that is too long", [wire(5000, 16, 4984), wire(18, 16, 2)].concat(), vec![4]),
        ("nothing behind a negative length", [wire(-1, 16, 0), wire(18, 16, 2)].concat(), vec![4]),
    ];
    for (what, tail, expected) in cases {
        let message = [wire(20, 16, 4), tail].concat();
        assert_eq!(message_bodies(&message), Ok(expected), "{what}");
    }
}

/// C1: goim answered a message whose packLen exceeds it with bytes of other connections. Every announced length that
/// the message does not hold is refused, and a body is never anything but the message's own bytes.
#[test]
fn c01_a_length_beyond_the_message_is_refused() {
    for body_bytes in 0..=64_i32 {
        let held = usize::try_from(body_bytes).expect("small");
        for announced in 0..=BODY_BYTES_MAX {
            let length = i32::try_from(HEADER_BYTES + announced).expect("small");
            let expected = if announced <= held { Ok(announced) } else { Err(FrameError::Truncated) };
            let message = wire(length, 16, held);
            let actual = decode_message(&message).map(|mut frames| {
                let body = frames.next().expect("at least one").body;
                assert_eq!(body.as_ptr(), message[HEADER_BYTES..].as_ptr());
                body.len()
            });
            assert_eq!(actual, expected, "{announced} announced, {held} held");
        }
    }
}
