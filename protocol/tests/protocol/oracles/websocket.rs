//! Client frames from any bytes, against a reading of RFC 6455 §5 that holds everything in memory and is never
//! interrupted.

use halley_protocol::websocket::frame::{Decoder, Item, WebSocketError};
use halley_protocol::websocket::{CloseCode, Profile};

use super::Cuts;

/// The promise of [`Item::Incomplete`].
const LEFT_OVER_BYTES_MAX: usize = 131;

/// What a connection is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Message { text: bool, bytes: Vec<u8> },
    Ping(Vec<u8>),
    Pong,
    Close(Option<CloseCode>),
}

/// All of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub events: Vec<Event>,
    /// How it ends.
    pub end: End,
}

/// How a stream ends.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// In the middle of things, or between them: the message under way and the bytes not yet taken.
    Open { partial: Option<(bool, Vec<u8>)>, left_over: usize },
    /// With a close frame.
    Closed,
    /// With the client's fault.
    Failed(CloseCode),
}

/// One byte of cuts, one of limit, then the stream, read in both profiles.
pub fn frames(data: &[u8]) {
    let Some((&[seed, limit], stream)) = data.split_first_chunk() else { return };
    let message_bytes_max = u32::from(limit) * 8;
    for profile in [Profile::Goim, Profile::Strict] {
        let expected = reference(stream, profile, message_bytes_max);
        let whole = read(&[stream], profile, message_bytes_max);
        assert_eq!(whole, expected, "{profile:?}, whole");
        let cut = read(&Cuts::new(seed).pieces(stream), profile, message_bytes_max);
        assert_eq!(cut, expected, "{profile:?}, cut");
    }
}

/// Read as a connection does, checking what the decoder promises on the way.
pub fn read(pieces: &[&[u8]], profile: Profile, message_bytes_max: u32) -> Outcome {
    let idle = Decoder::new(profile);
    let mut decoder = idle;
    let mut buffer = Vec::new();
    let mut events = Vec::new();
    let mut partial: Option<(bool, Vec<u8>)> = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let before = buffer.clone();
            let (consumed, item) = match decoder.next(&mut buffer, message_bytes_max) {
                Ok(next) => next,
                Err(error) => return Outcome { events, end: End::Failed(error.code()) },
            };
            assert_eq!(buffer[consumed..], before[consumed..], "only what was taken may be changed");
            assert!(consumed > 0 || item == Item::Incomplete);
            match item {
                Item::Incomplete => {
                    assert_eq!(consumed, 0);
                    assert!(buffer.len() <= LEFT_OVER_BYTES_MAX);
                    break;
                }
                Item::Data { bytes, first, end, text } => {
                    assert_eq!(first, partial.is_none());
                    assert_eq!(bytes.end, consumed);
                    let (is_text, mut message) = partial.take().unwrap_or((text, Vec::new()));
                    assert_eq!(text, is_text);
                    message.extend_from_slice(&buffer[bytes]);
                    if end {
                        events.push(Event::Message { text, bytes: message });
                    } else {
                        partial = Some((text, message));
                    }
                }
                Item::Ping(bytes) => {
                    assert_eq!(bytes.end, consumed);
                    events.push(Event::Ping(buffer[bytes].to_vec()));
                }
                Item::Pong => events.push(Event::Pong),
                Item::Close { code } => {
                    events.push(Event::Close(code));
                    return Outcome { events, end: End::Closed };
                }
            }
            assert_eq!(decoder.is_idle(), partial.is_none());
            assert_eq!(decoder == idle, partial.is_none(), "an idle decoder need not be stored");
            buffer.drain(..consumed);
        }
    }
    Outcome { events, end: End::Open { partial, left_over: buffer.len() } }
}

/// The same by the letter of the RFC, with everything at hand.
pub fn reference(stream: &[u8], profile: Profile, message_bytes_max: u32) -> Outcome {
    let mut events = Vec::new();
    let end = Reference { profile, message_bytes_max, rest: stream, partial: None }.run(&mut events);
    Outcome { events, end: end.unwrap_or_else(|error| End::Failed(error.code())) }
}

struct Reference<'a> {
    profile: Profile,
    message_bytes_max: u32,
    rest: &'a [u8],
    partial: Option<(bool, Vec<u8>)>,
}

