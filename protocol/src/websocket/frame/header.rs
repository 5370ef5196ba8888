//! The header of one client frame (RFC 6455 §5.2). Owns the checks that need no knowledge of other frames; which frame
//! may follow which is the decoder's to say.

use super::WebSocketError;
use crate::websocket::Profile;

/// Longest payload of a control frame (RFC 6455 §5.5).
pub(super) const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// A header that breaks no rule of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// FIN: the frame ends its message.
    pub(super) is_final: bool,
    pub(super) kind: Kind,
    /// At most [`CONTROL_PAYLOAD_BYTES_MAX`] in a control frame.
    pub(super) payload_bytes: u64,
    /// Masking key, zero if the frame is not masked.
    pub(super) mask: [u8; 4],
    /// Bytes of the header itself, 2..=14.
    pub(super) bytes: usize,
}

impl Header {
    /// The header at the start of the input; `None` if it is not whole.
    pub(super) fn parse(input: &[u8], profile: Profile) -> Result<Option<Header>, WebSocketError> {
        let Some((&[flags, length], rest)) = input.split_first_chunk() else {
            return Ok(None);
        };
        let is_final = flags & 0x80 != 0;
        if flags & 0x70 != 0 {
            return Err(WebSocketError::Protocol("reserved bit set"));
        }
        let kind = match flags & 0x0f {
            0 => Kind::Continuation,
            1 => Kind::Text,
            2 => Kind::Binary,
            8 => Kind::Close,
            9 => Kind::Ping,
            10 => Kind::Pong,
            _ => return Err(WebSocketError::Protocol("reserved opcode")),
        };
        let is_masked = length & 0x80 != 0;
        if !is_masked && profile == Profile::Strict {
            return Err(WebSocketError::Protocol("client frame without mask"));
        }
        let short_length = length & 0x7f;
        if matches!(kind, Kind::Close | Kind::Ping | Kind::Pong) {
            if !is_final {
                return Err(WebSocketError::Protocol("fragmented control frame"));
            }
            if usize::from(short_length) > CONTROL_PAYLOAD_BYTES_MAX {
                return Err(WebSocketError::Protocol("control frame of more than 125 bytes"));
            }
        }

        let (payload_bytes, shortest, rest) = match short_length {
            126 => {
                let Some((&long, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(long)), 126, rest)
            }
            127 => {
                let Some((&long, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(long), 1 << 16, rest)
            }
            short => (u64::from(short), 0, rest),
        };
        if payload_bytes >> 63 != 0 {
            return Err(WebSocketError::Protocol("length of more than 63 bits"));
        }
        if payload_bytes < shortest && profile == Profile::Strict {
            return Err(WebSocketError::Protocol("length not in its shortest form"));
        }

        let (mask, rest) = if is_masked {
            let Some((&mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (mask, rest)
        } else {
            ([0; 4], rest)
        };
        Ok(Some(Header { is_final, kind, payload_bytes, mask, bytes: input.len() - rest.len() }))
    }
}
