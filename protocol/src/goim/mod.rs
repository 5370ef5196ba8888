//! goim's frame (goim §1.1).

/// Bytes of a frame header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of the longest upstream body.
pub const BODY_BYTES_MAX: usize = 4096;
/// Bytes of the longest upstream frame.
pub const FRAME_BYTES_MAX: usize = HEADER_BYTES + BODY_BYTES_MAX;

/// Operations (goim §1.2).
pub mod op {
    /// Client heartbeat.
    pub const HEARTBEAT: i32 = 2;
    /// Its reply; body = int32 online of the room.
    pub const HEARTBEAT_REPLY: i32 = 3;
    /// Upstream message.
    pub const SEND_MESSAGE: i32 = 4;
    /// Login.
    pub const AUTH: i32 = 7;
    /// Its reply.
    pub const AUTH_REPLY: i32 = 8;
    /// Concatenated frames.
    pub const RAW: i32 = 9;
    /// Change room.
    pub const CHANGE_ROOM: i32 = 12;
    /// Its reply.
    pub const CHANGE_ROOM_REPLY: i32 = 13;
    /// Add accepted ops.
    pub const SUBSCRIBE: i32 = 14;
    /// Its reply.
    pub const SUBSCRIBE_REPLY: i32 = 15;
    /// Remove accepted ops.
    pub const UNSUBSCRIBE: i32 = 16;
    /// Its reply.
    pub const UNSUBSCRIBE_REPLY: i32 = 17;
}

/// One frame, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Opaque, echoed in replies.
    pub version: i16,
    /// Operation.
    pub op: i32,
    /// Chosen by the client, echoed in its reply; 0 in pushes.
    pub seq: i32,
    /// Body.
    pub body: &'a [u8],
}

/// A frame that cannot be (goim §1.4, §1.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// packLen above [`FRAME_BYTES_MAX`], or wrapping below zero.
    Length(i32),
    /// headerLen is not 16.
    HeaderLength(i16),
    /// A WebSocket message shorter than its frame, or than a header.
    Truncated,
}

/// What a byte stream holds at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole frame and the bytes it took from the input.
    Frame {
        /// The frame.
        frame: Frame<'a>,
        /// Bytes taken.
        consumed: usize,
    },
    /// Not enough bytes yet; the frame (or its header) will be whole at `needed` bytes in all.
    Incomplete {
        /// Bytes from the start of the input.
        needed: usize,
    },
}

/// The first frame of a TCP stream (goim §1.4).
pub fn decode_stream(_input: &[u8]) -> Result<Decoded<'_>, FrameError> {
    unimplemented!()
}

/// The frames of one WebSocket message (goim §1.5): the first must be whole, further ones are taken while they are
/// whole, trailing bytes that form no frame are ignored.
pub fn decode_message(_message: &[u8]) -> Result<MessageFrames<'_>, FrameError> {
    unimplemented!()
}

/// See [`decode_message`].
pub struct MessageFrames<'a> {
    _rest: &'a [u8],
}
impl<'a> Iterator for MessageFrames<'a> {
    type Item = Frame<'a>;
    fn next(&mut self) -> Option<Frame<'a>> {
        unimplemented!()
    }
}

impl Frame<'_> {
    /// Bytes on the wire.
    pub fn encoded_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }
    /// The header of this frame.
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        unimplemented!()
    }
    /// Append header and body.
    pub fn encode(&self, _out: &mut Vec<u8>) {
        unimplemented!()
    }
}
