//! goim's frame (goim §1.1): what it is and how it is written. Owns the header layout and the numbers of the
//! operations. Knows no rule about who may send which. `decode` reads frames; `payload` wraps them for pushes.

mod decode;

pub use decode::{
    BatchFrames, Decoded, FrameError, MessageFrames, check_batch, decode_batch, decode_message, decode_stream,
};

/// Bytes of a frame header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of the longest upstream body.
pub const BODY_BYTES_MAX: usize = 4096;
/// Bytes of the longest upstream frame.
pub const FRAME_BYTES_MAX: usize = HEADER_BYTES + BODY_BYTES_MAX;

/// The only headerLen there is.
const HEADER_LENGTH: i16 = 16;

/// Operations (goim §1.2). Every other number is a business op.
pub mod op {
    /// A heartbeat of the client.
    pub const HEARTBEAT: i32 = 2;
    /// Answers [`HEARTBEAT`]; the body is an int32, how many are online in the room.
    pub const HEARTBEAT_REPLY: i32 = 3;
    /// A message of the client.
    pub const SEND_MESSAGE: i32 = 4;
    /// Login: the body is the token.
    pub const AUTH: i32 = 7;
    /// Answers [`AUTH`], without a body; a refused login has no answer.
    pub const AUTH_REPLY: i32 = 8;
    /// Pushes: the body is one frame behind another.
    pub const RAW: i32 = 9;
    /// Change the room: the body is its key, empty to leave.
    pub const CHANGE_ROOM: i32 = 12;
    /// Answers [`CHANGE_ROOM`]; the body is the key of the room that holds now.
    pub const CHANGE_ROOM_REPLY: i32 = 13;
    /// Accept further ops: the body lists them.
    pub const SUBSCRIBE: i32 = 14;
    /// Answers [`SUBSCRIBE`]; the body lists the ops that were granted.
    pub const SUBSCRIBE_REPLY: i32 = 15;
    /// Accept ops no longer: the body lists them.
    pub const UNSUBSCRIBE: i32 = 16;
    /// Answers [`UNSUBSCRIBE`].
    pub const UNSUBSCRIBE_REPLY: i32 = 17;
}

/// One frame, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Opaque, echoed in replies.
    pub version: i16,
    /// What the frame is for: one of [`op`], or a business op.
    pub op: i32,
    /// Chosen by the client, echoed in its reply; 0 in pushes.
    pub seq: i32,
    /// Body. At most [`BODY_BYTES_MAX`] upstream; downstream only `i32::MAX` bounds the whole frame.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Bytes on the wire.
    pub fn encoded_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// The header of this frame.
    ///
    /// # Panics
    /// If the frame is longer than packLen can say (2 GiB): callers bound bodies far below.
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        header(self.version, self.op, self.seq, self.body.len())
    }

    /// Append header and body.
    ///
    /// # Panics
    /// As [`Frame::header`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_bytes());
        out.extend_from_slice(&self.header());
        out.extend_from_slice(self.body);
    }
}

/// The header of a frame whose body lies elsewhere. Panics as [`Frame::header`].
pub(crate) fn header(version: i16, op: i32, seq: i32, body_bytes: usize) -> [u8; HEADER_BYTES] {
    let length = i32::try_from(HEADER_BYTES + body_bytes).expect("a frame is shorter than 2 GiB");
    let mut header = [0; HEADER_BYTES];
    header[0..4].copy_from_slice(&length.to_be_bytes());
    header[4..6].copy_from_slice(&HEADER_LENGTH.to_be_bytes());
    header[6..8].copy_from_slice(&version.to_be_bytes());
    header[8..12].copy_from_slice(&op.to_be_bytes());
    header[12..16].copy_from_slice(&seq.to_be_bytes());
    header
}
