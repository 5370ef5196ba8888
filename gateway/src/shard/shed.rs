//! Orders to shed: many connections end bit by bit, while they are served. Owns who is meant, by slot and generation,
//! and when each one's turn comes; until then a connection is as any other, and one that logged in later is nobody's
//! business here. `ending` says the goodbye.

use rand::seq::SliceRandom;

use crate::close::CloseReason;
use crate::conn::ConnState;
use crate::limits::SHEDS_PER_TURN;
use crate::mesh::msg::{ConnRef, Shed, ShedWho};

use super::{Application, Core};

/// A connection that waits for its turn.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    conn: ConnRef,
    due_ms: u64,
    reason: CloseReason,
}

/// Bytes that a shed keeps of each connection that it means, until that one's turn.
const WAITING_BYTES: usize = 24;

const _: () = assert!(size_of::<Waiting>() == WAITING_BYTES);

/// Those who wait for their turn, each once, the next one last.
#[derive(Debug, Default)]
pub(super) struct Sheds(Vec<Waiting>);

impl Sheds {
    /// Whether somebody's turn has come.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.0.last().is_some_and(|next| next.due_ms <= now_ms)
    }

    /// Milliseconds until the next one's turn.
    pub(super) fn next_ms(&self, now_ms: u64) -> u64 {
        self.0.last().map_or(u64::MAX, |next| next.due_ms.saturating_sub(now_ms))
    }
}

impl<A: Application> Core<A> {
    /// Note whom an order means. Who waits already keeps his turn and reason; the others are spread over the order's
    /// time, in random order, so that clients do not come back in step.
    pub(super) fn shed(&mut self, order: Shed) {
        if self.drain.is_some() {
            return;
        }
        let conns = &mut self.conns;
        let is_online = |waiting: &Waiting| conns.get(waiting.conn).is_some_and(|conn| conn.state == ConnState::Online);
        // Who has left makes room, so that no slot is here twice.
        self.sheds.0.retain(is_online);
        let mut known = vec![false; self.conns.end() as usize];
        self.sheds.0.iter().for_each(|waiting| known[waiting.conn.slot as usize] = true);
        let mut conns: Vec<ConnRef> = (0..self.conns.end())
            .filter(|&slot| !known[slot as usize] && self.conns.peek(slot).state == ConnState::Online)
            .map(|slot| self.conns.peek(slot).reference(slot))
            .collect();
        conns.shuffle(&mut self.random);
        if let ShedWho::AtMost(most) = order.who {
            conns.truncate(most as usize);
        }
        let (total, begin_ms) = (conns.len() as u64, self.now.ms);
        let due_ms = |place: u64| begin_ms.saturating_add(order.over_ms.saturating_mul(place) / total);
        let meant = (1..).zip(conns).map(|(place, conn)| Waiting { conn, due_ms: due_ms(place), reason: order.reason });
        self.sheds.0.extend(meant);
        self.sheds.0.sort_by_key(|waiting| std::cmp::Reverse(waiting.due_ms));
        self.counts.sheds_waiting = self.sheds.0.len() as u64;
    }

    /// End those whose turn has come. Who has left meanwhile keeps the others' times as they are.
    // A call of its own: see `turn`.
    #[inline(never)]
    pub(super) fn shed_some(&mut self) {
        if self.sheds.0.is_empty() {
            return;
        }
        for _ in 0..SHEDS_PER_TURN {
            let Some(next) = self.sheds.0.pop_if(|next| next.due_ms <= self.now.ms) else { break };
            if self.conns.get(next.conn).is_some_and(|conn| conn.state == ConnState::Online) {
                self.end(next.conn.slot, next.reason);
            }
        }
        if self.sheds.0.is_empty() {
            self.sheds = Sheds::default();
        }
        self.counts.sheds_waiting = self.sheds.0.len() as u64;
    }

    /// Nobody is shed any more, for everybody is sent away.
    pub(super) fn forget_sheds(&mut self) {
        self.sheds = Sheds::default();
        self.counts.sheds_waiting = 0;
    }
}
