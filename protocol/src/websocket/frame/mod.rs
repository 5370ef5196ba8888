//! Client frames in, server frames out (RFC 6455 §5). Owns the order in which frames may come, the place within a
//! message that the bytes so far have reached, and the bytes of what we send; holds no payload. What it finds goes to
//! the connection: data to `goim::decode_message`, pings and closes to the reply queue.

mod header;
mod write;

use std::ops::Range;

pub use write::{Opcode, SERVER_HEADER_BYTES_MAX, close_frame, write_header};

use self::header::{CONTROL_PAYLOAD_BYTES_MAX, Header, Kind};
use super::utf8::{InvalidUtf8, Utf8};
use super::{CloseCode, Profile};

/// Reads client frames incrementally. Small and `Copy`; equal to its initial state between messages, so an idle
/// connection need not store it. Holds no bytes: header and control-frame bytes that are not whole yet stay with the
/// caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoder {
    profile: Profile,
    /// The message that a data frame began and none has ended yet.
    message: Option<Message>,
    /// The data frame whose payload is not whole; only within a message.
    frame: Option<PayloadRest>,
}

/// A message under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    /// Payload bytes of the frames announced so far, within the limit.
    bytes: u32,
    /// Opcode 1.
    is_text: bool,
    /// Where the text so far ends; moves only if text is checked.
    utf8: Utf8,
}

/// What is still to come of a data frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PayloadRest {
    /// At least 1.
    bytes: u32,
    /// The frame ends its message.
    is_final: bool,
    /// Masking key, turned so that its first byte belongs to the next payload byte; zero for an unmasked frame.
    mask: [u8; 4],
}

/// What a decoder found at the start of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A piece of a data message, unmasked in place. Pieces come as they arrive; the message is whole with the one that
    /// has `end`. A message whose single piece has `first && end` can be handled where it lies.
    Data {
        /// Where the bytes are in the input (may be empty).
        bytes: Range<usize>,
        /// The message begins here.
        first: bool,
        /// The message ends here.
        end: bool,
        /// Opcode 1 (text).
        text: bool,
    },
    /// A ping; answer at once with a pong of the same payload.
    Ping(Range<usize>),
    /// A pong; nothing to do.
    Pong,
    /// A close frame; answer with its code and go.
    Close {
        /// Status, if any was given.
        code: Option<CloseCode>,
    },
    /// Not enough bytes for the next step; nothing consumed. At most 131 bytes are ever left over.
    Incomplete,
}

/// A violation by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketError {
    /// Reserved bits or opcodes, unmasked frame (strict), fragmented or long control frame, wrong continuation, bad
    /// close payload, non-minimal length (strict)... : 1002.
    Protocol(&'static str),
    /// Text (strict) or close reason that is not UTF-8: 1007.
    InvalidUtf8,
    /// Message over the limit: 1009.
    TooBig,
}

impl WebSocketError {
    /// The status with which the connection ends.
    pub const fn code(self) -> CloseCode {
        match self {
            WebSocketError::Protocol(_) => CloseCode::PROTOCOL_ERROR,
            WebSocketError::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            WebSocketError::TooBig => CloseCode::TOO_BIG,
        }
    }
}

impl From<InvalidUtf8> for WebSocketError {
    fn from(_: InvalidUtf8) -> WebSocketError {
        WebSocketError::InvalidUtf8
    }
}

impl Decoder {
    /// Between messages.
    pub const fn new(profile: Profile) -> Decoder {
        Decoder { profile, message: None, frame: None }
    }

    /// Whether nothing of a message or frame is under way.
    pub fn is_idle(&self) -> bool {
        self.message.is_none()
    }

    /// Whether a data frame's header was taken and its payload is not whole yet.
    pub fn is_inside_frame(&self) -> bool {
        self.frame.is_some()
    }

    /// Take the next step: bytes consumed and what they were. `message_bytes_max` bounds the sum of a message's pieces
    /// and is checked on the frame header, before its bytes come.
    ///
    /// The messages and the error that come out do not depend on how the bytes were cut on their way; into how many
    /// pieces a message falls does.
    ///
    /// # Errors
    /// The client broke a rule: close with [`WebSocketError::code`] and do not call again.
    pub fn next(&mut self, input: &mut [u8], message_bytes_max: u32) -> Result<(usize, Item), WebSocketError> {
        if let Some(rest) = self.frame {
            if input.is_empty() {
                return Ok((0, Item::Incomplete));
            }
            return self.piece(rest, input, 0, false);
        }
        let Some(header) = Header::parse(input, self.profile)? else {
            return Ok((0, Item::Incomplete));
        };
        match header.kind {
            Kind::Ping | Kind::Pong | Kind::Close => control(&header, input),
            Kind::Continuation | Kind::Text | Kind::Binary => self.data(&header, input, message_bytes_max),
        }
    }

