//! Step 6 of a frame on its way in: what each goim operation of a client does (goim §1.2). Owns the effect of ops 2 to
//! 17 on one connection, the client's rates after login, and what authority refuses. Bytes come from `transport`, op 7
//! goes on to `login`, replies go to the send queue in the order of the requests.

use halley_protocol::goim::{Frame, HEADER_BYTES, op};
use halley_protocol::login::{ACCEPTS_MAX, NAME_BYTES_MAX};
use halley_protocol::websocket::frame::{Opcode, SERVER_HEADER_BYTES_MAX, write_header};

use crate::close::CloseReason;
use crate::conn::rate::Exceeded;
use crate::conn::{ConnState, NO_ROOM, PendingRequest};
use crate::mesh::msg::TraceEvent;

use super::{Application, Core};

impl<A: Application> Core<A> {
    /// Take frames and bytes out of the client's buckets; a client that has too little left is closed. Handshakes are
    /// bounded by time instead.
    pub(super) fn within_rate(&mut self, slot: u32, frames: u32, bytes: usize) -> bool {
        let conn = self.conns.at(slot);
        if conn.state != ConnState::Online {
            return conn.state.is_open();
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match conn.buckets.take(frames, bytes, &self.settings, self.now.us) {
            Ok(()) => true,
            Err(exceeded) => {
                self.end(slot, rate_reason(exceeded));
                false
            }
        }
    }

    pub(super) fn inbound(&mut self, slot: u32, frame: Frame<'_>) {
        self.trace(slot, || TraceEvent::Received {
            op: frame.op,
            body_bytes: u32::try_from(frame.body.len()).unwrap_or(u32::MAX),
        });
        let conn = self.conns.peek(slot);
        if conn.state == ConnState::WaitAuth {
            // Everything else is read and ignored until the login (goim §1.3).
            if frame.op == op::AUTH {
                self.login(slot, frame);
            }
            return;
        }
        match frame.op {
            op::HEARTBEAT => self.heartbeat(slot, frame),
            op::CHANGE_ROOM => self.change_room(slot, frame),
            op::SUBSCRIBE => self.subscribe(slot, frame),
            op::UNSUBSCRIBE => self.unsubscribe(slot, frame),
            op::AUTH if self.refreshes() => self.refresh(slot, frame),
            // goim writes an empty raw batch on TCP, which is nothing at all (goim §1.8).
            op::RAW if !self.conns.peek(slot).is_websocket() => self.counts.upstream += 1,
            _ => {
                self.counts.upstream += 1;
                self.reply(slot, frame, frame.op, &[]);
            }
        }
    }

    /// Queue one reply frame with the version and sequence of its request.
    pub(super) fn reply(&mut self, slot: u32, to: Frame<'_>, op: i32, body: &[u8]) {
        let goim = Frame { version: to.version, op, seq: to.seq, body }.header();
        if self.conns.at(slot).is_websocket() {
            let mut head = [0; SERVER_HEADER_BYTES_MAX + HEADER_BYTES];
            let mut header = [0; SERVER_HEADER_BYTES_MAX];
            let bytes = write_header(Opcode::Binary, HEADER_BYTES + body.len(), &mut header);
            head[..bytes].copy_from_slice(&header[..bytes]);
            head[bytes..bytes + HEADER_BYTES].copy_from_slice(&goim);
            self.reply_raw(slot, &head[..bytes + HEADER_BYTES], body);
        } else {
            self.reply_raw(slot, &goim, body);
        }
        self.trace(slot, || TraceEvent::Queued {
            op,
            bytes: u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX),
        });
    }

    fn heartbeat(&mut self, slot: u32, frame: Frame<'_>) {
        self.counts.heartbeats += 1;
        let tick = self.now.tick();
        let conn = self.conns.at(slot);
        conn.heartbeat_tick = tick;
        let room = conn.room;
        self.arm_deadline(slot);
        let online = if room == NO_ROOM { 0 } else { self.rooms.peek(room).online() };
        self.reply(slot, frame, op::HEARTBEAT_REPLY, &online.to_be_bytes());
    }

    /// Op 12. The reply names the room the connection is in afterwards: the one asked for, or, when that is refused,
    /// the one it stays in.
    fn change_room(&mut self, slot: u32, frame: Frame<'_>) {
        if let Err(exceeded) = self.conns.at(slot).buckets.room_change(&self.settings, self.now.us) {
            return self.end(slot, rate_reason(exceeded));
        }
        let wanted = std::str::from_utf8(frame.body).ok().filter(|name| name.len() <= NAME_BYTES_MAX);
        let allowed = wanted.filter(|name| {
            let authority = self.conns.peek(slot).extra.as_ref().and_then(|extra| extra.authority.as_deref());
            authority.is_none_or(|authority| authority.allows_room(name))
        });
        let Some(name) = allowed else {
            self.counts.denied_rooms += 1;
            let room = self.conns.peek(slot).room;
            let stays = if room == NO_ROOM { Box::default() } else { self.rooms.peek(room).name.clone() };
            return self.reply(slot, frame, op::CHANGE_ROOM_REPLY, stays.as_bytes());
        };
        if name.is_empty() {
            self.leave_room(slot);
            return self.reply(slot, frame, op::CHANGE_ROOM_REPLY, &[]);
        }
        let room = self.rooms.hold(name);
        if self.rooms.peek(room).known {
            self.enter_room(slot, room);
            return self.reply(slot, frame, op::CHANGE_ROOM_REPLY, frame.body);
        }
        // Feed must know the room before the reply says that its pushes arrive.
        let conn = self.conns.at(slot);
        conn.extra().request = Some(PendingRequest::ChangeRoom { version: frame.version, seq: frame.seq, room });
        let conn = conn.reference(slot);
        self.rooms.at(room).waiting.push(conn);
    }

