//! The rooms of one shard and who is in them. Owns names, member lists, counts and what feed has been told; touches no
//! queue. `inbound` and `login` change membership, `fanout` reads it, `news` tells feed, `inbox` brings feed's answers.

use std::hash::{BuildHasher, RandomState};

use crate::mesh::msg::{ConnRef, RoomRef};
use crate::table::index::Index;
use crate::table::queue::Queue;
use crate::table::slab::Slab;

/// Members of one segment of a list.
const SEGMENT_MEMBERS: usize = 1024;
/// Rooms of one segment.
const SEGMENT_ROOMS: usize = 64;
/// Parts of the name index.
const INDEX_PARTS: usize = 64;

/// Slots of the members of one room, in segments: growing never copies more than one segment.
#[derive(Debug, Default)]
pub struct Members {
    segments: Vec<Vec<u32>>,
}

impl Members {
    /// Members, of whom each is a connection of this shard.
    pub fn len(&self) -> usize {
        match self.segments.split_last() {
            Some((last, full)) => full.len() * SEGMENT_MEMBERS + last.len(),
            None => 0,
        }
    }

    /// Whether the room has no member here; it may be held open.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// All slots.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.segments.iter().flatten().copied()
    }

    fn push(&mut self, slot: u32) -> u32 {
        let position = self.len();
        if position.is_multiple_of(SEGMENT_MEMBERS) {
            // The first segment starts small: most rooms are.
            self.segments.push(Vec::with_capacity(if position == 0 { 1 } else { SEGMENT_MEMBERS }));
        }
        if let Some(last) = self.segments.last_mut() {
            last.push(slot);
        }
        u32::try_from(position).expect("members are slots, which are 32 bits")
    }

    /// Take out the member at `position`; returns the slot that now stands there, if another one moved.
    fn swap_remove(&mut self, position: u32) -> Option<u32> {
        let last_segment = self.segments.last_mut()?;
        let moved = last_segment.pop()?;
        if last_segment.is_empty() {
            self.segments.pop();
        }
        if position as usize == self.len() {
            return None;
        }
        self.segments[position as usize / SEGMENT_MEMBERS][position as usize % SEGMENT_MEMBERS] = moved;
        Some(moved)
    }
}

/// One room.
#[derive(Debug, Default)]
pub struct Room {
    /// Full room key.
    pub name: Box<str>,
    /// Number of the room among all that there were, wrapping: tells the owners of its slot apart.
    pub generation: u32,
    /// Members here.
    pub members: Members,
    /// Members on other shards, as feed last said.
    pub others: u32,
    /// Logins and room changes that hold the room open without being members yet.
    pub holds: u32,
    /// Feed was told the name.
    pub announced: bool,
    /// Feed said it knows.
    pub known: bool,
    /// In the list of rooms with news for feed.
    pub news: bool,
    /// Room changes to answer once feed knows.
    pub waiting: Vec<ConnRef>,
}

impl Room {
    /// Members here, as the wire counts them.
    pub fn local(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    /// Members everywhere in this gateway.
    pub fn online(&self) -> u32 {
        self.local().saturating_add(self.others)
    }
}

/// The rooms of a shard.
#[derive(Debug, Default)]
pub struct Rooms {
    rooms: Slab<Room, SEGMENT_ROOMS>,
    index: Index<u32, INDEX_PARTS>,
    hasher: RandomState,
    /// Rooms feed has to be told about.
    pub news: Queue<u32>,
    /// Generation of the newest room.
    generation: u32,
}

impl Rooms {
    /// No rooms.
    pub fn new() -> Rooms {
        Rooms::default()
    }

    /// Rooms that have members here or are held open.
    pub fn len(&self) -> u32 {
        self.rooms.len()
    }

    /// Whether no room has members here or is held open.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// The room at an index that is in use.
    pub fn at(&mut self, index: u32) -> &mut Room {
        &mut self.rooms[index]
    }

