//! Who is logged in where. Owns the entry of each login, at the place of its (shard, slot), and two indexes of chains
//! through them: by key and by mid, oldest login first. Decides no limit (`super` does) and writes to no ring.
//!
//! One login costs 40 bytes here, its key's bytes, and 5.7 to 11.4 bytes in each index it is in (both, with a mid): 88
//! to 99 bytes for a 36-byte key and a mid, when the shard's slots are used densely. A source address costs 30 to 36
//! bytes more, once for all logins from it. Nothing shrinks: what left makes room for what comes. (`tests::memory`
//! measures it.)

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use halley_protocol::push::interest::Interest;

use crate::mesh::msg::{ConnRef, Login};
use crate::table::index::Index;

use super::addresses::Addresses;
use super::entry::{DirectoryEntry, Select};
use super::names::{Name, Names};
use super::slots::{Place, Slots};

const NO_ADDRESS: u32 = u32::MAX;
const NO_CELL: u32 = u32::MAX;

/// Which chain of an entry.
#[derive(Clone, Copy, Debug)]
enum By {
    Key = 0,
    Mid = 1,
}

/// One login. The shard and slot follow from its place.
#[derive(Debug)]
struct Entry {
    mid: i64,
    /// Neighbours in the chains of [`By`], both circular: the oldest login's `previous` is the newest.
    chains: [Link; 2],
    generation: u32,
    /// With `key_bytes` a [`Name`]; `NO_CELL` when nobody is logged in at this slot.
    key_cell: u32,
    address: u32,
    key_bytes: u16,
    port: u16,
}

const _: () = assert!(size_of::<Entry>() == 40);

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: Place,
    next: Place,
}

impl Default for Entry {
    fn default() -> Self {
        let nowhere = Link { previous: Place::NONE, next: Place::NONE };
        Entry {
            mid: 0,
            chains: [nowhere; 2],
            generation: 0,
            key_cell: NO_CELL,
            address: NO_ADDRESS,
            key_bytes: 0,
            port: 0,
        }
    }
}

impl Entry {
    fn key(&self) -> Name {
        Name { cell: self.key_cell, bytes: self.key_bytes }
    }

    fn is_used(&self) -> bool {
        self.key_cell != NO_CELL
    }
}

/// All logins of all shards.
#[derive(Debug)]
pub struct Logins {
    entries: Slots<Entry>,
    names: Names,
    /// Oldest login of each key, and of each mid.
    indexes: [Index<Place>; 2],
    addresses: Addresses,
    hasher: RandomState,
    per_shard: Vec<u32>,
    /// Told of the first login of each key and mid before anybody else hears of it, and of the last one's end.
    pub(super) interest: Option<Arc<Interest>>,
}

impl Logins {
    /// Nobody, on this many shards.
    pub fn new(shards: u16) -> Logins {
        Logins {
            entries: Slots::new(shards),
            names: Names::default(),
            indexes: [Index::new(), Index::new()],
            addresses: Addresses::new(),
            hasher: RandomState::new(),
            per_shard: vec![0; usize::from(shards)],
            interest: None,
        }
    }

    /// Logins of each shard.
    pub fn per_shard(&self) -> &[u32] {
        &self.per_shard
    }

    /// Logins of all shards together.
    pub fn count(&self) -> u64 {
        self.per_shard.iter().map(|&logins| u64::from(logins)).sum()
    }

    /// Distinct keys.
    pub fn keys(&self) -> u64 {
        self.indexes[By::Key as usize].len()
    }

    /// Distinct mids above 0.
    pub fn mids(&self) -> u64 {
        self.indexes[By::Mid as usize].len()
    }

    /// Distinct source addresses.
    pub fn addresses(&self) -> u64 {
        self.addresses.len()
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let indexes: usize = self.indexes.iter().map(Index::heap_bytes).sum();
        self.entries.heap_bytes() + self.names.heap_bytes() + indexes + self.addresses.heap_bytes()
    }

    /// The login at a slot, whatever its generation.
    pub fn at_slot(&self, shard: u16, slot: u32) -> Option<Place> {
        self.entries.place(shard, slot).filter(|&place| self.entries[place].is_used())
    }

    /// The login of exactly this connection.
    pub fn find(&self, shard: u16, conn: ConnRef) -> Option<Place> {
        self.at_slot(shard, conn.slot).filter(|&place| self.entries[place].generation == conn.generation)
    }

