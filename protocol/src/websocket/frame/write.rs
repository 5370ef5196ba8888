//! Server frames (RFC 6455 §5): final, unmasked, in their shortest form. Owns no buffer: writes where the caller says.

use super::header::CONTROL_PAYLOAD_BYTES_MAX;
use crate::websocket::CloseCode;

/// Longest header of a server frame.
pub const SERVER_HEADER_BYTES_MAX: usize = 10;

/// Opcodes of server frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A message that is UTF-8.
    Text = 1,
    /// A message of any bytes.
    Binary = 2,
    /// The last frame: a close code and a reason, or nothing.
    Close = 8,
    /// Asks for a pong of the same payload, of at most 125 bytes.
    Ping = 9,
    /// Answers a ping with its payload.
    Pong = 10,
}

/// Write the header of an unfragmented, unmasked server frame in its shortest form; returns its bytes. The payload of
/// close, ping and pong is at most 125 bytes; what a client's decoder gave for a ping always is.
pub fn write_header(opcode: Opcode, payload_bytes: usize, out: &mut [u8; SERVER_HEADER_BYTES_MAX]) -> usize {
    debug_assert!(
        matches!(opcode, Opcode::Text | Opcode::Binary) || payload_bytes <= CONTROL_PAYLOAD_BYTES_MAX,
        "{opcode:?} of {payload_bytes} bytes"
    );
    out[0] = 0x80 | opcode as u8;
    if let Some(short) = u8::try_from(payload_bytes).ok().filter(|&short| short < 126) {
        out[1] = short;
        2
    } else if let Ok(long) = u16::try_from(payload_bytes) {
        out[1] = 126;
        out[2..4].copy_from_slice(&long.to_be_bytes());
        4
    } else {
        out[1] = 127;
        out[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
        10
    }
}

/// Append a whole close frame: header, status, reason text (cut at a character border to fit 125 bytes).
pub fn close_frame(code: CloseCode, reason: &str, out: &mut Vec<u8>) {
    debug_assert!(code.is_sendable(), "{code:?}");
    let status = code.0.to_be_bytes();
    let mut reason_bytes = reason.len().min(CONTROL_PAYLOAD_BYTES_MAX - status.len());
    while !reason.is_char_boundary(reason_bytes) {
        reason_bytes -= 1;
    }
    let mut header = [0; SERVER_HEADER_BYTES_MAX];
    let header_bytes = write_header(Opcode::Close, status.len() + reason_bytes, &mut header);
    out.extend_from_slice(&header[..header_bytes]);
    out.extend_from_slice(&status);
    out.extend_from_slice(&reason.as_bytes()[..reason_bytes]);
}
