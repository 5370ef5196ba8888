//! Where a shard keeps its connections: by slot, in segments of fixed size that are added as higher slots come into use
//! and never move. Owns the slots and their generations; the kernel chooses the slot (it is the direct descriptor), so
//! there is no free list here.

use crate::conn::{Conn, ConnState};
use crate::mesh::msg::ConnRef;

/// Slots of one segment.
pub const SEGMENT_SLOTS: u32 = 256;

/// The connections of one shard, by slot.
#[derive(Debug, Default)]
pub struct Conns {
    segments: Vec<Box<[Conn]>>,
}

impl Conns {
    /// Make `slot` exist.
    pub fn reach(&mut self, slot: u32) {
        while self.end() <= slot {
            self.segments.push((0..SEGMENT_SLOTS).map(|_| Conn::free()).collect());
        }
    }

    /// One past the highest slot that exists.
    pub fn end(&self) -> u32 {
        u32::try_from(self.segments.len()).expect("segments are bounded by slots") * SEGMENT_SLOTS
    }

    /// The connection in a slot that exists.
    pub fn at(&mut self, slot: u32) -> &mut Conn {
        &mut self.segments[(slot / SEGMENT_SLOTS) as usize][(slot % SEGMENT_SLOTS) as usize]
    }

    /// The connection in a slot that exists, to look at.
    pub fn peek(&self, slot: u32) -> &Conn {
        &self.segments[(slot / SEGMENT_SLOTS) as usize][(slot % SEGMENT_SLOTS) as usize]
    }

    /// The connection itself, unless its slot has passed on to another or to nobody.
    pub fn get(&mut self, conn: ConnRef) -> Option<&mut Conn> {
        if conn.slot >= self.end() {
            return None;
        }
        let found = self.at(conn.slot);
        (found.generation == conn.generation && found.state != ConnState::Free).then_some(found)
    }
}