    /// A data frame, from its header on.
    fn data(
        &mut self,
        header: &Header,
        input: &mut [u8],
        message_bytes_max: u32,
    ) -> Result<(usize, Item), WebSocketError> {
        let begun = match (self.message, header.kind) {
            (None, Kind::Continuation) => return Err(WebSocketError::Protocol("continuation without a message")),
            (Some(_), Kind::Text | Kind::Binary) => {
                return Err(WebSocketError::Protocol("new message within a fragmented one"));
            }
            (begun, _) => begun,
        };
        let message = begun.unwrap_or(Message { bytes: 0, is_text: header.kind == Kind::Text, utf8: Utf8::Boundary });
        let frame_bytes = u32::try_from(header.payload_bytes).map_err(|_| WebSocketError::TooBig)?;
        let message_bytes = message.bytes.checked_add(frame_bytes).filter(|&bytes| bytes <= message_bytes_max);
        let message_bytes = message_bytes.ok_or(WebSocketError::TooBig)?;
        if frame_bytes > 0 && input.len() == header.bytes {
            // The header says enough to refuse it, not enough to hand anything on.
            return Ok((0, Item::Incomplete));
        }
        self.message = Some(Message { bytes: message_bytes, ..message });
        let rest = PayloadRest { bytes: frame_bytes, is_final: header.is_final, mask: header.mask };
        self.piece(rest, input, header.bytes, begun.is_none())
    }

    /// What the input holds of a data frame's payload, which goes on at `start`.
    fn piece(
        &mut self,
        rest: PayloadRest,
        input: &mut [u8],
        start: usize,
        first: bool,
    ) -> Result<(usize, Item), WebSocketError> {
        let message = self.message.as_mut().expect("a payload belongs to a message");
        let available = u32::try_from(input.len() - start).unwrap_or(u32::MAX);
        let piece_bytes = rest.bytes.min(available);
        let bytes = start..start + piece_bytes as usize;
        let piece = &mut input[bytes.clone()];
        unmask(piece, rest.mask);

        let whole_frame = piece_bytes == rest.bytes;
        let end = whole_frame && rest.is_final;
        let text = message.is_text;
        if text && self.profile == Profile::Strict {
            message.utf8 = message.utf8.push(piece)?;
            if end && message.utf8 != Utf8::Boundary {
                return Err(WebSocketError::InvalidUtf8);
            }
        }

        self.frame = (!whole_frame).then(|| {
            let mut mask = rest.mask;
            mask.rotate_left(piece_bytes as usize % rest.mask.len());
            PayloadRest { bytes: rest.bytes - piece_bytes, is_final: rest.is_final, mask }
        });
        if end {
            self.message = None;
        }
        Ok((bytes.end, Item::Data { bytes, first, end, text }))
    }
}

/// A control frame, taken only when whole.
fn control(header: &Header, input: &mut [u8]) -> Result<(usize, Item), WebSocketError> {
    let payload_bytes = usize::try_from(header.payload_bytes).expect("a control frame is short");
    debug_assert!(payload_bytes <= CONTROL_PAYLOAD_BYTES_MAX);
    let bytes = header.bytes..header.bytes + payload_bytes;
    let Some(payload) = input.get_mut(bytes.clone()) else {
        return Ok((0, Item::Incomplete));
    };
    unmask(payload, header.mask);
    let item = match header.kind {
        Kind::Ping => Item::Ping(bytes.clone()),
        Kind::Close => Item::Close { code: close_code(payload)? },
        _ => Item::Pong,
    };
    Ok((bytes.end, item))
}

/// Status and reason of a close frame (RFC 6455 §5.5.1, §7.4).
fn close_code(payload: &[u8]) -> Result<Option<CloseCode>, WebSocketError> {
    match payload.split_first_chunk() {
        None if payload.is_empty() => Ok(None),
        None => Err(WebSocketError::Protocol("close frame with half a status")),
        Some((&status, reason)) => {
            let code = CloseCode::new(u16::from_be_bytes(status));
            if !code.is_sendable() {
                return Err(WebSocketError::Protocol("close status that nobody may send"));
            }
            std::str::from_utf8(reason).map_err(|_| WebSocketError::InvalidUtf8)?;
            Ok(Some(code))
        }
    }
}

/// Undo (or do) the masking of bytes that begin at the first byte of the key (RFC 6455 §5.3), eight bytes at a time.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    if mask == [0; 4] {
        return;
    }
    let [a, b, c, d] = mask;
    let wide_mask = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide_mask).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoder, unmask};

    /// A million connections carry one each while a message is under way.
    #[test]
    fn decoder_is_small() {
        assert!(size_of::<Decoder>() <= 32, "{} bytes", size_of::<Decoder>());
    }

    /// The wide loop and its tail do what RFC 6455 §5.3 says byte by byte, at every length around the word.
    #[test]
    fn unmask_agrees_with_the_definition() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..40_u8 {
            let plain: Vec<u8> = (0..length).collect();
            let expected: Vec<u8> = plain.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
            let mut actual = plain.clone();
            unmask(&mut actual, mask);
            assert_eq!(actual, expected);
        }
    }
}
