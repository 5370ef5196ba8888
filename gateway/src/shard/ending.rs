//! How connections end. Owns the goodbye, timeouts and drain. In a goodbye what is queued goes out, a WebSocket close
//! frame last, then FIN. Then whatever the peer still sends is thrown away until it closes too or a deadline passes:
//! unread bytes would turn our close into a reset that destroys the frame. A slot is free again only when the kernel
//! says `Closed`.

use halley_protocol::websocket::CloseCode;
use halley_protocol::websocket::frame::close_frame;
use rand::seq::SliceRandom;

use crate::close::CloseReason;
use crate::conn::rate::SETTLE_MS;
use crate::conn::{ConnState, Flags};
use crate::limits::{CLOSE_DEADLINE_MS, DEADLINES_PER_TURN};
use crate::mesh::msg::{ConnRef, ShardToControl, TraceEvent};

use super::timers::NEVER;
use super::{Application, Core, Order};

/// A drain under way: connections end evenly over its time.
#[derive(Debug)]
pub(super) struct Drain {
    began_ms: u64,
    over_ms: u64,
    /// Connections still to be ended, in random order; none is accepted any more.
    slots: Vec<u32>,
    /// Connections when it began: the measure of how many are due.
    total: u64,
    told: bool,
}

impl<A: Application> Core<A> {
    /// End a connection for a reason of ours or the peer's, politely.
    pub(super) fn end(&mut self, slot: u32, reason: CloseReason) {
        let text = reason.text();
        self.goodbye(slot, reason, reason.code(), text);
    }

    /// The peer sent a WebSocket close frame: answer with its code.
    pub(super) fn end_by_peer(&mut self, slot: u32, code: CloseCode) {
        self.goodbye(slot, CloseReason::PeerClosed, Some(code), "");
    }

    fn goodbye(&mut self, slot: u32, reason: CloseReason, code: Option<CloseCode>, text: &str) {
        let handshaking = self.conns.peek(slot).state == ConnState::Upgrade;
        let upgraded = self.conns.peek(slot).is_websocket() && !handshaking;
        if !self.leave(slot, reason) {
            return;
        }
        let peer_closed = self.conns.at(slot).flags.has(Flags::PEER_CLOSED);
        if reason == CloseReason::SlowConsumer {
            self.forget_pushes(slot);
        }
        if let Some(code) = code
            && upgraded
            && !(peer_closed && reason == CloseReason::PeerClosed)
        {
            let mut frame = Vec::with_capacity(128);
            close_frame(code, text, &mut frame);
            self.reply_raw(slot, &frame, &[]);
        }
        if handshaking && let Some(response) = refusal(reason) {
            self.reply_raw(slot, response, &[]);
        }
        let deadline = self.now.tick_after(CLOSE_DEADLINE_MS);
        let conn = self.conns.at(slot);
        conn.state = ConnState::Closing;
        conn.flags.clear(Flags::PAUSED);
        let conn = conn.reference(slot);
        self.deadlines.set(slot, deadline);
        self.goodbyes.push(conn);
        self.seal(slot);
        // What the peer still sends is read and thrown away.
        self.receive_more(conn);
    }

    /// End a connection that cannot, or need not, be said goodbye to.
    pub(super) fn abort(&mut self, slot: u32, reason: CloseReason) {
        self.leave(slot, reason);
        self.drop_queue(slot);
        let conn = self.conns.at(slot);
        if matches!(conn.state, ConnState::Gone | ConnState::Free) {
            return;
        }
        conn.state = ConnState::Gone;
        self.deadlines.set(slot, NEVER);
        let conn = self.conns.at(slot);
        if conn.flags.has(Flags::NEWS) {
            // Feed hears of the end first: the slot's next owner must not be taken for this one.
            conn.flags.set(Flags::CLOSE_NOW);
        } else {
            let conn = conn.reference(slot);
            self.orders.push(Order::Close(conn));
        }
    }

    /// Take an open connection out of everything it is in; false when it was not open.
    fn leave(&mut self, slot: u32, reason: CloseReason) -> bool {
        let conn = self.conns.at(slot);
        if !conn.state.is_open() {
            return false;
        }
        self.counts.closes[reason as usize] += 1;
        if conn.state.is_handshake() {
            self.counts.pending_handshakes -= 1;
        } else {
            self.counts.authenticated -= 1;
        }
        conn.state = ConnState::Closing;
        self.trace(slot, || TraceEvent::Closed { reason });
        self.conns.at(slot).flags.clear(Flags::TRACED);
        self.leave_room(slot);
        self.abandon_login(slot);
        self.set_accepts(slot, Vec::new());
        self.drop_partial(slot);
        if self.is_registered(slot) {
            self.mark_news(slot);
        }
        true
    }

    /// Only the item whose first bytes are out must still go.
    fn forget_pushes(&mut self, slot: u32) {
        loop {
            let conn = self.conns.at(slot);
            let websocket = conn.is_websocket();
            let before = conn.queue.bytes();
            let Some(id) = conn.queue.drop_oldest_push(&self.payloads, websocket, &mut self.spares) else { return };
            let freed = u64::from(before - conn.queue.bytes());
            self.stalled_bytes -= if conn.flags.has(Flags::STALLED) { freed } else { 0 };
            self.counts.queued_bytes -= freed;
            self.counts.drops_closed += 1;
            self.payloads.release(id);
        }
    }

