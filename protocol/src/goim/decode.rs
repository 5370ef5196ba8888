//! Reads goim frames out of the caller's bytes. Owns the rules of goim §1.4, §1.5 and §1.11 and who is bound by which:
//! a TCP stream, a WebSocket message, or a batch of pushes. Copies nothing, keeps nothing, and never looks past the
//! slice it was given (goim's defects C1 and C2 did). Frames of clients go on to the connection that reads; a batch is
//! only checked, by whoever admits a push.

use std::fmt;
use std::iter::FusedIterator;

use super::{FRAME_BYTES_MAX, Frame, HEADER_BYTES, HEADER_LENGTH};

/// A frame that cannot be (goim §1.4, §1.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// packLen above [`FRAME_BYTES_MAX`], below zero in a WebSocket message, so far below zero on TCP that goim's
    /// arithmetic wraps, or below 16 in a batch.
    Length(i32),
    /// headerLen is not 16.
    HeaderLength(i16),
    /// A WebSocket message or a batch that ends within a frame.
    Truncated,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Length(length) => write!(f, "a frame says packLen {length}, which cannot be"),
            FrameError::HeaderLength(length) => write!(f, "a frame says headerLen {length}, which must be 16"),
            FrameError::Truncated => f.write_str("the last frame is cut off"),
        }
    }
}

impl std::error::Error for FrameError {}

/// What a byte stream holds at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole frame and the bytes it took from the input.
    Frame {
        /// The frame.
        frame: Frame<'a>,
        /// Bytes taken, [`HEADER_BYTES`]`..=`[`FRAME_BYTES_MAX`].
        consumed: usize,
    },
    /// Not enough bytes yet; the frame (or its header) will be whole at `needed` bytes in all.
    Incomplete {
        /// Bytes from the start of the input, more than it has and at most [`FRAME_BYTES_MAX`].
        needed: usize,
    },
}

/// The first frame of a TCP stream (goim §1.4). A packLen of 0 to 15, or slightly below zero, is a frame without body.
///
/// # Errors
/// [`FrameError::Length`] or [`FrameError::HeaderLength`]; the stream cannot be read on.
pub fn decode_stream(input: &[u8]) -> Result<Decoded<'_>, FrameError> {
    let Some((header, rest)) = Header::split(input) else {
        return Ok(Decoded::Incomplete { needed: HEADER_BYTES });
    };
    let body_bytes = header.upstream_body_bytes(Source::Stream)?;
    let consumed = HEADER_BYTES + body_bytes;
    Ok(match rest.get(..body_bytes) {
        Some(body) => Decoded::Frame { frame: header.frame(body), consumed },
        None => Decoded::Incomplete { needed: consumed },
    })
}

/// The frames of one WebSocket message (goim §1.5): the first must be whole, further ones are taken while they are
/// whole, trailing bytes that form no frame are ignored. A packLen of 0 to 15 is a frame without body, 16 bytes long.
///
/// # Errors
/// What is wrong with the first frame; [`FrameError::Truncated`] if the message ends before it does.
pub fn decode_message(message: &[u8]) -> Result<MessageFrames<'_>, FrameError> {
    let (first, rest) = message_frame(message)?;
    Ok(MessageFrames { next: Some(first), rest })
}

/// See [`decode_message`]. Gives at least one frame.
#[derive(Clone, Debug)]
pub struct MessageFrames<'a> {
    next: Option<Frame<'a>>,
    rest: &'a [u8],
}

impl<'a> Iterator for MessageFrames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let frame = self.next.take()?;
        if let Ok((following, rest)) = message_frame(self.rest) {
            self.next = Some(following);
            self.rest = rest;
        }
        Some(frame)
    }
}

impl FusedIterator for MessageFrames<'_> {}

/// The frames of a batch: the body of an op 9 frame, or what a TCP client reads for one (goim §1.9). Clients trust the
/// inner lengths of a batch, so nothing is forgiven: every packLen is 16 or more and the last frame ends the batch. An
/// empty batch has no frames. Bodies have no bound of their own.
pub fn decode_batch(batch: &[u8]) -> BatchFrames<'_> {
    BatchFrames { rest: batch }
}

