//! Who may be connected. Owns the places of one listener: how many there are, how many one address may hold, and who
//! leaves when somebody new comes and none is free. A few are kept for who asks how the process is. It closes nothing
//! itself. A [`Place`] tells its connection to leave, and whoever drives the connection ends it.
//!
//! Who leaves first: whose connection is being closed anyway, who asks nothing, then who has been idle longest, who is
//! slowest to say what he wants, to take his answer, to send his body. Who waits for us never leaves. While all are
//! within their time, the address that holds by far the most makes room for one that holds few.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::address::AddressBlock;
use crate::panics::ours;

/// How long a peer has for what it does, whoever waits: a connection that is younger in its phase is not made to leave.
pub const GRACE: Duration = Duration::from_secs(1);
/// How long a newcomer has for his first request: so long it may be on its way.
pub const NEW_GRACE: Duration = Duration::from_millis(50);
/// Connections that may say something before they leave; beyond it they leave at once, for each holds its descriptor
/// meanwhile.
const LAST_WORDS_MAX: usize = 64;

/// What a connection does now, in the order in which connections make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Everything is said; we wait for the peer to close.
    Linger,
    /// Before the first request.
    New,
    /// Between two requests.
    Idle,
    /// A request's header has begun.
    Head,
    /// The peer does not take its answer.
    Answer,
    /// A request's body has begun.
    Body,
    /// The peer waits for us.
    Work,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 7] =
        [Phase::Linger, Phase::New, Phase::Idle, Phase::Head, Phase::Answer, Phase::Body, Phase::Work];

    /// As metrics name it.
    pub const fn label(self) -> &'static str {
        match self {
            Phase::Linger => "linger",
            Phase::New => "new",
            Phase::Idle => "idle",
            Phase::Head => "head",
            Phase::Answer => "answer",
            Phase::Body => "body",
            Phase::Work => "work",
        }
    }
}

/// How long a phase lasts before it is a reason to leave.
const fn grace(phase: Phase) -> Duration {
    match phase {
        Phase::Linger | Phase::Idle => Duration::ZERO,
        Phase::New => NEW_GRACE,
        Phase::Head | Phase::Answer | Phase::Body | Phase::Work => GRACE,
    }
}

/// Bounds on the connections of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceLimits {
    /// Places for everybody.
    pub places_max: usize,
    /// Of them, those that one address may hold.
    pub per_address_max: usize,
    /// Places beside them, for who asks how the process is; a quarter of them, or one, for one address.
    pub kept: usize,
}

impl PlaceLimits {
    fn kept_per_address(self) -> usize {
        (self.kept / 4).max(1)
    }
}

/// The places of a listener; cheap to clone.
#[derive(Clone, Debug)]
pub struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: PlaceLimits,
    table: Mutex<Table>,
    freed: Notify,
    counts: Counts,
}

/// What happened to connections for want of places, since the start.
#[derive(Debug, Default)]
struct Counts {
    /// Made to leave, by phase.
    evicted: [AtomicU64; 7],
    /// Let in to the kept places only, or not at all, because one address had its share.
    address_full: AtomicU64,
    /// Let in to the kept places only, or later, because all places were taken.
    all_full: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    entries: Slab<Entry>,
    /// Places in use, kept ones apart; those who were told to leave hold none any more.
    used: usize,
    /// Keys of the entries in kept places, in the order in which they came.
    kept: VecDeque<usize>,
    /// Entries that may be made to leave, first ones first: phase, when they entered it, and who.
    order: BTreeSet<Turn>,
    addresses: HashMap<AddressBlock, Address>,
    /// Entries that were told to leave and are still there.
    leaving: usize,
    /// Somebody waits for a place.
    wanted: bool,
    /// Numbers entries into phases.
    next: u64,
}

/// Phase, number of its entry, slab key.
type Turn = (Phase, u64, usize);

#[derive(Debug, Default)]
struct Address {
    used: usize,
    order: BTreeSet<Turn>,
}

#[derive(Debug)]
struct Entry {
    address: AddressBlock,
    turn: Turn,
    since: Instant,
    kept: bool,
    leaving: bool,
    told: Arc<Told>,
}

/// Says that a connection must end.
#[derive(Debug, Default)]
struct Told {
    flag: AtomicBool,
    at_once: AtomicBool,
    wake: Notify,
}

/// A connection's place, given up when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    key: usize,
    kept: bool,
    told: Arc<Told>,
}