    /// Closing connections whose last bytes are out: send FIN, wait for the peer's.
    pub(super) fn say_goodbye(&mut self) {
        let mut goodbyes = std::mem::take(&mut self.goodbyes);
        goodbyes.retain(|&conn| {
            let Some(found) = self.conns.get(conn) else { return false };
            if found.state != ConnState::Closing {
                return false;
            }
            let sealed = found.tls.as_ref().is_some_and(|tls| !tls.outgoing().is_empty());
            if !found.queue.is_empty() || sealed || found.flags.has(Flags::STALLED) || self.is_in_flight(conn.slot) {
                return true;
            }
            let found = self.conns.at(conn.slot);
            if found.flags.has(Flags::STREAM_ENDED) {
                self.abort(conn.slot, CloseReason::PeerClosed);
            } else {
                found.state = ConnState::Lingering;
                self.orders.push(Order::ShutdownWrite(conn));
            }
            false
        });
        goodbyes.append(&mut self.goodbyes);
        self.goodbyes = goodbyes;
    }

    /// The kernel has let go of the connection: its slot is free.
    // A call of its own: see `turn`.
    #[inline(never)]
    pub(super) fn closed(&mut self, conn: ConnRef) {
        let Some(found) = self.conns.get(conn) else { return };
        debug_assert_eq!(found.state, ConnState::Gone);
        *self.of_its_kind(conn.slot) -= 1;
        self.drop_session(conn.slot);
        let found = self.conns.at(conn.slot);
        let held = found.flags.has(Flags::ADDRESS_HELD);
        let peer = found.peer();
        found.reset(found.generation);
        if let Some(peer) = peer.filter(|_| held) {
            self.quota.give_back(peer.ip());
        }
        self.acceptor.slot_freed();
        self.counts.slots_used = u64::from(self.acceptor.used());
        self.counts.connections -= 1;
    }

    /// What is due by now, as far as the turn's budget goes.
    // A call of its own: see `turn`.
    #[inline(never)]
    pub(super) fn timers(&mut self) {
        let tick = self.now.tick();
        if tick == self.swept_tick {
            return;
        }
        let mut due = std::mem::take(&mut self.due);
        if self.deadlines.sweep(tick, DEADLINES_PER_TURN, &mut due) {
            self.swept_tick = tick;
        }
        for slot in due.drain(..) {
            match self.conns.peek(slot).state {
                ConnState::Closing | ConnState::Lingering => self.abort(slot, CloseReason::CloseTimeout),
                ConnState::Online => self.online_deadline(slot),
                state if state.is_handshake() => self.end(slot, CloseReason::HandshakeTimeout),
                _ => {}
            }
        }
        self.due = due;
        self.trim_pending();
    }

    fn online_deadline(&mut self, slot: u32) {
        let conn = self.conns.peek(slot);
        let expires = conn.extra.as_ref().and_then(|extra| extra.expires_at_s);
        if expires.is_some_and(|at_s| at_s <= self.now.unix_s) {
            return self.end(slot, CloseReason::TokenExpired);
        }
        let quiet_ms = u64::from(self.now.tick().saturating_sub(conn.heartbeat_tick)) * crate::limits::TICK_MS;
        if quiet_ms >= self.settings.heartbeat_timeout_ms {
            return self.end(slot, CloseReason::HeartbeatTimeout);
        }
        let now_us = self.now.us;
        self.conns.at(slot).buckets.settle(now_us);
        let left_ms = (self.settings.heartbeat_timeout_ms - quiet_ms).min(SETTLE_MS);
        let expiry_ms = expires.map_or(u64::MAX, |at_s| (at_s - self.now.unix_s).saturating_mul(1000));
        self.deadlines.set(slot, self.now.tick_after(left_ms.min(expiry_ms)));
    }

    /// Send everybody away: those whom a shed means too, so it is forgotten.
    pub(super) fn begin_drain(&mut self, over_ms: u64) {
        let mut slots: Vec<u32> =
            (0..self.conns.end()).filter(|slot| self.conns.peek(*slot).state != ConnState::Free).collect();
        slots.shuffle(&mut self.random);
        self.forget_sheds();
        self.drain = Some(Drain { began_ms: self.now.ms, over_ms, total: slots.len() as u64, slots, told: false });
    }

    /// End as many connections as are due by now, evenly and in random order, so that clients do not come back in step.
    // A call of its own: see `turn`.
    #[inline(never)]
    pub(super) fn drain_some(&mut self) {
        let Some(mut drain) = self.drain.take() else { return };
        let elapsed = self.now.ms - drain.began_ms;
        let due = if elapsed >= drain.over_ms { drain.total } else { drain.total * elapsed / drain.over_ms };
        while drain.total - (drain.slots.len() as u64) < due {
            // Whoever has left meanwhile counts as well: the rest keep their times.
            if let Some(slot) = drain.slots.pop()
                && self.conns.peek(slot).state.is_open()
            {
                self.end(slot, CloseReason::Drain);
            }
        }
        if self.counts.connections == 0 && !drain.told {
            drain.told = true;
            self.reports.push_back(ShardToControl::Drained);
        }
        self.drain = Some(drain);
    }
}

/// What a browser is told when it is turned away before its upgrade, where no close frame can say it. A handshake that
/// takes too long ends without a byte, as in goim (§1.3).
fn refusal(reason: CloseReason) -> Option<&'static [u8]> {
    match reason {
        CloseReason::AddressLimit => {
            Some(b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        }
        CloseReason::HandshakeLimit | CloseReason::Drain => {
            Some(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        }
        CloseReason::InternalError => {
            Some(b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        }
        _ => None,
    }
}

/// Connections on their way out.
pub(super) type Goodbyes = Vec<ConnRef>;