const FAULT: WebSocketError = WebSocketError::Protocol("");

impl Reference<'_> {
    fn run(mut self, events: &mut Vec<Event>) -> Result<End, WebSocketError> {
        let strict = self.profile == Profile::Strict;
        let mut announced = 0;
        loop {
            let left_over = self.rest.len();
            let Some((header_bytes, length, key)) = self.header()? else {
                return Ok(End::Open { partial: self.partial, left_over });
            };
            let (is_final, opcode) = (self.rest[0] & 0x80 != 0, self.rest[0] & 0x0f);
            let behind = &self.rest[header_bytes..];
            let present = behind.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            let is_whole = present as u64 == length;
            let payload: Vec<u8> = behind[..present].iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b).collect();

            if opcode >= 8 {
                if !is_whole {
                    return Ok(End::Open { partial: self.partial, left_over });
                }
                match opcode {
                    8 => {
                        events.push(Event::Close(close_code(&payload)?));
                        return Ok(End::Closed);
                    }
                    9 => events.push(Event::Ping(payload)),
                    _ => events.push(Event::Pong),
                }
            } else {
                if (opcode == 0) != self.partial.is_some() {
                    return Err(FAULT);
                }
                announced = if opcode == 0 { length.saturating_add(announced) } else { length };
                if announced > u64::from(self.message_bytes_max) {
                    return Err(WebSocketError::TooBig);
                }
                if present == 0 && !is_whole {
                    return Ok(End::Open { partial: self.partial, left_over });
                }
                let (text, mut message) = self.partial.take().unwrap_or((opcode == 1, Vec::new()));
                message.extend_from_slice(&payload);
                let is_end = is_final && is_whole;
                if strict
                    && text
                    && std::str::from_utf8(&message).is_err_and(|error| is_end || error.error_len().is_some())
                {
                    return Err(WebSocketError::InvalidUtf8);
                }
                if is_end {
                    events.push(Event::Message { text, bytes: message });
                } else {
                    self.partial = Some((text, message));
                }
            }
            self.rest = &behind[present..];
            if !is_whole {
                return Ok(End::Open { partial: self.partial, left_over: 0 });
            }
        }
    }

    /// Bytes of the header, payload length and key; `None` if it is not whole.
    fn header(&self) -> Result<Option<(usize, u64, [u8; 4])>, WebSocketError> {
        let strict = self.profile == Profile::Strict;
        let [first, second, ..] = self.rest else { return Ok(None) };
        let is_masked = second & 0x80 != 0;
        let is_known = matches!(first & 0x7f, 0..=2 | 8..=10);
        let is_bad_control = first & 0x08 != 0 && (first & 0x80 == 0 || second & 0x7f > 125);
        if !is_known || is_bad_control || (strict && !is_masked) {
            return Err(FAULT);
        }
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(digits) = self.rest.get(2..2 + length_bytes) else { return Ok(None) };
        let long = digits.iter().fold(0, |length, &digit| length << 8 | u64::from(digit));
        let length = if length_bytes == 0 { u64::from(second & 0x7f) } else { long };
        let shortest_bytes = if length > 0xffff { 8 } else { 2 * usize::from(length > 125) };
        if length > i64::MAX as u64 || (strict && shortest_bytes != length_bytes) {
            return Err(FAULT);
        }
        let header_bytes = 2 + length_bytes + 4 * usize::from(is_masked);
        let Some(header) = self.rest.get(..header_bytes) else { return Ok(None) };
        let key = if is_masked { header[header_bytes - 4..].try_into().expect("four bytes") } else { [0; 4] };
        Ok(Some((header_bytes, length, key)))
    }
}

fn close_code(payload: &[u8]) -> Result<Option<CloseCode>, WebSocketError> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() { Ok(None) } else { Err(FAULT) };
    };
    let status = u16::from_be_bytes([*high, *low]);
    let is_forbidden =
        !(1000..5000).contains(&status) || (1015..3000).contains(&status) || [1004, 1005, 1006].contains(&status);
    if is_forbidden {
        return Err(FAULT);
    }
    std::str::from_utf8(reason).map_err(|_| WebSocketError::InvalidUtf8)?;
    Ok(Some(CloseCode::new(status)))
}