/// What came of asking for a place.
#[derive(Debug)]
pub enum Admission {
    /// A place like any other.
    Admitted(Place),
    /// A place like any other, which another connection left for it.
    Displacing(Place),
    /// One of the kept places: for who asks how the process is, and for nothing else.
    Kept(Place),
    /// None: its address holds all it may, and all of that is busy or within its time. Others are not to wait for it.
    Refused,
    /// None at all: wait for [`Places::freed`].
    Full,
}

impl Places {
    /// No connection yet, and these bounds on how many there may be.
    pub fn new(limits: PlaceLimits) -> Places {
        let (table, freed, counts) = (Mutex::default(), Notify::new(), Counts::default());
        Places(Arc::new(Inner { limits, table, freed, counts }))
    }

    /// A place for a new connection, if need be that of another one, which is told to leave.
    pub fn admit(&self, address: AddressBlock, now: Instant) -> Admission {
        let limits = self.0.limits;
        let mut table = self.table();
        let own = table.addresses.get(&address);
        let address_full = own.is_some_and(|own| own.used >= limits.per_address_max);
        let all_full = table.used >= limits.places_max;
        if address_full || all_full {
            let order = if address_full { own.map(|own| &own.order) } else { Some(&table.order) };
            let used = own.map_or(0, |own| own.used);
            let first = order.and_then(|order| table.first_of(order, now));
            let Some(key) = first.or_else(|| if address_full { None } else { table.first_of_most(used) }) else {
                return self.admit_kept(&mut table, address, now, address_full);
            };
            self.evict(&mut table, key);
            return Admission::Displacing(self.enter(&mut table, address, now, false));
        }
        Admission::Admitted(self.enter(&mut table, address, now, false))
    }

    fn admit_kept(&self, table: &mut Table, address: AddressBlock, now: Instant, address_full: bool) -> Admission {
        let limits = self.0.limits;
        let count = if address_full { &self.0.counts.address_full } else { &self.0.counts.all_full };
        let own = table.kept.iter().filter(|key| table.entries[**key].address == address).count();
        let own_full = own >= limits.kept_per_address();
        if table.kept.len() >= limits.kept || own_full {
            // Who asks how the process is says so at once: whoever came first and has not is the one to go.
            let slowest = table.kept.iter().copied().find(|key| {
                let entry = &table.entries[*key];
                let late = now.duration_since(entry.since) >= NEW_GRACE;
                entry.turn.0 != Phase::Work && if own_full { entry.address == address } else { late }
            });
            match slowest {
                Some(key) => self.evict(table, key),
                None if address_full || own_full => {
                    count.fetch_add(1, Ordering::Relaxed);
                    return Admission::Refused;
                }
                None => {
                    table.wanted = true;
                    return Admission::Full;
                }
            }
        }
        count.fetch_add(1, Ordering::Relaxed);
        Admission::Kept(self.enter(table, address, now, true))
    }

    fn enter(&self, table: &mut Table, address: AddressBlock, now: Instant, kept: bool) -> Place {
        let told = Arc::<Told>::default();
        let entry =
            Entry { address, turn: (Phase::Work, 0, 0), since: now, kept, leaving: false, told: Arc::clone(&told) };
        let key = table.entries.insert(entry);
        if kept {
            table.kept.push_back(key);
        } else {
            table.used += 1;
            table.addresses.entry(address).or_default().used += 1;
        }
        table.set_phase(key, Phase::New, now);
        Place { places: self.clone(), key, kept, told }
    }

    /// Tell a connection to leave; its place is free from now on.
    fn evict(&self, table: &mut Table, key: usize) {
        let phase = table.entries[key].turn.0;
        self.0.counts.evicted[phase as usize].fetch_add(1, Ordering::Relaxed);
        table.leave(key);
        table.leaving += 1;
        let told = &table.entries[key].told;
        told.at_once.store(table.leaving > LAST_WORDS_MAX, Ordering::Relaxed);
        told.flag.store(true, Ordering::Release);
        told.wake.notify_one();
    }

    /// Make the one leave that would be the first to, however young; false when everybody waits for us.
    pub fn make_room(&self) -> bool {
        let mut table = self.table();
        let first = table.order.first().map(|turn| turn.2);
        first.inspect(|&key| self.evict(&mut table, key)).is_some()
    }

    /// Resolves when a place was given up since the last call, or is, or when somebody may be made to leave for one.
    pub async fn freed(&self) {
        self.0.freed.notified().await;
    }

