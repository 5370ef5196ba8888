//! Step 5 of a frame on its way in: upgrade request, WebSocket messages, goim frames. Owns what is decoded at once and
//! what is kept until it is whole, or until `receive` lets it go on; whole frames go to `inbound`. Copies nothing but
//! what must wait.

use halley_protocol::goim::{self, Decoded, Frame, FrameError};
use halley_protocol::websocket::CloseCode;
use halley_protocol::websocket::frame::{Decoder, Item, Opcode, SERVER_HEADER_BYTES_MAX, WebSocketError, write_header};
use halley_protocol::websocket::handshake::{self, Rules, Upgrade};
use halley_service::panics::contain;

use crate::close::CloseReason;
use crate::conn::partial::{Partial, append_exact};
use crate::conn::{ConnState, Flags};
use crate::limits::WebSocketProfile;

use super::Core;
use super::application::{Application, Message};
use super::timers::NEVER;

/// The path clients connect to (goim §1.5).
const WEBSOCKET_PATH: &str = "/sub";

impl<A: Application> Core<A> {
    /// Decode the next bytes of a connection, behind those that wait.
    pub(super) fn take(&mut self, slot: u32, bytes: &mut [u8]) {
        let conn = self.conns.peek(slot);
        if !conn.state.is_open() {
            return;
        }
        if conn.partial.is_none() && !conn.flags.has(Flags::PAUSED) {
            let taken = self.decode(slot, bytes, Decoder::new(self.settings.websocket_profile));
            self.keep(slot, &bytes[taken..]);
            self.count_partial(slot);
        } else {
            self.keep(slot, bytes);
            self.decode_kept(slot);
        }
    }

    /// What waits on a connection, made if need be.
    fn partial(&mut self, slot: u32) -> &mut Partial {
        let profile = self.settings.websocket_profile;
        self.conns.at(slot).partial.get_or_insert_with(|| Box::new(Partial::new(profile)))
    }

    /// Bring the gauge in line, and give the memory back when nothing waits.
    fn count_partial(&mut self, slot: u32) {
        let conn = self.conns.at(slot);
        let Some(partial) = conn.partial.as_mut() else { return };
        partial.count(&mut self.counts.partial_bytes);
        if partial.is_empty() {
            self.drop_partial(slot);
        }
    }

    /// Forget what waits.
    pub(super) fn drop_partial(&mut self, slot: u32) {
        if let Some(partial) = self.conns.at(slot).partial.take() {
            partial.uncount(&mut self.counts.partial_bytes);
        }
    }

    /// Keep bytes that are no whole frame yet, or that must wait.
    fn keep(&mut self, slot: u32, bytes: &[u8]) {
        let conn = self.conns.at(slot);
        if bytes.is_empty() || !conn.state.is_open() {
            return;
        }
        let websocket = conn.is_websocket();
        let partial = self.partial(slot);
        let start = if partial.bytes.is_empty() { bytes } else { &partial.bytes };
        let expected = match goim::decode_stream(start) {
            Ok(Decoded::Incomplete { needed }) if !websocket => needed,
            _ => 0,
        };
        append_exact(&mut partial.bytes, bytes, expected);
        self.count_partial(slot);
    }

    /// Decode what was kept, as far as it goes.
    pub(super) fn decode_kept(&mut self, slot: u32) {
        let Some(partial) = self.conns.at(slot).partial.as_mut() else { return };
        let mut frames = std::mem::take(&mut partial.frames);
        let taken = self.message_frames(slot, &frames);
        frames.drain(..taken);
        if !self.conns.at(slot).state.is_open() {
            return;
        }
        if !frames.is_empty() {
            let partial = self.partial(slot);
            debug_assert!(partial.frames.is_empty(), "decoding was begun again before it was over");
            partial.frames = frames;
            return self.count_partial(slot);
        }
        let partial = self.partial(slot);
        let (mut bytes, decoder) = (std::mem::take(&mut partial.bytes), partial.decoder);
        let taken = self.decode(slot, &mut bytes, decoder);
        if !self.conns.at(slot).state.is_open() {
            return;
        }
        bytes.drain(..taken);
        if bytes.is_empty() {
            bytes = Vec::new();
        }
        self.partial(slot).bytes = bytes;
        self.count_partial(slot);
    }

