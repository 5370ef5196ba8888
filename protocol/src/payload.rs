//! One push, framed once: `[ws header][outer op-9 header][inner frames]`. TCP sends from the inner offset, WebSocket
//! sends all of it (goim §1.9). Owns the layout; bounds no body and checks no batch, which is the work of whoever
//! admits the push. Made when a push is routed to the shards, which share it.

use crate::goim::{header, op};
use crate::websocket::frame::{Opcode, SERVER_HEADER_BYTES_MAX, write_header};

/// Version of every frame that goim's own components push.
const PUSH_VERSION: i16 = 1;

/// An outgoing push in both its forms, in one buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Payload {
    bytes: Box<[u8]>,
    /// Where the bytes for TCP begin: at most 10 + 16.
    inner_offset: u8,
}

impl Payload {
    /// One message as frame{ver 1, op, seq 0, body}, wrapped for WebSocket in an op-9 frame.
    ///
    /// # Panics
    /// If `body` comes near 2 GiB (see [`Frame::header`](crate::goim::Frame::header)).
    pub fn message(op: i32, body: &[u8]) -> Payload {
        Payload::wrapped(&[&header(PUSH_VERSION, op, 0, body.len()), body])
    }

    /// Complete inner frames as stock jobs send them (the body of a `Proto` with op 9). What was not checked with
    /// [`check_batch`](crate::goim::check_batch) must not come here: clients trust the inner lengths.
    ///
    /// # Panics
    /// As [`Payload::message`].
    pub fn raw(frames: &[u8]) -> Payload {
        Payload::wrapped(&[frames])
    }

    /// One frame sent plainly on both transports. The wire keeps the low 16 bits of `version` (goim §1.1).
    ///
    /// # Panics
    /// As [`Payload::message`].
    pub fn plain(version: i32, op: i32, seq: i32, body: &[u8]) -> Payload {
        #[expect(clippy::cast_possible_truncation, reason = "the wire keeps the low 16 bits")]
        let version = version as i16;
        Payload::assemble(&[], &[&header(version, op, seq, body.len()), body])
    }

    /// The bytes for one transport.
    pub fn bytes(&self, websocket: bool) -> &[u8] {
        if websocket { &self.bytes } else { &self.bytes[usize::from(self.inner_offset)..] }
    }

    /// The inner frames, given in pieces, behind an op-9 header that only WebSocket clients see.
    fn wrapped(inner: &[&[u8]]) -> Payload {
        let outer = header(PUSH_VERSION, op::RAW, 0, total_bytes(inner));
        Payload::assemble(&outer, inner)
    }

    fn assemble(outer: &[u8], inner: &[&[u8]]) -> Payload {
        let mut websocket_header = [0; SERVER_HEADER_BYTES_MAX];
        let message_bytes = outer.len() + total_bytes(inner);
        let header_bytes = write_header(Opcode::Binary, message_bytes, &mut websocket_header);
        let inner_offset = u8::try_from(header_bytes + outer.len()).expect("two headers are at most 26 bytes");

        let mut bytes = Vec::with_capacity(header_bytes + message_bytes);
        bytes.extend_from_slice(&websocket_header[..header_bytes]);
        bytes.extend_from_slice(outer);
        for piece in inner {
            bytes.extend_from_slice(piece);
        }
        Payload { bytes: bytes.into_boxed_slice(), inner_offset }
    }
}

fn total_bytes(pieces: &[&[u8]]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}
