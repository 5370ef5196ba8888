//! Frames of Kafka's protocol: four bytes of length, then that many. Owns cutting them out of what was received, and
//! the bound of one. Shares the receive buffer, copies nothing. Next step on the way in: [`super::answer`].

use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes of a length.
const LENGTH_BYTES: usize = 4;
/// Bytes of the shortest answer: its correlation id.
const FRAME_BYTES_MIN: i32 = 4;
/// Room for small answers, so that they are not read in crumbs.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Room is made in steps of this: a peer that only says that a long frame will come costs no more.
const READ_BYTES_STEP: usize = 1024 * 1024;

/// A length that no answer has: the peer is broken, or speaks something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength {
    /// What it said.
    pub length: i32,
    /// What was the most.
    pub bytes_max: u32,
}

/// Take the next whole frame, without its length, from the front of what was received; `None` while it is cut.
pub fn next_frame(received: &mut BytesMut, bytes_max: u32) -> Result<Option<Bytes>, BadLength> {
    let Some(length) = length(received, bytes_max)? else { return Ok(None) };
    if received.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    received.advance(LENGTH_BYTES);
    Ok(Some(received.split_to(length).freeze()))
}

/// How many bytes to make room for before the next read.
pub fn room_wanted(received: &BytesMut, bytes_max: u32) -> usize {
    match length(received, bytes_max) {
        Ok(Some(length)) => {
            (LENGTH_BYTES + length).saturating_sub(received.len()).clamp(READ_BYTES_MIN, READ_BYTES_STEP)
        }
        _ => READ_BYTES_MIN,
    }
}

fn length(received: &BytesMut, bytes_max: u32) -> Result<Option<usize>, BadLength> {
    let Some(first) = received.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = i32::from_be_bytes(*first);
    let fits = u32::try_from(length).is_ok_and(|length| length <= bytes_max);
    match usize::try_from(length) {
        Ok(bytes) if length >= FRAME_BYTES_MIN && fits => Ok(Some(bytes)),
        _ => Err(BadLength { length, bytes_max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame cut at every byte is waited for, and comes whole with what follows it left.
    #[test]
    fn a_frame_may_be_cut_at_every_byte() {
        let stream = b"\0\0\0\x05hello\0\0\0\x04four";
        for cut in 0..stream.len() {
            let mut received = BytesMut::from(&stream[..cut]);
            let mut frames = Vec::new();
            for part in [&b""[..], &stream[cut..]] {
                received.extend_from_slice(part);
                while let Some(frame) = next_frame(&mut received, 5).expect("good lengths") {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [&b"hello"[..], b"four"], "cut at {cut}");
            assert!(received.is_empty());
        }
    }

    /// Lengths that no answer has are refused as soon as they are there, before anything is kept for them.
    #[test]
    fn lengths_out_of_bounds_are_refused() {
        for (bytes, length) in [(*b"HTTP", 0x4854_5450), ([0xff; 4], -1), ([0, 0, 0, 3], 3), ([0, 0, 4, 1], 1025)] {
            let mut received = BytesMut::from(&bytes[..]);
            assert_eq!(next_frame(&mut received, 1024), Err(BadLength { length, bytes_max: 1024 }));
            assert_eq!(room_wanted(&received, 1024), READ_BYTES_MIN);
        }
        let mut received = BytesMut::from(&[0, 0, 4, 0][..]);
        assert_eq!(next_frame(&mut received, 1024), Ok(None));
    }

    /// A long frame is made room for in steps, and is one buffer in the end.
    #[test]
    fn room_is_made_in_steps() {
        let mut received = BytesMut::from(&(8 * 1024 * 1024_i32).to_be_bytes()[..]);
        assert_eq!(room_wanted(&received, u32::MAX), READ_BYTES_STEP);
        received.resize(4 + 8 * 1024 * 1024 - 10_000, 0);
        assert_eq!(room_wanted(&received, u32::MAX), 10_000);
    }
}