    /// Decode from the start of `input` as far as it goes and nothing must wait; returns the bytes taken.
    fn decode(&mut self, slot: u32, input: &mut [u8], mut decoder: Decoder) -> usize {
        let mut taken = 0;
        loop {
            let conn = self.conns.at(slot);
            if !conn.state.is_open() {
                return input.len();
            }
            if self.pause_if_needed(slot) {
                break;
            }
            let conn = self.conns.at(slot);
            if conn.state == ConnState::Upgrade {
                match self.upgrade(slot, &input[taken..], handshake::upgrade) {
                    Some(consumed) => taken += consumed,
                    None => return taken,
                }
            } else if conn.is_websocket() {
                match decoder.next(&mut input[taken..], self.settings.message_bytes_max) {
                    Ok((_, Item::Incomplete)) => break,
                    Ok((consumed, item)) => {
                        let frames = match item {
                            // The goim frames in a whole message are counted one by one, whatever it was cut into on
                            // its way.
                            Item::Data { end: true, .. } => 0,
                            // A fragment counts, empty or not, when it is whole; a piece of one does not.
                            Item::Data { .. } => u32::from(!decoder.is_inside_frame()),
                            _ => 1,
                        };
                        if !self.within_rate(slot, frames, consumed) {
                            continue;
                        }
                        self.item(slot, &input[taken..], item);
                        taken += consumed;
                    }
                    Err(error) => self.end(slot, websocket_reason(error)),
                }
            } else {
                match goim::decode_stream(&input[taken..]) {
                    Ok(Decoded::Frame { frame, consumed }) => {
                        self.frame(slot, frame);
                        taken += consumed;
                    }
                    Ok(Decoded::Incomplete { .. }) => break,
                    Err(_) => self.end(slot, CloseReason::BadFrame),
                }
            }
        }
        if !decoder.is_idle() {
            self.partial(slot).decoder = decoder;
        } else if let Some(partial) = self.conns.at(slot).partial.as_mut() {
            partial.decoder = decoder;
        }
        taken
    }

