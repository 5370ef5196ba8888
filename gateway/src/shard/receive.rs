//! Step 3 of a frame on its way in: when a connection is read, and when not. Owns readiness, one receive at a time,
//! waiting while a request is being decided or replies pile up, and how many TLS handshakes go on in one turn. Owns no
//! bytes: what came goes to `transport`, through `secure` where there is TLS.

use crate::close::CloseReason;
use crate::conn::tls::TlsProgress;
use crate::conn::{ConnState, Flags};
use crate::io::Errno;
use crate::limits::{REPLY_BYTES_MAX, TLS_HANDSHAKES_PER_TURN};
use crate::mesh::msg::ConnRef;
use crate::table::queue::Queue;

use super::{Application, Core, Order};

/// TLS handshakes with something to read, the longest waiting first.
#[derive(Debug)]
pub(super) struct Handshakes {
    /// Those whose first words were answered: what they say next costs little.
    answered: Queue<ConnRef>,
    fresh: Queue<ConnRef>,
}

impl Handshakes {
    pub(super) fn new() -> Handshakes {
        Handshakes { answered: Queue::new(), fresh: Queue::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.answered.is_empty() && self.fresh.is_empty()
    }

    fn pop(&mut self, fresh_first: bool) -> Option<ConnRef> {
        if fresh_first {
            return self.fresh.pop_front().or_else(|| self.answered.pop_front());
        }
        self.answered.pop_front().or_else(|| self.fresh.pop_front())
    }
}

impl<A: Application> Core<A> {
    pub(super) fn readable(&mut self, conn: ConnRef, armed: bool) {
        let Some(found) = self.conns.get(conn) else { return };
        if found.state == ConnState::Gone {
            return;
        }
        if !armed {
            self.orders.push(Order::PollReadable(conn));
        }
        found.flags.set(Flags::UNREAD);
        self.receive_more(conn);
    }

    /// Receive if there is something unread and nothing speaks against it.
    pub(super) fn receive_more(&mut self, conn: ConnRef) {
        let Some(found) = self.conns.get(conn) else { return };
        let blocked =
            found.flags.has(Flags::RECEIVING) || found.flags.has(Flags::PAUSED) || found.state == ConnState::Gone;
        if !blocked && found.flags.take(Flags::UNREAD) {
            found.flags.set(Flags::RECEIVING);
            let tls = found.tls.as_ref().filter(|_| found.state.is_open());
            match tls.filter(|tls| tls.progress() == TlsProgress::Handshaking) {
                Some(tls) if tls.is_answered() => self.handshakes.answered.push_back(conn),
                Some(_) => self.handshakes.fresh.push_back(conn),
                None => self.orders.push(Order::Receive(conn)),
            }
        }
    }

    /// Read on the handshakes whose turn it is; the others keep their bytes in the kernel. Each waits here once at
    /// most. Those that were answered go before fresh ones, or a crowd of these would let nobody finish in time; one
    /// place is the fresh ones', or slow talkers among the others would let nobody in.
    pub(super) fn shake_hands(&mut self) {
        let mut place = 0;
        while place < TLS_HANDSHAKES_PER_TURN
            && let Some(conn) = self.handshakes.pop(place == 0)
        {
            let Some(found) = self.conns.get(conn).filter(|found| found.state != ConnState::Gone) else { continue };
            // Who was given up meanwhile costs nothing: what it says is thrown away.
            place += usize::from(found.state.is_open());
            self.orders.push(Order::Receive(conn));
        }
    }

    /// A receive found no buffer: it is still wanted.
    pub(super) fn receive_again(&mut self, conn: ConnRef) {
        if let Some(found) = self.conns.get(conn) {
            found.flags.clear(Flags::RECEIVING);
            found.flags.set(Flags::UNREAD);
            self.receive_more(conn);
        }
    }

    pub(super) fn receive_empty(&mut self, conn: ConnRef) {
        if let Some(found) = self.conns.get(conn) {
            found.flags.clear(Flags::RECEIVING);
            self.receive_more(conn);
        }
    }

