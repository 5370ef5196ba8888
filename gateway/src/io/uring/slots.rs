//! What is outstanding in the kernel for each direct descriptor. Owns one small cell per slot, in segments allocated
//! when the kernel first uses one of their slots; decides nothing. `mod` notes what begins, `completions` what has
//! ended, and the two together make close a join: nothing outstanding, then the descriptor goes.

use super::ops;
use crate::mesh::msg::ConnRef;

/// Facts about one slot, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts(u16);

impl Facts {
    /// The readiness poll is armed.
    pub(super) const POLL_READABLE: Facts = Facts(1);
    /// A receive has not ended.
    pub(super) const RECEIVE: Facts = Facts(1 << 1);
    /// A poll for room is armed, for one time or to stay.
    pub(super) const POLL_WRITABLE: Facts = Facts(1 << 2);
    /// The peer's address is asked for.
    pub(super) const PEER_NAME: Facts = Facts(1 << 3);
    /// FIN is on its way.
    pub(super) const SHUTDOWN: Facts = Facts(1 << 4);
    /// A send was short and the socket has not become writable since.
    pub(super) const SHORT: Facts = Facts(1 << 5);
    /// A send was queued since the last turn.
    pub(super) const SENT: Facts = Facts(1 << 6);
    /// `close` was called.
    pub(super) const CLOSING: Facts = Facts(1 << 7);
    /// Accepted, and nothing was asked of it yet: a completion is still about the owner before.
    pub(super) const NEW: Facts = Facts(1 << 10);
    /// Accepted by an IPv6 listener.
    pub(super) const IPV6: Facts = Facts(1 << 8);
    /// Accepted by a listener that does not speak IP.
    pub(super) const LOCAL: Facts = Facts(1 << 9);

    /// The poll has seen FIN or an error: after the data comes the end.
    pub(super) const ENDING: Facts = Facts(1 << 11);
    /// The caller waits for room to send.
    pub(super) const WANTS_ROOM: Facts = Facts(1 << 12);
    /// Room was seen since the last short send, while nobody waited for it.
    pub(super) const ROOM: Facts = Facts(1 << 13);

    const OUTSTANDING: Facts = Facts(0b1_1111);

    pub(super) fn has(self, fact: Facts) -> bool {
        self.0 & fact.0 != 0
    }

    pub(super) fn set(&mut self, fact: Facts) {
        self.0 |= fact.0;
    }

    pub(super) fn clear(&mut self, fact: Facts) {
        self.0 &= !fact.0;
    }

    /// Some operation that ends with a completion is in the kernel, or queued for it.
    pub(super) fn any_outstanding(self) -> bool {
        self.has(Facts::OUTSTANDING)
    }
}

/// One direct descriptor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub(super) facts: Facts,
    /// The part of the owner's generation that `user_data` has no room for.
    pub(super) generation_high: u8,
}

/// Slots of one segment.
const SEGMENT: usize = 4096;

/// The cells of all slots that were ever accepted into.
#[derive(Debug, Default)]
pub(super) struct Slots {
    segments: Vec<Box<[Slot; SEGMENT]>>,
}

impl Slots {
    /// The slot has a new owner, accepted by a listener of this family.
    pub(super) fn accepted(&mut self, slot: u32, family: Facts) {
        while self.segments.len() * SEGMENT <= slot as usize {
            self.segments.push(Box::new([Slot::default(); SEGMENT]));
        }
        let mut facts = family;
        facts.set(Facts::NEW);
        *self.at(slot) = Slot { facts, generation_high: 0 };
    }

    /// A slot that was accepted into before.
    #[inline]
    pub(super) fn at(&mut self, slot: u32) -> &mut Slot {
        &mut self.segments[slot as usize / SEGMENT][slot as usize % SEGMENT]
    }

    /// The slot of a connection that asks for something.
    #[inline]
    pub(super) fn of(&mut self, conn: ConnRef) -> &mut Slot {
        let slot = self.at(conn.slot);
        slot.generation_high = ops::generation_high(conn.generation);
        slot.facts.clear(Facts::NEW);
        debug_assert!(!slot.facts.has(Facts::CLOSING), "{conn:?} is being closed: nothing may be asked of it");
        slot
    }
}
