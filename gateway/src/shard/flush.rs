//! Step 11 of a push on its way out: send queues → kernel, and what came back. Owns the sends of one turn: at most one
//! a connection, and what waits leaves as one. Success comes back as silence. So items are taken off when they are
//! handed over, and put back, in order, if the kernel took less. Nothing is sent on a stalled connection before it is
//! writable again. Next: `io::uring`.

use crate::conn::payloads::PayloadId;
use crate::conn::{ConnState, Flags};
use crate::io::{Event, Io, SEND_COPY_BYTES_MAX};
use crate::limits::FLUSH_SENDS_PER_TURN;
use crate::mesh::msg::ConnRef;

use super::receive::error_reason;
use super::{Application, Core, Order};

/// A push at least this long is sent from where it lies even if others wait behind it.
const ALONE_BYTES: u32 = 16 * 1024;

/// One send handed to the kernel.
#[derive(Clone, Copy, Debug)]
struct Flight {
    slot: u32,
    /// Its items in [`Flights::items`].
    start: u32,
    end: u32,
    /// Bytes of the first item that were out before.
    head_sent: u32,
    /// A slice of this many bytes of an item that stays at the head of its queue; 0 for whole items.
    slice_bytes: u32,
    /// The slice is ciphertext of the connection's TLS session.
    tls: bool,
    /// Settled already.
    settled: bool,
}

/// The sends of one turn.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flights: Vec<Flight>,
    items: Vec<PayloadId>,
}

impl<A: Application> Core<A> {
    pub(super) fn mark_dirty(&mut self, slot: u32) {
        let conn = self.conns.at(slot);
        if !conn.flags.has(Flags::DIRTY) {
            conn.flags.set(Flags::DIRTY);
            self.dirty.push_back(slot);
        }
    }

    /// Hand over what waits, up to the turn's budget.
    pub(super) fn flush<I: Io>(&mut self, io: &mut I) {
        // Those that have more to send than one send takes come again, behind those over the budget.
        for _ in 0..self.dirty.len().min(FLUSH_SENDS_PER_TURN) {
            let Some(slot) = self.dirty.pop_front() else { break };
            self.send(io, slot);
        }
        self.pressure &= !self.dirty.is_empty();
    }

    fn send<I: Io>(&mut self, io: &mut I, slot: u32) {
        let conn = self.conns.at(slot);
        conn.flags.clear(Flags::DIRTY);
        let sendable = conn.state.is_open() || conn.state == ConnState::Closing;
        if !sendable || conn.flags.has(Flags::STALLED) {
            return;
        }
        if self.is_in_flight(slot) {
            // Marked twice, by two owners of the slot: one send at a time.
            return self.mark_dirty(slot);
        }
        let conn = self.conns.at(slot);
        if conn.tls.is_some() {
            return self.send_secure(io, slot);
        }
        let Some((head, head_sent)) = conn.queue.head() else { return };
        let websocket = conn.flags.has(Flags::WEBSOCKET);
        let target = conn.reference(slot);
        let head_bytes = u32::try_from(self.payloads.bytes(head, websocket).len()).unwrap_or(u32::MAX) - head_sent;
        let start = u32::try_from(self.flights.items.len()).expect("a turn's sends are bounded");
        conn.flight = u32::try_from(self.flights.flights.len()).expect("a turn's sends are bounded");
        let mut flight = Flight { slot, start, end: start, head_sent, slice_bytes: 0, tls: false, settled: false };
        let bytes;
        let alone = conn.queue.len() == 1 || head_bytes >= ALONE_BYTES;
        if let Some(payload) = self.payloads.shared(head).filter(|_| alone) {
            io.send_payload(target, payload, websocket, head_sent);
            conn.queue.pop(&self.payloads, websocket, &mut self.spares);
            self.flights.items.push(head);
            bytes = head_bytes;
        } else if head_bytes as usize > SEND_COPY_BYTES_MAX {
            let part = &self.payloads.bytes(head, websocket)[head_sent as usize..][..SEND_COPY_BYTES_MAX];
            bytes = io.send_copy(target, &mut std::iter::once(part));
            flight.slice_bytes = bytes;
        } else {
            let mut total = 0usize;
            while let Some((id, sent)) = conn.queue.head() {
                let more = self.payloads.bytes(id, websocket).len() - sent as usize;
                if total + more > SEND_COPY_BYTES_MAX {
                    break;
                }
                total += more;
                conn.queue.pop(&self.payloads, websocket, &mut self.spares);
                self.flights.items.push(id);
            }
            let (payloads, items) = (&self.payloads, &self.flights.items[start as usize..]);
            let mut skip = head_sent as usize;
            let mut parts = items.iter().map(|id| &payloads.bytes(*id, websocket)[std::mem::take(&mut skip)..]);
            bytes = io.send_copy(target, &mut parts);
            debug_assert_eq!(bytes as usize, total);
        }
        flight.end = u32::try_from(self.flights.items.len()).expect("a turn's sends are bounded");
        self.flights.flights.push(flight);
        self.counts.sends += 1;
        self.counts.bytes_out += u64::from(bytes);
        if flight.slice_bytes == 0 {
            self.counts.queued_bytes -= u64::from(bytes);
        }
        if !conn.queue.is_empty() {
            self.mark_dirty(slot);
        }
    }

