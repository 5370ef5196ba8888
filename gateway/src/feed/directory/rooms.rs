//! Which shards have which rooms, and how many members. Owns the presence of a room in each shard (at the place of its
//! (shard, slot)), the sums over the shards, and the list of presences whose shard does not know the latest sum of the
//! others yet. Knows no member: only shards do. A room whose last shard closed it is forgotten.
//!
//! A room costs 20 bytes, its name's, 5.7 to 11.4 in the index, and 24 for each shard that has it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use halley_protocol::push::interest::Interest;

use crate::mesh::msg::RoomRef;
use crate::table::index::Index;
use crate::table::queue::Queue;
use crate::table::slab::Slab;

use super::names::{Name, Names};
use super::slots::{Place, Slots};

const NO_ROOM: u32 = u32::MAX;

/// A room in the gateway.
#[derive(Debug)]
struct Room {
    name: Name,
    /// Head of the list of presences, of which there is at most one per shard.
    first: Place,
    members: u32,
}

/// A room in one shard.
#[derive(Debug)]
struct Presence {
    generation: u32,
    /// `NO_ROOM` when the shard's slot is free.
    room: u32,
    members: u32,
    /// Members elsewhere, as the shard was last told.
    told: u32,
    next: Place,
    /// In the list of `Rooms::stale`, also while the slot is free, so that no place is listed twice.
    listed: bool,
}

impl Default for Presence {
    fn default() -> Self {
        Presence { generation: 0, room: NO_ROOM, members: 0, told: 0, next: Place::NONE, listed: false }
    }
}

/// A shard that has a room open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomAt {
    /// Its index.
    pub shard: u16,
    /// The room there.
    pub room: RoomRef,
    /// Members there, 0 while the first is on its way.
    pub members: u32,
}

/// A count that a shard has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleCount {
    /// Index of the shard to tell.
    pub shard: u16,
    /// The room there.
    pub room: RoomRef,
    /// Members on the other shards.
    pub others: u32,
}

/// All rooms of all shards.
#[derive(Debug)]
pub struct Rooms {
    rooms: Slab<Room>,
    presences: Slots<Presence>,
    names: Names,
    index: Index<u32>,
    hasher: RandomState,
    stale: Queue<Place>,
    peopled: u64,
    /// Told of each room before any shard hears that it is known, and of its end.
    pub(super) interest: Option<Arc<Interest>>,
}

impl Rooms {
    /// None, on this many shards.
    pub fn new(shards: u16) -> Rooms {
        Rooms {
            rooms: Slab::new(),
            presences: Slots::new(shards),
            names: Names::default(),
            index: Index::new(),
            hasher: RandomState::new(),
            stale: Queue::new(),
            peopled: 0,
            interest: None,
        }
    }

    /// Rooms that a shard has open.
    pub fn opened(&self) -> u64 {
        u64::from(self.rooms.len())
    }

    /// Rooms with members.
    pub fn peopled(&self) -> u64 {
        self.peopled
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.rooms.heap_bytes()
            + self.presences.heap_bytes()
            + self.names.heap_bytes()
            + self.index.heap_bytes()
            + self.stale.heap_bytes()
    }