/// Whether `batch` may be the body of a raw push (op 9): one frame or more, each whole. Clients trust the inner
/// lengths.
pub fn check_batch(batch: &[u8]) -> Result<(), FrameError> {
    if batch.is_empty() {
        return Err(FrameError::Truncated);
    }
    decode_batch(batch).try_for_each(|frame| frame.map(drop))
}

/// See [`decode_batch`]. The first error is the last item.
#[derive(Clone, Debug)]
pub struct BatchFrames<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for BatchFrames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = batch_frame(self.rest);
        self.rest = frame.as_ref().map_or(&[], |(_, rest)| rest);
        Some(frame.map(|(frame, _)| frame))
    }
}

impl FusedIterator for BatchFrames<'_> {}

/// The first frame of a WebSocket message and what follows it.
fn message_frame(message: &[u8]) -> Result<(Frame<'_>, &[u8]), FrameError> {
    let (header, rest) = Header::split(message).ok_or(FrameError::Truncated)?;
    let body_bytes = header.upstream_body_bytes(Source::Message)?;
    let (body, rest) = rest.split_at_checked(body_bytes).ok_or(FrameError::Truncated)?;
    Ok((header.frame(body), rest))
}

/// The first frame of a batch and what follows it.
fn batch_frame(batch: &[u8]) -> Result<(Frame<'_>, &[u8]), FrameError> {
    let (header, rest) = Header::split(batch).ok_or(FrameError::Truncated)?;
    header.check_header_length()?;
    let length = usize::try_from(header.length).ok().and_then(|length| length.checked_sub(HEADER_BYTES));
    let body_bytes = length.ok_or(FrameError::Length(header.length))?;
    let (body, rest) = rest.split_at_checked(body_bytes).ok_or(FrameError::Truncated)?;
    Ok((header.frame(body), rest))
}

/// Where an upstream frame comes from: the two differ in what they make of a negative packLen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Stream,
    Message,
}

/// The five fields of a header, unchecked.
struct Header {
    length: i32,
    header_length: i16,
    version: i16,
    op: i32,
    seq: i32,
}

impl Header {
    /// The header at the start of `input` and what follows it; `None` if it is not whole.
    fn split(input: &[u8]) -> Option<(Header, &[u8])> {
        let (&[l0, l1, l2, l3, h0, h1, v0, v1, o0, o1, o2, o3, s0, s1, s2, s3], rest) = input.split_first_chunk()?;
        let header = Header {
            length: i32::from_be_bytes([l0, l1, l2, l3]),
            header_length: i16::from_be_bytes([h0, h1]),
            version: i16::from_be_bytes([v0, v1]),
            op: i32::from_be_bytes([o0, o1, o2, o3]),
            seq: i32::from_be_bytes([s0, s1, s2, s3]),
        };
        Some((header, rest))
    }

    fn check_header_length(&self) -> Result<(), FrameError> {
        if self.header_length == HEADER_LENGTH { Ok(()) } else { Err(FrameError::HeaderLength(self.header_length)) }
    }

    /// Bytes of body that a client's header announces, with goim's checks in goim's order.
    fn upstream_body_bytes(&self, source: Source) -> Result<usize, FrameError> {
        let wrong_length = Err(FrameError::Length(self.length));
        match usize::try_from(self.length) {
            Ok(length) if length > FRAME_BYTES_MAX => wrong_length,
            Err(_) if source == Source::Message => wrong_length,
            Ok(length) => self.check_header_length().map(|()| length.saturating_sub(HEADER_BYTES)),
            // goim subtracts in 32 bits: within 16 of the smallest packLen the body becomes 2 GiB long and it closes.
            Err(_) if self.length.checked_sub(i32::from(HEADER_LENGTH)).is_none() => wrong_length,
            Err(_) => self.check_header_length().map(|()| 0),
        }
    }

    fn frame<'a>(&self, body: &'a [u8]) -> Frame<'a> {
        Frame { version: self.version, op: self.op, seq: self.seq, body }
    }
}