    /// A send of ciphertext is on its way.
    pub(super) fn fly_secure(&mut self, slot: u32, bytes: u32) {
        let start = u32::try_from(self.flights.items.len()).expect("a turn's sends are bounded");
        self.conns.at(slot).flight = u32::try_from(self.flights.flights.len()).expect("a turn's sends are bounded");
        self.flights.flights.push(Flight {
            slot,
            start,
            end: start,
            head_sent: 0,
            slice_bytes: bytes,
            tls: true,
            settled: false,
        });
        self.counts.sends += 1;
        self.counts.bytes_out += u64::from(bytes);
    }

    /// After the enter: put back what the kernel did not take, let go of what it took.
    // A call of its own: see `turn`.
    #[inline(never)]
    pub(super) fn settle(&mut self, events: &[Event]) {
        for event in events {
            match *event {
                Event::SendShort { conn, sent } => self.send_short(conn, sent),
                Event::SendFailed { conn, error } => {
                    if self.conns.get(conn).is_some_and(|found| found.state != ConnState::Gone) {
                        self.send_failed(conn);
                        self.abort(conn.slot, error_reason(error, true));
                    }
                }
                // The io reports these first.
                _ => break,
            }
        }
        for index in 0..self.flights.flights.len() {
            let flight = self.flights.flights[index];
            if flight.settled {
                continue;
            }
            if flight.tls {
                self.secure_sent(flight.slot, flight.slice_bytes);
            } else if flight.slice_bytes > 0 {
                let conn = self.conns.at(flight.slot);
                if !conn.queue.is_empty() {
                    conn.queue.advance(flight.slice_bytes, &self.payloads);
                    self.counts.queued_bytes -= u64::from(flight.slice_bytes);
                }
            }
            for item in flight.start..flight.end {
                self.payloads.release(self.flights.items[item as usize]);
            }
        }
        self.flights.flights.clear();
        self.flights.items.clear();
        self.say_goodbye();
    }

    fn send_short(&mut self, conn: ConnRef, sent: u32) {
        self.counts.sends_short += 1;
        self.put_back(conn, sent);
        let Some(found) = self.conns.get(conn) else { return };
        if found.flags.has(Flags::STALLED) {
            self.stalled_bytes += u64::from(found.queue.bytes());
        }
    }