    /// The shards that have a room open, in no order.
    pub fn find(&self, name: &str) -> impl Iterator<Item = RoomAt> + '_ {
        let mut next = self.number(name).map_or(Place::NONE, |room| self.rooms[room].first);
        std::iter::from_fn(move || {
            let place = next.some()?;
            next = self.presences[place].next;
            Some(self.at(place))
        })
    }

    /// A shard opened a room; returns its members on the other shards, which the shard is to be told now. What the
    /// slot held before is closed.
    pub fn open(&mut self, shard: u16, room: RoomRef, name: &str, members: u32) -> u32 {
        if let Some(place) = self.used(shard, room.slot) {
            self.close(place);
        }
        let Some(number) = self.number(name).or_else(|| self.make(name)) else { return 0 };
        let place = self.presences.make_place(shard, room.slot);
        let others = self.rooms[number].members;
        let presence = &mut self.presences[place];
        *presence = Presence {
            generation: room.generation,
            room: number,
            members: 0,
            told: others,
            next: self.rooms[number].first,
            listed: presence.listed,
        };
        self.rooms[number].first = place;
        self.count(place, members);
        others
    }

    /// The room's members in one shard changed.
    pub fn update(&mut self, shard: u16, room: RoomRef, members: u32) {
        if let Some(place) = self.place(shard, room) {
            self.count(place, members);
        }
    }

    /// A shard closed a room.
    pub fn leave(&mut self, shard: u16, room: RoomRef) {
        if let Some(place) = self.place(shard, room) {
            self.close(place);
        }
    }

    /// The next shard that has to be told a count, without taking it off the list.
    pub fn stale(&mut self) -> Option<StaleCount> {
        while let Some(place) = self.stale.front() {
            let presence = &self.presences[place];
            if presence.room != NO_ROOM {
                let others = self.rooms[presence.room].members - presence.members;
                if others != presence.told {
                    let RoomAt { shard, room, .. } = self.at(place);
                    return Some(StaleCount { shard, room, others });
                }
            }
            self.unlist();
        }
        None
    }

    /// The count that [`Rooms::stale`] gave is told.
    pub fn told(&mut self, count: &StaleCount) {
        if let Some(place) = self.unlist() {
            self.presences[place].told = count.others;
        }
    }

    /// Keep the count that [`Rooms::stale`] gave for later, after all others.
    pub fn postpone(&mut self) {
        if let Some(place) = self.stale.pop_front() {
            self.stale.push_back(place);
        }
    }

    /// Shards that may have to be told a count.
    pub fn stale_len(&self) -> usize {
        self.stale.len()
    }

    /// Append the rooms with members among the next `steps`, beginning with number `from`; returns where to go on,
    /// `None` at the end.
    pub fn list(&self, from: u32, steps: u32, found: &mut Vec<(String, u32)>) -> Option<u32> {
        let end = from.saturating_add(steps).min(self.rooms.bound());
        for room in (from..end).filter_map(|number| self.rooms.get(number)).filter(|room| room.members > 0) {
            found.push((self.names.text(room.name), room.members));
        }
        (end < self.rooms.bound()).then_some(end)
    }

    fn number(&self, name: &str) -> Option<u32> {
        let is = |room: u32| self.names.bytes(self.rooms[room].name) == name.as_bytes();
        self.index.get(self.hasher.hash_one(name.as_bytes()), is)
    }

    fn make(&mut self, name: &str) -> Option<u32> {
        let stored = self.names.store(name)?;
        let room = self.rooms.insert(Room { name: stored, first: Place::NONE, members: 0 });
        let Rooms { rooms, names, index, hasher, .. } = self;
        let hash = |room: u32| hasher.hash_one(names.bytes(rooms[room].name));
        index.insert(hash(room), room, hash);
        self.interest.iter().for_each(|interest| interest.raise_room(name));
        Some(room)
    }

    fn used(&self, shard: u16, slot: u32) -> Option<Place> {
        self.presences.place(shard, slot).filter(|&place| self.presences[place].room != NO_ROOM)
    }

    fn place(&self, shard: u16, room: RoomRef) -> Option<Place> {
        self.used(shard, room.slot).filter(|&place| self.presences[place].generation == room.generation)
    }

    fn at(&self, place: Place) -> RoomAt {
        let (shard, slot) = self.presences.owner(place);
        let presence = &self.presences[place];
        RoomAt { shard, room: RoomRef { slot, generation: presence.generation }, members: presence.members }
    }

    fn count(&mut self, place: Place, members: u32) {
        let presence = &mut self.presences[place];
        let before = std::mem::replace(&mut presence.members, members);
        if before == members {
            return;
        }
        let room = &mut self.rooms[presence.room];
        let was_peopled = room.members > 0;
        // Members are connections, of which there are fewer than 2^32 in all shards.
        room.members = room.members - before + members;
        self.peopled = self.peopled + u64::from(room.members > 0) - u64::from(was_peopled);
        let mut other = room.first;
        while let Some(at) = other.some() {
            let presence = &mut self.presences[at];
            other = presence.next;
            if at != place && !std::mem::replace(&mut presence.listed, true) {
                self.stale.push_back(at);
            }
        }
    }

    fn close(&mut self, place: Place) {
        self.count(place, 0);
        let presence = &mut self.presences[place];
        let (number, next) = (presence.room, presence.next);
        *presence = Presence { listed: presence.listed, ..Presence::default() };
        let mut before = self.rooms[number].first;
        if before == place {
            self.rooms[number].first = next;
        } else {
            while self.presences[before].next != place {
                before = self.presences[before].next;
            }
            self.presences[before].next = next;
        }
        if self.rooms[number].first == Place::NONE {
            let name = self.rooms[number].name;
            self.index.remove(self.hasher.hash_one(self.names.bytes(name)), |other| other == number);
            if let Some(interest) = &self.interest {
                interest.lower_room(std::str::from_utf8(self.names.bytes(name)).expect("stored as a text"));
            }
            self.names.release(name);
            self.rooms.remove(number);
        }
    }

    fn unlist(&mut self) -> Option<Place> {
        let place = self.stale.pop_front()?;
        self.presences[place].listed = false;
        Some(place)
    }
}