    /// Logins of a key, oldest first.
    pub fn of_key(&self, key: &str) -> Chain<'_> {
        let first = self.indexes[By::Key as usize].get(hash_key(&self.hasher, key.as_bytes()), |place| {
            self.names.bytes(self.entries[place].key()) == key.as_bytes()
        });
        Chain { logins: self, by: By::Key, first, next: first }
    }

    /// Logins of a mid, oldest first; nobody for 0 and below.
    pub fn of_mid(&self, mid: i64) -> Chain<'_> {
        let first = (mid > 0)
            .then(|| {
                self.indexes[By::Mid as usize].get(hash_mid(&self.hasher, mid), |place| self.entries[place].mid == mid)
            })
            .flatten();
        Chain { logins: self, by: By::Mid, first, next: first }
    }

    /// The shard and connection of a login.
    pub fn conn(&self, place: Place) -> (u16, ConnRef) {
        let (shard, slot) = self.entries.owner(place);
        (shard, ConnRef { slot, generation: self.entries[place].generation })
    }

    /// The mid of a login.
    pub fn mid(&self, place: Place) -> i64 {
        self.entries[place].mid
    }

    /// The logins that are meant, oldest first.
    pub fn select(&self, select: &Select) -> Chain<'_> {
        match select {
            Select::Key(key) => self.of_key(key),
            Select::Mid(mid) => self.of_mid(*mid),
        }
    }

    /// Whether a login is among those meant.
    pub fn is_meant(&self, place: Place, select: &Select) -> bool {
        let entry = &self.entries[place];
        match select {
            Select::Key(key) => self.names.bytes(entry.key()) == key.as_bytes(),
            Select::Mid(mid) => entry.mid == *mid && *mid > 0,
        }
    }

    /// Everything about a login.
    pub fn describe(&self, place: Place) -> DirectoryEntry {
        let (shard, conn) = self.conn(place);
        let entry = &self.entries[place];
        let peer =
            (entry.address != NO_ADDRESS).then(|| SocketAddr::new(self.addresses.address(entry.address), entry.port));
        DirectoryEntry { shard, conn, key: self.names.text(entry.key()), mid: entry.mid, peer }
    }

    /// Store a login as the newest of its key and mid. The slot must be free of others. `None`, and nothing stored,
    /// when the key is longer than any shard lets through.
    pub fn insert(&mut self, shard: u16, conn: ConnRef, login: &Login) -> Option<Place> {
        debug_assert!(self.at_slot(shard, conn.slot).is_none(), "the slot's last login is still there");
        let name = self.names.store(&login.key)?;
        let place = self.entries.make_place(shard, conn.slot);
        self.entries[place] = Entry {
            mid: login.mid,
            generation: conn.generation,
            key_cell: name.cell,
            key_bytes: name.bytes,
            address: login.peer.map_or(NO_ADDRESS, |peer| self.addresses.enter(peer.ip())),
            port: login.peer.map_or(0, |peer| peer.port()),
            ..Entry::default()
        };
        let elders = self.of_key(&login.key).first;
        self.append(By::Key, place, elders);
        if login.mid > 0 {
            let elders = self.of_mid(login.mid).first;
            self.append(By::Mid, place, elders);
        }
        self.per_shard[usize::from(shard)] += 1;
        Some(place)
    }

    /// Forget a login.
    pub fn remove(&mut self, place: Place) {
        self.unlink(By::Key, place);
        if self.entries[place].mid > 0 {
            self.unlink(By::Mid, place);
        }
        let entry = std::mem::take(&mut self.entries[place]);
        self.names.release(entry.key());
        if entry.address != NO_ADDRESS {
            self.addresses.leave(entry.address);
        }
        let (shard, _) = self.entries.owner(place);
        self.per_shard[usize::from(shard)] -= 1;
    }

    fn link(&mut self, by: By, place: Place) -> &mut Link {
        &mut self.entries[place].chains[by as usize]
    }

    fn append(&mut self, by: By, place: Place, elders: Option<Place>) {
        let Some(oldest) = elders else {
            *self.link(by, place) = Link { previous: place, next: place };
            let Logins { entries, names, hasher, indexes, .. } = self;
            let hash = |place| hash(by, hasher, names, &entries[place]);
            indexes[by as usize].insert(hash(place), place, hash);
            self.tell(by, place, Interest::raise_key, Interest::raise_mid);
            return;
        };
        let newest = self.link(by, oldest).previous;
        *self.link(by, place) = Link { previous: newest, next: oldest };
        self.link(by, newest).next = place;
        self.link(by, oldest).previous = place;
    }

    /// Tell those who look for names before a push is decoded.
    fn tell(&self, by: By, place: Place, key: fn(&Interest, &str), mid: fn(&Interest, i64)) {
        let Some(interest) = &self.interest else { return };
        let entry = &self.entries[place];
        match by {
            By::Key => key(interest, std::str::from_utf8(self.names.bytes(entry.key())).expect("stored as a text")),
            By::Mid => mid(interest, entry.mid),
        }
    }

    fn unlink(&mut self, by: By, place: Place) {
        let hash = hash(by, &self.hasher, &self.names, &self.entries[place]);
        let Link { previous, next } = *self.link(by, place);
        if next == place {
            self.indexes[by as usize].remove(hash, |other| other == place);
            self.tell(by, place, Interest::lower_key, Interest::lower_mid);
            return;
        }
        self.link(by, previous).next = next;
        self.link(by, next).previous = previous;
        // Only the oldest is in the index; where `place` is not, there is nothing to replace.
        self.indexes[by as usize].replace(hash, |other| other == place, next);
    }
}

fn hash(by: By, hasher: &RandomState, names: &Names, entry: &Entry) -> u64 {
    match by {
        By::Key => hash_key(hasher, names.bytes(entry.key())),
        By::Mid => hash_mid(hasher, entry.mid),
    }
}

fn hash_key(hasher: &RandomState, key: &[u8]) -> u64 {
    hasher.hash_one(key)
}

fn hash_mid(hasher: &RandomState, mid: i64) -> u64 {
    hasher.hash_one(mid)
}

/// Logins of one key or mid, oldest first.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    logins: &'a Logins,
    by: By,
    first: Option<Place>,
    next: Option<Place>,
}

impl Iterator for Chain<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let place = self.next?;
        let next = self.logins.entries[place].chains[self.by as usize].next;
        self.next = (Some(next) != self.first).then_some(next);
        Some(place)
    }
}