    pub(super) fn receive_failed(&mut self, conn: ConnRef, error: Errno) {
        let Some(found) = self.conns.get(conn) else { return };
        found.flags.clear(Flags::RECEIVING);
        let reason = error_reason(error, found.flags.has(Flags::SPOKE));
        self.abort(conn.slot, reason);
    }

    /// The peer sends no more. What it asked for is still answered.
    pub(super) fn end_of_stream(&mut self, conn: ConnRef) {
        let Some(found) = self.conns.get(conn) else { return };
        found.flags.clear(Flags::RECEIVING);
        found.flags.set(Flags::PEER_CLOSED);
        found.flags.set(Flags::STREAM_ENDED);
        let reason = if found.flags.has(Flags::SPOKE) { CloseReason::PeerClosed } else { CloseReason::Probe };
        match found.state {
            ConnState::Lingering => self.abort(conn.slot, reason),
            state if state.is_open() => self.end(conn.slot, reason),
            _ => {}
        }
    }

    /// Bytes came. `more` says that the socket holds further ones.
    // A call of its own: see `turn`.
    #[inline(never)]
    pub(super) fn received(&mut self, conn: ConnRef, bytes: &mut [u8], more: bool) {
        let Some(found) = self.conns.get(conn) else { return };
        found.flags.clear(Flags::RECEIVING);
        found.flags.set(Flags::SPOKE);
        if more {
            found.flags.set(Flags::UNREAD);
        }
        self.counts.bytes_in += bytes.len() as u64;
        if found.tls.is_some() {
            self.decrypt(conn, bytes);
        } else {
            self.take(conn.slot, bytes);
        }
        self.receive_more(conn);
    }

    /// Go on with what waited, after the reason to wait is gone.
    pub(super) fn resume(&mut self, slot: u32) {
        let conn = self.conns.at(slot).reference(slot);
        if self.must_pause(slot) {
            return self.throttle(slot);
        }
        self.conns.at(slot).flags.clear(Flags::PAUSED);
        self.decode_kept(slot);
        self.end_of_secure_stream(conn);
        self.receive_more(conn);
    }

    /// Replies that piled up are out: read on.
    pub(super) fn resume_throttled(&mut self) {
        if self.throttled.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.throttled);
        waiting.retain(|&conn| match self.conns.get(conn) {
            Some(found) if found.state.is_open() => {
                if found.queue.reply_bytes() > REPLY_BYTES_MAX / 2 {
                    return true;
                }
                found.flags.clear(Flags::THROTTLED);
                self.resume(conn.slot);
                false
            }
            _ => false,
        });
        waiting.append(&mut self.throttled);
        self.throttled = waiting;
    }

    /// Whether the next frame must wait.
    fn must_pause(&self, slot: u32) -> bool {
        let conn = self.conns.peek(slot);
        matches!(conn.state, ConnState::Deciding | ConnState::Registering)
            || conn.has_request()
            || conn.queue.reply_bytes() > REPLY_BYTES_MAX / 2
    }

    pub(super) fn pause_if_needed(&mut self, slot: u32) -> bool {
        if !self.must_pause(slot) {
            return false;
        }
        self.conns.at(slot).flags.set(Flags::PAUSED);
        self.throttle(slot);
        true
    }

    /// Go on when the replies are out, if it is replies that stand in the way.
    fn throttle(&mut self, slot: u32) {
        let conn = self.conns.at(slot);
        if conn.queue.reply_bytes() > REPLY_BYTES_MAX / 2 && !conn.flags.has(Flags::THROTTLED) {
            conn.flags.set(Flags::THROTTLED);
            let conn = conn.reference(slot);
            self.throttled.push(conn);
        }
    }
}

/// What an error of the kernel says about the end of a connection.
pub(super) fn error_reason(error: Errno, spoke: bool) -> CloseReason {
    match error.0 {
        libc::ECONNRESET | libc::EPIPE | libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH => {
            if spoke {
                CloseReason::PeerReset
            } else {
                CloseReason::Probe
            }
        }
        _ => CloseReason::IoFailed,
    }
}