    /// Feed knows the room: answer those who wait for it.
    pub(super) fn room_known(&mut self, room: u32) {
        for conn in std::mem::take(&mut self.rooms.at(room).waiting) {
            let Some(found) = self.conns.get(conn) else { continue };
            let Some(extra) = found.extra.as_mut() else { continue };
            let Some(PendingRequest::ChangeRoom { version, seq, .. }) = extra.request else { continue };
            extra.request = None;
            self.enter_room(conn.slot, room);
            let name = self.rooms.peek(room).name.clone();
            self.reply(
                conn.slot,
                Frame { version, op: op::CHANGE_ROOM, seq, body: &[] },
                op::CHANGE_ROOM_REPLY,
                name.as_bytes(),
            );
            self.resume(conn.slot);
        }
    }

    /// Move into a held room. Being in it already changes nothing (C8).
    pub(super) fn enter_room(&mut self, slot: u32, room: u32) {
        if self.conns.at(slot).room == room {
            return self.rooms.let_go(room);
        }
        self.leave_room(slot);
        let position = self.rooms.join(room, slot);
        let conn = self.conns.at(slot);
        conn.room = room;
        conn.room_position = position;
        self.trace_room(slot);
    }

    /// Leave the room, if in one. The count reported afterwards is 0 (C26).
    pub(super) fn leave_room(&mut self, slot: u32) {
        let conn = self.conns.at(slot);
        let (room, position) = (conn.room, conn.room_position);
        if room == NO_ROOM {
            return;
        }
        conn.room = NO_ROOM;
        if let Some(moved) = self.rooms.leave(room, position) {
            self.conns.at(moved).room_position = position;
        }
        self.trace_room(slot);
    }

    fn trace_room(&mut self, slot: u32) {
        let room = self.conns.peek(slot).room;
        let name = if room == NO_ROOM { "" } else { &self.rooms.peek(room).name };
        let name =
            if self.conns.peek(slot).flags.has(crate::conn::Flags::TRACED) { name.to_owned() } else { String::new() };
        self.trace(slot, || TraceEvent::Room { room: name });
    }

    /// Op 14. The reply echoes the request, without the ops that were refused.
    fn subscribe(&mut self, slot: u32, frame: Frame<'_>) {
        let Some(asked) = parse_ops(frame.body) else {
            return self.reply(slot, frame, op::SUBSCRIBE_REPLY, frame.body);
        };
        let conn = self.conns.peek(slot);
        let authority = conn.extra.as_ref().and_then(|extra| extra.authority.clone());
        let mut ops = self.accepts.ops(conn.accepts).to_vec();
        let known = ops.len();
        let mut fresh: Vec<i32> = asked.iter().copied().filter(|op| ops.binary_search(op).is_err()).collect();
        fresh.sort_unstable();
        fresh.dedup();
        fresh.retain(|op| authority.as_ref().is_none_or(|authority| authority.allows_op(*op)));
        fresh.truncate(ACCEPTS_MAX - known.min(ACCEPTS_MAX));
        ops.append(&mut fresh);
        ops.sort_unstable();
        let granted: Vec<i32> = asked.iter().copied().filter(|op| ops.binary_search(op).is_ok()).collect();
        if ops.len() > known {
            self.set_accepts(slot, ops);
        }
        if granted.len() == asked.len() {
            return self.reply(slot, frame, op::SUBSCRIBE_REPLY, frame.body);
        }
        self.counts.denied_ops += (asked.len() - granted.len()) as u64;
        let echo = granted.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
        self.reply(slot, frame, op::SUBSCRIBE_REPLY, echo.as_bytes());
    }

    fn unsubscribe(&mut self, slot: u32, frame: Frame<'_>) {
        if let Some(mut unwanted) = parse_ops(frame.body) {
            unwanted.sort_unstable();
            let mut ops = self.accepts.ops(self.conns.peek(slot).accepts).to_vec();
            let known = ops.len();
            ops.retain(|op| unwanted.binary_search(op).is_err());
            if ops.len() < known {
                self.set_accepts(slot, ops);
            }
        }
        self.reply(slot, frame, op::UNSUBSCRIBE_REPLY, frame.body);
    }

    pub(super) fn set_accepts(&mut self, slot: u32, ops: Vec<i32>) {
        let fresh = self.accepts.intern(ops);
        let old = std::mem::replace(&mut self.conns.at(slot).accepts, fresh);
        self.accepts.release(old);
    }
}

fn rate_reason(exceeded: Exceeded) -> CloseReason {
    match exceeded {
        Exceeded::Frames => CloseReason::FrameRate,
        Exceeded::Bytes => CloseReason::ByteRate,
        Exceeded::RoomChanges => CloseReason::RoomChangeRate,
    }
}

/// The body of ops 14 and 16: base-10 int32 joined by `,`, no blanks; one bad part discards the whole (goim §1.8).
/// Empty = no change.
fn parse_ops(body: &[u8]) -> Option<Vec<i32>> {
    if body.is_empty() {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    text.split(',').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// goim's list rules, as Go's strconv reads them.
    #[test]
    fn lists_of_ops() {
        assert_eq!(parse_ops(b"1003,1004"), Some(vec![1003, 1004]));
        assert_eq!(parse_ops(b"-1,+2"), Some(vec![-1, 2]));
        for bad in ["", ",", "1,", "1, 2", " 1", "0x1", "2147483648", "1;2", "\u{661}"] {
            assert_eq!(parse_ops(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
