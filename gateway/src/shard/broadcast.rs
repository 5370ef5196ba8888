//! Step 10 of a push on its way out, when it is for everybody. Owns the paced ones under way: each walks the slots
//! once, at its rate, and one of the same op never overtakes another. The table is bounded: one more than fits finishes
//! the oldest at once.

use std::collections::VecDeque;

use crate::conn::ConnState;
use crate::conn::payloads::PayloadId;
use crate::limits::PACED_BROADCASTS_MAX;
use crate::mesh::msg::ReceiptId;

use super::{Application, Core};

/// Slots one paced broadcast looks at in one turn.
const SLOTS_PER_TURN: u32 = 65_536;

#[derive(Debug)]
struct Paced {
    /// How many paced ones were taken before it.
    number: u64,
    op: i32,
    id: PayloadId,
    per_second: u32,
    next_slot: u32,
    /// One past the last slot that existed at the start.
    end_slot: u32,
    began_ms: u64,
    delivered: u64,
}

/// Broadcasts under way, oldest first.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    paced: VecDeque<Paced>,
    /// Paced ones taken so far.
    taken: u64,
}

impl Broadcasts {
    pub(super) fn is_pacing(&self) -> bool {
        !self.paced.is_empty()
    }

    /// Whether one of the first so many is still under way.
    pub(super) fn is_pacing_any(&self, first: u64) -> bool {
        self.paced.front().is_some_and(|oldest| oldest.number < first)
    }
}

impl<A: Application> Core<A> {
    pub(super) fn broadcast(&mut self, op: i32, id: Option<PayloadId>, per_second: u32, receipt: ReceiptId) {
        if receipt != 0 || id.is_none() {
            let mut matched = 0;
            for slot in 0..self.conns.end() {
                matched += u32::from(self.hears(slot, op));
            }
            self.receipt(receipt, matched);
        }
        let Some(id) = id else { return };
        let paced = Paced {
            number: self.broadcasts.taken,
            op,
            id,
            per_second: if per_second == 0 { u32::MAX } else { per_second },
            next_slot: 0,
            end_slot: self.conns.end(),
            began_ms: self.now.ms,
            delivered: 0,
        };
        let follows = self.broadcasts.paced.iter().any(|other| other.op == op);
        if per_second == 0 && !follows {
            return self.finish(paced);
        }
        if self.broadcasts.paced.len() == PACED_BROADCASTS_MAX
            && let Some(oldest) = self.broadcasts.paced.pop_front()
        {
            self.counts.broadcasts_hurried += 1;
            self.finish(oldest);
        }
        self.broadcasts.taken += 1;
        self.broadcasts.paced.push_back(paced);
        self.counts.broadcasts_paced = self.broadcasts.paced.len() as u64;
    }

    fn hears(&self, slot: u32, op: i32) -> bool {
        let conn = self.conns.peek(slot);
        conn.state == ConnState::Online && self.accepts.accepts(conn.accepts, op)
    }

    /// All that is left of a broadcast, now.
    fn finish(&mut self, paced: Paced) {
        for slot in paced.next_slot..paced.end_slot {
            if self.hears(slot, paced.op) {
                self.deliver(slot, paced.id);
            }
        }
        self.payloads.release(paced.id);
    }

    /// From now on those under way go on as fast as the queues are flushed, oldest first. Returns how many were taken
    /// until now, with those that are done.
    pub(super) fn hurry_broadcasts(&mut self) -> u64 {
        for paced in self.broadcasts.paced.iter_mut().filter(|paced| paced.per_second != u32::MAX) {
            paced.per_second = u32::MAX;
            self.counts.broadcasts_hurried += 1;
        }
        self.broadcasts.taken
    }

    /// Move every paced broadcast on as far as its rate allows. While a queue is half full only the oldest goes on:
    /// each turn adds one push of it to a connection at most, and then flushes.
    // A call of its own: see `turn`.
    #[inline(never)]
    pub(super) fn broadcast_paced(&mut self) {
        if self.broadcasts.paced.is_empty() {
            return;
        }
        let mut under_way = std::mem::take(&mut self.broadcasts.paced);
        for index in 0..under_way.len() {
            if index > 0 && self.pressure {
                break;
            }
            let op = under_way[index].op;
            let ahead = under_way.iter().take(index).filter(|other| other.op == op).map(|other| other.next_slot).min();
            let paced = &mut under_way[index];
            let due = (self.now.ms - paced.began_ms + 1).saturating_mul(u64::from(paced.per_second)) / 1000;
            let due = if paced.per_second == u32::MAX { u64::MAX } else { due.max(1) };
            let limit =
                ahead.unwrap_or(u32::MAX).min(paced.end_slot).min(paced.next_slot.saturating_add(SLOTS_PER_TURN));
            while paced.next_slot < limit && paced.delivered < due {
                let slot = paced.next_slot;
                paced.next_slot += 1;
                if self.hears(slot, op) {
                    paced.delivered += 1;
                    self.deliver(slot, paced.id);
                }
            }
        }
        under_way.retain(|paced| {
            let done = paced.next_slot >= paced.end_slot;
            if done {
                self.payloads.release(paced.id);
            }
            !done
        });
        self.broadcasts.paced = under_way;
        self.counts.broadcasts_paced = self.broadcasts.paced.len() as u64;
    }
}