    /// The room at an index that is in use, to look at.
    pub fn peek(&self, index: u32) -> &Room {
        &self.rooms[index]
    }

    /// The room itself, unless its slot has passed on.
    pub fn find(&self, room: RoomRef) -> Option<u32> {
        let found = self.rooms.get(room.slot)?;
        (found.generation == room.generation).then_some(room.slot)
    }

    /// The identity of the room at an index.
    pub fn reference(&self, index: u32) -> RoomRef {
        RoomRef { slot: index, generation: self.rooms[index].generation }
    }

    /// The index of a room by name, made if need be, held open until [`Rooms::let_go`] or [`Rooms::join`].
    pub fn hold(&mut self, name: &str) -> u32 {
        let hash = self.hasher.hash_one(name);
        if let Some(index) = self.index.get(hash, |index| *self.rooms[index].name == *name) {
            self.rooms[index].holds += 1;
            return index;
        }
        self.generation = self.generation.wrapping_add(1);
        let room = Room { name: name.into(), generation: self.generation, holds: 1, ..Room::default() };
        let index = self.rooms.insert(room);
        let (rooms, hasher) = (&self.rooms, &self.hasher);
        self.index.insert(hash, index, |index| hasher.hash_one(&*rooms[index].name));
        self.mark(index);
        index
    }

    /// Give up a hold.
    pub fn let_go(&mut self, index: u32) {
        let room = &mut self.rooms[index];
        room.holds -= 1;
        if room.holds == 0 && room.members.is_empty() {
            self.mark(index);
        }
    }

    /// Turn a hold into membership; returns the member's position.
    pub fn join(&mut self, index: u32, slot: u32) -> u32 {
        let room = &mut self.rooms[index];
        room.holds -= 1;
        let position = room.members.push(slot);
        self.mark(index);
        position
    }

    /// End a membership; returns the slot that moved to the position, if one did.
    #[must_use = "the moved member must learn its position"]
    pub fn leave(&mut self, index: u32, position: u32) -> Option<u32> {
        let moved = self.rooms[index].members.swap_remove(position);
        self.mark(index);
        moved
    }

    fn mark(&mut self, index: u32) {
        let room = &mut self.rooms[index];
        if !room.news {
            room.news = true;
            self.news.push_back(index);
        }
    }

    /// Whether nobody is in the room, or about to be.
    pub fn is_deserted(&self, index: u32) -> bool {
        let room = &self.rooms[index];
        room.members.is_empty() && room.holds == 0
    }

    /// Forget a deserted room: its slot may be used again, by a room of another generation.
    pub fn forget(&mut self, index: u32) {
        debug_assert!(self.is_deserted(index));
        let hash = self.hasher.hash_one(&*self.rooms[index].name);
        self.index.remove(hash, |other| other == index);
        self.rooms.remove(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A room lives while it is held or has members, keeps every member's position right, and its slot comes back
    /// under a new generation.
    #[test]
    fn membership_and_reuse() {
        let mut rooms = Rooms::new();
        let mut position = vec![0u32; 3000];
        let index = rooms.hold("live://1");
        for slot in 0..3000u32 {
            assert_eq!(rooms.hold("live://1"), index);
            position[slot as usize] = rooms.join(index, slot);
        }
        rooms.let_go(index);
        let mut order: Vec<u32> = (0..3000).collect();
        order.reverse();
        order.rotate_left(1234);
        for slot in order {
            if let Some(moved) = rooms.leave(index, position[slot as usize]) {
                position[moved as usize] = position[slot as usize];
            }
            let members: Vec<u32> = rooms.peek(index).members.iter().collect();
            if members.len().is_multiple_of(100) {
                assert!(members.iter().all(|member| members[position[*member as usize] as usize] == *member));
            }
        }
        assert!(rooms.is_deserted(index));
        let old = rooms.reference(index);
        rooms.forget(index);
        assert_eq!(rooms.find(old), None);
        assert_eq!(rooms.hold("live://2"), index);
        assert_ne!(rooms.reference(index), old);
    }
}