    /// Somebody waits for a place.
    pub fn count_waiting(&self) {
        self.0.counts.all_full.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were made to leave in this phase.
    pub fn evicted(&self, phase: Phase) -> u64 {
        self.0.counts.evicted[phase as usize].load(Ordering::Relaxed)
    }

    /// Connections let in to the kept places only, or later, or not at all: because their address had its share, and
    /// because all places were taken.
    pub fn turned_away(&self) -> (u64, u64) {
        let Counts { address_full, all_full, .. } = &self.0.counts;
        (address_full.load(Ordering::Relaxed), all_full.load(Ordering::Relaxed))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Who is first to leave, if he has had his time.
    fn first_of(&self, order: &BTreeSet<Turn>, now: Instant) -> Option<usize> {
        // Within a phase the oldest comes first, so one look at each phase is enough.
        let mut from = (Phase::Linger, 0, 0);
        while let Some(&(phase, _, key)) = order.range(from..).next() {
            let spared = now.duration_since(self.entries[key].since) < grace(phase);
            if !spared {
                return Some(key);
            }
            from = (phase, u64::MAX, usize::MAX);
        }
        None
    }

    /// When everybody is spared: who is first to leave of the address that holds most, if that is more than twice of
    /// what the newcomer's holds. Whoever is always new in his phase would never leave otherwise.
    fn first_of_most(&self, used: usize) -> Option<usize> {
        let most = self.addresses.values().max_by_key(|address| address.used)?;
        let first = most.order.first().map(|turn| turn.2);
        first.filter(|_| most.used > 2 * (used + 1))
    }

    fn set_phase(&mut self, key: usize, phase: Phase, now: Instant) {
        self.next += 1;
        let turn = (phase, self.next, key);
        let Entry { address, kept, leaving, .. } = self.entries[key];
        let entry = &mut self.entries[key];
        let before = std::mem::replace(&mut entry.turn, turn);
        entry.since = now;
        if kept || leaving {
            return;
        }
        let own = self.addresses.entry(address).or_default();
        for order in [&mut self.order, &mut own.order] {
            order.remove(&before);
            if phase != Phase::Work {
                order.insert(turn);
            }
        }
    }

    /// The entry holds no place any more.
    fn leave(&mut self, key: usize) {
        let Entry { address, turn, kept, leaving, .. } = self.entries[key];
        if leaving {
            return;
        }
        self.entries[key].leaving = true;
        if kept {
            self.kept.retain(|other| *other != key);
            return;
        }
        self.used -= 1;
        self.order.remove(&turn);
        if let Some(own) = self.addresses.get_mut(&address) {
            own.used -= 1;
            own.order.remove(&turn);
            if own.used == 0 {
                self.addresses.remove(&address);
            }
        }
    }
}

impl Place {
    /// Whether it is a kept one.
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// The connection does this from now on.
    pub fn enter(&self, phase: Phase) {
        let mut table = self.places.table();
        table.set_phase(self.key, phase, Instant::now());
        if phase != Phase::Work && std::mem::take(&mut table.wanted) {
            self.places.0.freed.notify_one();
        }
    }

    /// Whether the connection must end.
    pub fn is_evicted(&self) -> bool {
        self.told.flag.load(Ordering::Acquire)
    }

    /// Make a connection leave that lets us wait for its requests and has had its time: it holds what others need. Of
    /// this one's address alone, or else of the address that holds most places, or of any. Never this one.
    pub(super) fn end_one_that_stalls(&self, own_address: bool) {
        let now = Instant::now();
        let mut table = self.places.table();
        let address = table.entries[self.key].address;
        let first = |order: &BTreeSet<Turn>| {
            let slow = order.range((Phase::Answer, 0, 0)..).filter(|turn| turn.2 != self.key);
            slow.map(|turn| turn.2).find(|key| now.duration_since(table.entries[*key].since) >= GRACE)
        };
        let found = if own_address {
            table.addresses.get(&address).and_then(|own| first(&own.order))
        } else {
            let most = table.addresses.values().max_by_key(|address| address.used);
            most.and_then(|most| first(&most.order)).or_else(|| first(&table.order))
        };
        if let Some(key) = found {
            self.places.evict(&mut table, key);
        }
    }

    /// Whether a connection that must end may take a moment for it.
    pub fn may_have_last_words(&self) -> bool {
        !self.told.at_once.load(Ordering::Relaxed)
    }

    /// Resolves when the connection must end. One caller at a time.
    pub async fn evicted(&self) {
        while !self.is_evicted() {
            self.told.wake.notified().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        ours(|| {
            let mut table = self.places.table();
            if self.is_evicted() {
                table.leaving -= 1;
            }
            table.leave(self.key);
            table.entries.remove(self.key);
        });
        self.places.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
