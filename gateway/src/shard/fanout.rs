//! Step 10 of a push on its way out: it becomes items in send queues. Owns who gets it and what happens when a queue is
//! full; `flush` sends. A room's members all get it in this one call, whatever their number. Allocates nothing once its
//! tables are warm.

use crate::close::CloseReason;
use crate::conn::payloads::PayloadId;
use crate::conn::{ConnState, Flags};
use crate::limits::SlowConsumer;
use crate::mesh::msg::{ReceiptId, RoomRef, ShardPush, ShardTarget, ShardToFeed, TraceEvent};

use super::{Application, Core};

impl<A: Application> Core<A> {
    pub(super) fn push(&mut self, push: ShardPush) {
        let ShardPush { target, op, payload, receipt, written_ms } = push;
        if payload.is_some() {
            self.latencies.note(&target, written_ms);
        }
        let id = payload.map(|payload| self.payloads.push(payload, op));
        let matched = match target {
            ShardTarget::Conn(conn) => self.push_to_conns(&[conn], op, id),
            ShardTarget::Conns(conns) => self.push_to_conns(&conns, op, id),
            ShardTarget::Room(room) => self.push_to_room(room, id),
            ShardTarget::All { per_second } => return self.broadcast(op, id, per_second, receipt),
        };
        if let Some(id) = id {
            self.payloads.release(id);
        }
        self.receipt(receipt, matched);
    }

    pub(super) fn receipt(&mut self, id: ReceiptId, matched: u32) {
        if id != 0 {
            self.receipts.push_back(ShardToFeed::Receipt { id, matched });
        }
    }

    fn push_to_conns(&mut self, conns: &[crate::mesh::msg::ConnRef], op: i32, id: Option<PayloadId>) -> u32 {
        let mut matched = 0;
        for &conn in conns {
            let Some(found) = self.conns.get(conn) else { continue };
            if found.state == ConnState::Online && self.accepts.accepts(found.accepts, op) {
                matched += 1;
                if let Some(id) = id {
                    self.deliver(conn.slot, id);
                }
            }
        }
        matched
    }

    fn push_to_room(&mut self, room: RoomRef, id: Option<PayloadId>) -> u32 {
        let Some(index) = self.rooms.find(room) else { return 0 };
        let matched = self.rooms.peek(index).local();
        let Some(id) = id else { return matched };
        // Taken out for the walk, which must not see it change: members too slow to keep end afterwards.
        let members = std::mem::take(&mut self.rooms.at(index).members);
        let mut slow = Vec::new();
        for slot in members.iter() {
            if !self.offer(slot, id) {
                slow.push(slot);
            }
        }
        self.rooms.at(index).members = members;
        for slot in slow {
            self.end(slot, CloseReason::SlowConsumer);
        }
        matched
    }

    /// Give a push to one online connection.
    pub(super) fn deliver(&mut self, slot: u32, id: PayloadId) {
        if !self.offer(slot, id) {
            self.end(slot, CloseReason::SlowConsumer);
        }
    }

    /// Queue a push, or drop one by the policy; false when the connection must end for it. A connection that the kernel
    /// takes from is never full: its queue leaves with this turn's flush.
    fn offer(&mut self, slot: u32, id: PayloadId) -> bool {
        let conn = self.conns.at(slot);
        let websocket = conn.flags.has(Flags::WEBSOCKET);
        let bytes = u32::try_from(self.payloads.bytes(id, websocket).len()).unwrap_or(u32::MAX);
        let stalled = conn.flags.has(Flags::STALLED);
        if stalled && !self.make_room(slot, bytes) {
            if self.settings.slow_consumer == SlowConsumer::Close {
                return false;
            }
            let cause = if self.overfull(slot, bytes) { "queue_full" } else { "shard_full" };
            let count = if cause == "queue_full" {
                &mut self.counts.drops_queue_full
            } else {
                &mut self.counts.drops_shard_full
            };
            *count += 1;
            let conn = self.conns.at(slot);
            conn.drops = conn.drops.saturating_add(1);
            self.trace_drop(slot, id, bytes, cause);
            return true;
        }
        self.payloads.retain(id);
        let conn = self.conns.at(slot);
        conn.queue.push(id, &self.payloads, websocket, &mut self.spares);
        self.stalled_bytes += if stalled { u64::from(bytes) } else { 0 };
        self.pressure |= !stalled && conn.queue.bytes() > self.settings.queue_bytes_max / 2;
        let traced = conn.flags.has(Flags::TRACED);
        self.counts.deliveries += 1;
        self.counts.queued_bytes += u64::from(bytes);
        self.mark_dirty(slot);
        if traced {
            let op = self.payloads.op(id);
            self.trace(slot, || TraceEvent::Queued { op, bytes });
        }
        true
    }

    /// Whether `bytes` more are too many for this connection.
    fn overfull(&self, slot: u32, bytes: u32) -> bool {
        self.conns.peek(slot).queue.bytes().saturating_add(bytes) > self.settings.queue_bytes_max
    }

    /// Whether `bytes` more fit a stalled connection and the shard; under drop_oldest, drop its waiting pushes until
    /// they do.
    fn make_room(&mut self, slot: u32, bytes: u32) -> bool {
        loop {
            let shard_full = self.stalled_bytes + u64::from(bytes) > self.settings.shard_queue_bytes_max;
            if !shard_full && !self.overfull(slot, bytes) {
                return true;
            }
            if self.settings.slow_consumer != SlowConsumer::DropOldest {
                return false;
            }
            let conn = self.conns.at(slot);
            let websocket = conn.is_websocket();
            let before = conn.queue.bytes();
            let Some(oldest) = conn.queue.drop_oldest_push(&self.payloads, websocket, &mut self.spares) else {
                return false;
            };
            let freed = before - conn.queue.bytes();
            conn.drops = conn.drops.saturating_add(1);
            self.counts.drops_oldest += 1;
            self.counts.queued_bytes -= u64::from(freed);
            self.stalled_bytes -= u64::from(freed);
            self.trace_drop(slot, oldest, freed, "oldest");
            self.payloads.release(oldest);
        }
    }

    fn trace_drop(&mut self, slot: u32, id: PayloadId, bytes: u32, cause: &'static str) {
        let op = self.payloads.op(id);
        self.trace(slot, || TraceEvent::Dropped { op, bytes, cause });
    }
}