    /// Nothing of a send was taken, and nothing ever will be: what is not in the queue any more is dropped here.
    fn send_failed(&mut self, conn: ConnRef) {
        let Some(found) = self.conns.get(conn) else { return };
        let (index, websocket) = (found.flight as usize, found.is_websocket());
        let Some(flight) = self.flights.flights.get_mut(index).filter(|flight| flight.slot == conn.slot) else {
            return;
        };
        if std::mem::replace(&mut flight.settled, true) {
            return;
        }
        let mut unsent = u64::from(flight.slice_bytes);
        for item in flight.start..flight.end {
            let id = self.flights.items[item as usize];
            unsent += self.payloads.bytes(id, websocket).len() as u64;
            self.counts.drops_closed += u64::from(self.payloads.is_push(id));
            self.payloads.release(id);
        }
        if flight.slice_bytes == 0 {
            unsent -= u64::from(flight.head_sent);
        }
        self.counts.bytes_out -= unsent;
    }

    /// Put back what the kernel did not take of a send, and wait until it takes more.
    fn put_back(&mut self, conn: ConnRef, sent: u32) {
        let Some(found) = self.conns.get(conn) else { return };
        if found.state == ConnState::Gone {
            return;
        }
        let websocket = found.is_websocket();
        let index = found.flight as usize;
        let Some(flight) = self.flights.flights.get_mut(index).filter(|flight| flight.slot == conn.slot) else {
            return;
        };
        flight.settled = true;
        let flight = *flight;
        found.flags.set(Flags::STALLED);
        self.orders.push(Order::PollWritable(conn));
        if flight.tls {
            self.counts.bytes_out -= u64::from(flight.slice_bytes - sent);
            return self.secure_sent(conn.slot, sent);
        }
        if flight.slice_bytes > 0 {
            self.counts.bytes_out -= u64::from(flight.slice_bytes - sent);
            self.counts.queued_bytes -= u64::from(sent);
            return found.queue.advance(sent, &self.payloads);
        }
        // Find the item the kernel stopped in; what lies before it is out.
        let mut left = sent;
        let mut item = flight.start;
        let mut already = flight.head_sent;
        let mut restored = 0;
        while item < flight.end {
            let id = self.flights.items[item as usize];
            let bytes = u32::try_from(self.payloads.bytes(id, websocket).len()).unwrap_or(u32::MAX) - already;
            if left < bytes {
                break;
            }
            left -= bytes;
            already = 0;
            item += 1;
            self.payloads.release(id);
        }
        for index in (item..flight.end).rev() {
            let id = self.flights.items[index as usize];
            let out = if index == item { already + left } else { 0 };
            restored += u32::try_from(self.payloads.bytes(id, websocket).len()).unwrap_or(u32::MAX) - out;
            self.conns.at(conn.slot).queue.restore(id, out, &self.payloads, websocket, &mut self.spares);
        }
        self.counts.queued_bytes += u64::from(restored);
        self.counts.bytes_out -= u64::from(restored);
    }

    /// The socket has room again.
    pub(super) fn writable(&mut self, conn: ConnRef) {
        let Some(found) = self.conns.get(conn) else { return };
        if found.flags.take(Flags::STALLED) {
            self.stalled_bytes -= u64::from(found.queue.bytes());
            self.mark_dirty(conn.slot);
        }
    }

    /// Whether a connection has a send handed over in this turn that is not settled.
    pub(super) fn is_in_flight(&self, slot: u32) -> bool {
        let flight = self.conns.peek(slot).flight as usize;
        self.flights.flights.get(flight).is_some_and(|flight| flight.slot == slot && !flight.settled)
    }

    /// Drop everything that waits on a connection.
    pub(super) fn drop_queue(&mut self, slot: u32) {
        let conn = self.conns.at(slot);
        let websocket = conn.is_websocket();
        self.counts.queued_bytes -= u64::from(conn.queue.bytes());
        if conn.flags.has(Flags::STALLED) {
            self.stalled_bytes -= u64::from(conn.queue.bytes());
        }
        self.counts.drops_closed += conn.tls.as_mut().map_or(0, |tls| u64::from(tls.take_unsent_messages()));
        while let Some((id, _)) = conn.queue.pop(&self.payloads, websocket, &mut self.spares) {
            self.counts.drops_closed += u64::from(self.payloads.is_push(id));
            self.payloads.release(id);
        }
    }
}
