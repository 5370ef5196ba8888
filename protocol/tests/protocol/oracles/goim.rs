//! goim frames from any bytes.

use halley_protocol::goim::{
    BODY_BYTES_MAX, Decoded, FRAME_BYTES_MAX, Frame, FrameError, HEADER_BYTES, decode_message, decode_stream,
};

use super::Cuts;

/// A frame that outlives the bytes it was read from.
type Owned = (i16, i32, i32, Vec<u8>);

fn own(frame: &Frame<'_>) -> Owned {
    (frame.version, frame.op, frame.seq, frame.body.to_vec())
}

/// One byte of cuts, then a TCP stream: however it is cut, the same frames come out and the same end is reached.
pub fn stream(data: &[u8]) {
    let Some((&seed, stream)) = data.split_first() else { return };
    let whole = read(&[stream]);
    assert_eq!(read(&Cuts::new(seed).pieces(stream)), whole);
}

/// The frames of a stream, and how it ends: bytes left over, or an error.
fn read(pieces: &[&[u8]]) -> (Vec<Owned>, Result<usize, FrameError>) {
    let mut buffer = Vec::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decode_stream(&buffer) {
                Err(error) => return (frames, Err(error)),
                Ok(Decoded::Incomplete { needed }) => {
                    assert!(buffer.len() < needed && needed <= FRAME_BYTES_MAX);
                    break;
                }
                Ok(Decoded::Frame { frame, consumed }) => {
                    check_frame(&frame, &buffer[..consumed]);
                    frames.push(own(&frame));
                    buffer.drain(..consumed);
                }
            }
        }
    }
    (frames, Ok(buffer.len()))
}

/// A frame is its bytes, no more, no fewer.
fn check_frame(frame: &Frame<'_>, bytes: &[u8]) {
    assert!(frame.body.len() <= BODY_BYTES_MAX);
    assert_eq!(frame.encoded_bytes(), bytes.len());
    let mut encoded = Vec::new();
    frame.encode(&mut encoded);
    let length = i32::from_be_bytes(bytes[..4].try_into().expect("four bytes"));
    if length >= 16 {
        assert_eq!(encoded, bytes);
    } else {
        assert_eq!(encoded[..4], [0, 0, 0, 16], "a frame without body says so when it is written");
        assert_eq!(encoded[4..], bytes[4..]);
    }
    let expected = if bytes.len() > HEADER_BYTES { bytes.len() } else { HEADER_BYTES };
    assert_eq!(decode_stream(&bytes[..bytes.len() - 1]), Ok(Decoded::Incomplete { needed: expected }));
}

/// A WebSocket message: its frames are those of a stream of the same bytes, for as long as no length is negative.
pub fn message(message: &[u8]) {
    let mut rest = message;
    let mut expected = Vec::new();
    let fault = loop {
        let length = rest.first_chunk().map_or(0, |&length| i32::from_be_bytes(length));
        if rest.len() >= HEADER_BYTES && length < 0 {
            break FrameError::Length(length);
        }
        match decode_stream(rest) {
            Err(error) => break error,
            Ok(Decoded::Incomplete { .. }) => break FrameError::Truncated,
            Ok(Decoded::Frame { frame, consumed }) => {
                expected.push(frame);
                rest = &rest[consumed..];
            }
        }
    };
    match decode_message(message) {
        Err(error) => assert_eq!((error, expected), (fault, vec![])),
        Ok(frames) => assert_eq!(frames.collect::<Vec<_>>(), expected),
    }
}