    /// The upgrade request, as `read` reads it: bytes taken once it is whole, `None` while it is not or when it was
    /// refused.
    fn upgrade(&mut self, slot: u32, input: &[u8], read: impl FnOnce(&[u8], &Rules<'_>) -> Upgrade) -> Option<usize> {
        let settings = self.settings.clone();
        let rules = Rules {
            path: WEBSOCKET_PATH,
            origins: &settings.origins,
            request_bytes_max: settings.upgrade_bytes_max,
            strict: settings.websocket_profile == WebSocketProfile::Strict,
        };
        // A library works on it that indexes by what a stranger wrote.
        let Ok(upgrade) = contain("httparse", || read(input, &rules)) else {
            self.end(slot, CloseReason::InternalError);
            return None;
        };
        match upgrade {
            Upgrade::Incomplete => None,
            Upgrade::Accepted { consumed, response, .. } => {
                self.reply_raw(slot, &response, &[]);
                self.upgraded(slot);
                Some(consumed)
            }
            Upgrade::Refused(refusal) => {
                self.reply_raw(slot, refusal.response(), &[]);
                self.end(slot, CloseReason::UpgradeRefused);
                None
            }
        }
    }

    /// A client that need not log in has nothing to be late for.
    fn upgraded(&mut self, slot: u32) {
        let conn = self.conns.at(slot);
        if A::LOGIN {
            conn.state = ConnState::WaitAuth;
            return;
        }
        conn.state = ConnState::Online;
        self.counts.pending_handshakes -= 1;
        self.counts.authenticated += 1;
        self.deadlines.set(slot, NEVER);
    }

    /// One step of the WebSocket decoder. `input` is what the item's ranges refer to.
    fn item(&mut self, slot: u32, input: &[u8], item: Item) {
        match item {
            Item::Data { bytes, first: true, end: true, text } => self.message(slot, &input[bytes], text),
            Item::Data { bytes, end, text, .. } => {
                let partial = self.partial(slot);
                partial.message.extend_from_slice(&input[bytes]);
                if end {
                    let message = std::mem::take(&mut partial.message);
                    self.message(slot, &message, text);
                } else {
                    self.count_partial(slot);
                }
            }
            Item::Ping(bytes) => self.reply_websocket(slot, Opcode::Pong, &input[bytes]),
            Item::Close { code } => self.end_by_peer(slot, code.unwrap_or(CloseCode::NORMAL)),
            Item::Pong | Item::Incomplete => {}
        }
    }

    /// One whole WebSocket message.
    fn message(&mut self, slot: u32, message: &[u8], text: bool) {
        let frames = match self.application.read(message, text) {
            Message::Frames(frames) => frames,
            Message::Answered { text, answer } => {
                let opcode = if text { Opcode::Text } else { Opcode::Binary };
                return self.reply_websocket(slot, opcode, answer);
            }
        };
        let taken = match goim::decode_message(frames) {
            Ok(_) => self.message_frames(slot, frames),
            Err(FrameError::Length(_) | FrameError::HeaderLength(_) | FrameError::Truncated) => {
                return self.end(slot, CloseReason::BadFrame);
            }
        };
        if taken < frames.len() {
            append_exact(&mut self.partial(slot).frames, &frames[taken..], 0);
            self.count_partial(slot);
        }
    }

    /// The frames of a message, as far as nothing must wait; returns the bytes taken, all of them when no further frame
    /// is whole.
    fn message_frames(&mut self, slot: u32, message: &[u8]) -> usize {
        let mut taken = 0;
        let Ok(frames) = goim::decode_message(message) else { return message.len() };
        for frame in frames {
            if !self.conns.at(slot).state.is_open() {
                break;
            }
            if self.pause_if_needed(slot) {
                return taken;
            }
            taken += frame.encoded_bytes();
            self.frame(slot, frame);
        }
        message.len()
    }

    /// A goim frame counts against the client's rates, then takes effect.
    fn frame(&mut self, slot: u32, frame: Frame<'_>) {
        self.counts.frames_in += 1;
        // On WebSocket the bytes were counted with the message.
        let bytes = if self.conns.peek(slot).is_websocket() { 0 } else { frame.encoded_bytes() };
        if self.within_rate(slot, 1, bytes) {
            self.inbound(slot, frame);
        }
    }

    /// Queue a reply as it is on the wire.
    pub(super) fn reply_raw(&mut self, slot: u32, head: &[u8], body: &[u8]) {
        let id = self.payloads.reply(head, body);
        let conn = self.conns.at(slot);
        conn.queue.push(id, &self.payloads, conn.flags.has(Flags::WEBSOCKET), &mut self.spares);
        if conn.flags.has(Flags::STALLED) {
            self.stalled_bytes += (head.len() + body.len()) as u64;
        }
        self.counts.replies += 1;
        self.counts.queued_bytes += (head.len() + body.len()) as u64;
        self.mark_dirty(slot);
    }

    /// Queue one WebSocket frame.
    pub(super) fn reply_websocket(&mut self, slot: u32, opcode: Opcode, payload: &[u8]) {
        let mut header = [0; SERVER_HEADER_BYTES_MAX];
        let bytes = write_header(opcode, payload.len(), &mut header);
        self.reply_raw(slot, &header[..bytes], payload);
    }
}

fn websocket_reason(error: WebSocketError) -> CloseReason {
    match error {
        WebSocketError::Protocol(_) => CloseReason::WebSocketProtocol,
        WebSocketError::InvalidUtf8 => CloseReason::InvalidText,
        WebSocketError::TooBig => CloseReason::MessageTooBig,
    }
}

#[cfg(test)]
mod tests;
