//! Client frames in, server frames out.

use std::ops::Range;

use super::{CloseCode, Profile};

/// Reads client frames incrementally. Small and `Copy`; equal to its initial state between messages, so an idle
/// connection need not store it. Holds no bytes: header and control-frame bytes that are not whole yet stay with the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoder {
    _profile: Profile,
}

/// What a decoder found at the start of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A piece of a data message, unmasked in place. Pieces come as they arrive; the message is whole with the one that has
    /// `end`. A message whose single piece has `first && end` can be handled where it lies.
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
    /// Reserved bits or opcodes, unmasked frame (strict), fragmented or long control frame, wrong continuation, bad close
    /// payload, non-minimal length... : 1002.
    Protocol(&'static str),
    /// Text or close reason that is not UTF-8: 1007.
    InvalidUtf8,
    /// Message over the limit: 1009.
    TooBig,
}

impl Decoder {
    /// Between messages.
    pub const fn new(_profile: Profile) -> Decoder {
        unimplemented!()
    }
    /// Whether nothing of a message or frame is under way.
    pub fn is_idle(&self) -> bool {
        unimplemented!()
    }
    /// Take the next step: bytes consumed and what they were. `message_bytes_max` bounds the sum of a message's pieces
    /// and is checked on the frame header, before its bytes come.
    pub fn next(&mut self, _input: &mut [u8], _message_bytes_max: u32) -> Result<(usize, Item), WebSocketError> {
        unimplemented!()
    }
}

/// Longest header of a server frame.
pub const SERVER_HEADER_BYTES_MAX: usize = 10;

/// Opcodes of server frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// 1.
    Text = 1,
    /// 2.
    Binary = 2,
    /// 8.
    Close = 8,
    /// 9.
    Ping = 9,
    /// 10.
    Pong = 10,
}

/// Write the header of an unfragmented, unmasked server frame in its shortest form; returns its bytes.
pub fn write_header(_opcode: Opcode, _payload_bytes: usize, _out: &mut [u8; SERVER_HEADER_BYTES_MAX]) -> usize {
    unimplemented!()
}

/// A whole close frame: header, status, reason text (cut at a character border to fit 125 bytes).
pub fn close_frame(_code: CloseCode, _reason: &str, _out: &mut Vec<u8>) {
    unimplemented!()
}
