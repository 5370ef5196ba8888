//! Whether a record may concern anybody here, known before it is decoded. Owns a fixed table of counters by the hash of
//! a name: of keys, users and rooms. Says "perhaps" of more records than it should (two names may have one counter),
//! and never "nobody" of a record for a name that is counted. Whoever keeps the names counts them; whoever reads the
//! log asks, on another thread.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU8, Ordering};

use super::look::Look;

/// A counter that has reached this stays: nobody knows any more when it would be 0.
const STUCK: u8 = u8::MAX;

/// Counters for each name that there may be: one in eight records for nobody then passes.
const COUNTERS_PER_NAME: usize = 8;
/// Bounds of the table: 64 KiB to 64 MiB.
const COUNTERS_MIN: usize = 1 << 16;
const COUNTERS_MAX: usize = 1 << 26;

/// Tells the names of one kind from the same names of another.
#[derive(Clone, Copy)]
enum Kind {
    Key = 0,
    Mid = 1,
    Room = 2,
}

/// Who is here, as far as a filter must know.
///
/// A name is raised before anybody outside can know that it is here (before the login or the change of room is
/// answered), and lowered after its entry is gone. A record for it that must arrive was published after that answer, so
/// its reader sees the raised counter: the answer, the publishing and the reading each come after the one before, and
/// `Release` here with `Acquire` there carry the counter along where a chain of rings and locks leads from one to the
/// other within the process; where it leads over sockets, no processor lets a write be seen by one core and, after
/// that core has told of it, not by another. A reader that sees a counter too late when it goes down lets a record pass
/// that then finds nobody.
#[derive(Debug)]
pub struct Interest {
    counters: Box<[AtomicU8]>,
    /// Seeded by chance: nobody outside can tell which names share a counter.
    seed: RandomState,
}

impl Interest {
    /// A table for about this many names, a byte for each counter. More names make it let more pass.
    pub fn new(names: usize) -> Interest {
        let counters = names.saturating_mul(COUNTERS_PER_NAME).clamp(COUNTERS_MIN, COUNTERS_MAX).next_power_of_two();
        Interest { counters: (0..counters).map(|_| AtomicU8::new(0)).collect(), seed: RandomState::new() }
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        self.counters.len()
    }

    /// A connection of this key is about to be announced.
    pub fn raise_key(&self, key: &str) {
        self.raise(Kind::Key, key.as_bytes());
    }

    /// It is gone. As often as it was raised.
    pub fn lower_key(&self, key: &str) {
        self.lower(Kind::Key, key.as_bytes());
    }

    /// A connection of this user is about to be announced.
    pub fn raise_mid(&self, mid: i64) {
        self.raise(Kind::Mid, &mid.to_le_bytes());
    }

    /// It is gone. As often as it was raised.
    pub fn lower_mid(&self, mid: i64) {
        self.lower(Kind::Mid, &mid.to_le_bytes());
    }

    /// A member of this room (full room key) is about to be announced.
    pub fn raise_room(&self, room: &str) {
        self.raise(Kind::Room, room.as_bytes());
    }

    /// It is gone. As often as it was raised.
    pub fn lower_room(&self, room: &str) {
        self.lower(Kind::Room, room.as_bytes());
    }

    /// Whether a record may concern anybody here. One that is malformed passes: its decoder says what is wrong.
    pub fn concerns(&self, look: &Look<'_>) -> bool {
        match look {
            Look::Everybody | Look::Malformed => true,
            Look::Room(room) => self.has(Kind::Room, room.as_bytes()),
            Look::Keys(keys) => keys.clone().any(|key| self.has(Kind::Key, key.as_bytes())),
            Look::Mids(mids) => mids.clone().any(|mid| self.has(Kind::Mid, &mid.to_le_bytes())),
        }
    }

    fn has(&self, kind: Kind, name: &[u8]) -> bool {
        self.counter(kind, name).load(Ordering::Acquire) != 0
    }

    fn raise(&self, kind: Kind, name: &[u8]) {
        self.change(kind, name, |count| count.checked_add(1));
    }

    fn lower(&self, kind: Kind, name: &[u8]) {
        self.change(kind, name, |count| {
            debug_assert_ne!(count, 0, "lowered more often than raised");
            if count == STUCK { None } else { count.checked_sub(1) }
        });
    }

    fn change(&self, kind: Kind, name: &[u8], change: impl Fn(u8) -> Option<u8>) {
        // Without a change there is nothing to say.
        let _ = self.counter(kind, name).fetch_update(Ordering::Release, Ordering::Relaxed, change);
    }

    fn counter(&self, kind: Kind, name: &[u8]) -> &AtomicU8 {
        let mut hasher = self.seed.build_hasher();
        hasher.write_u8(kind as u8);
        hasher.write(name);
        let hash = usize::try_from(hasher.finish()).unwrap_or_else(|_| unreachable!("64 bits"));
        // The table's length is a power of two.
        &self.counters[hash & (self.counters.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::{Push, PushRecord, Target};

    fn value(target: Target) -> bytes::Bytes {
        let push = Push { target, op: 5, body: bytes::Bytes::from_static(b"body") };
        PushRecord { push, server: String::new(), receipt: 0 }.encode()
    }

    fn concerns(interest: &Interest, target: Target) -> bool {
        interest.concerns(&Look::at(&value(target)))
    }

    fn keys(keys: &[&str]) -> Target {
        Target::Keys(keys.iter().map(|key| (*key).into()).collect())
    }

    /// A name counts from the first raise to the last lower, however often it came between.
    #[test]
    fn r10_a_name_counts_as_long_as_somebody_has_it() {
        let interest = Interest::new(1_000);
        assert!(!concerns(&interest, keys(&["k"])));
        for _ in 0..3 {
            interest.raise_key("k");
            interest.raise_mid(5);
            interest.raise_room("live://1");
        }
        for _ in 0..3 {
            assert!(concerns(&interest, keys(&["other", "k"])));
            assert!(concerns(&interest, Target::Mids(vec![4, 5])));
            assert!(concerns(&interest, Target::Room("live://1".into())));
            interest.lower_key("k");
            interest.lower_mid(5);
            interest.lower_room("live://1");
        }
        assert!(!concerns(&interest, keys(&["other", "k"])));
        assert!(!concerns(&interest, Target::Mids(vec![4, 5])));
        assert!(!concerns(&interest, Target::Room("live://1".into())));
    }

    /// A kind's names are not another's: op 5 of a broadcast, or user 5, is not key "5".
    #[test]
    fn r10_kinds_are_told_apart() {
        let interest = Interest::new(1_000);
        interest.raise_mid(5);
        assert!(concerns(&interest, Target::Mids(vec![5])));
        assert!(!concerns(&interest, keys(&["5", "\u{5}\0\0\0\0\0\0\0"])));
        assert!(!concerns(&interest, Target::Room("5".into())));
        interest.raise_key("room");
        assert!(!concerns(&interest, Target::Room("room".into())));
    }

    /// With nobody here a broadcast passes, and so does what the decoder must name; a push to no name at all does not.
    #[test]
    fn r10_broadcasts_pass() {
        let interest = Interest::new(1_000);
        assert!(concerns(&interest, Target::All { speed: 1 }));
        assert!(interest.concerns(&Look::at(&[0xff])));
        assert!(!concerns(&interest, keys(&[])));
    }

    /// A counter that reached its maximum stays, whatever is lowered.
    #[test]
    fn r10_a_full_counter_stays() {
        let interest = Interest::new(1_000);
        for _ in 0..300 {
            interest.raise_key("k");
        }
        for _ in 0..300 {
            interest.lower_key("k");
        }
        assert!(concerns(&interest, keys(&["k"])));
        let other = Interest::new(1_000);
        for _ in 0..254 {
            other.raise_key("k");
        }
        for _ in 0..254 {
            other.lower_key("k");
        }
        assert!(!concerns(&other, keys(&["k"])), "one below it does not");
    }

    /// As many names as were foretold let one record in eight pass, give or take, and each table has its own
    /// neighbours.
    #[test]
    fn r10_few_pass_for_nothing() {
        const NAMES: usize = 20_000;
        let passed = |interest: &Interest| -> Vec<usize> {
            (0..NAMES).filter(|number| interest.has(Kind::Key, format!("stranger{number}").as_bytes())).collect()
        };
        let tables = [Interest::new(NAMES), Interest::new(NAMES)];
        for table in &tables {
            assert_eq!(table.bytes(), 1 << 18);
            for number in 0..NAMES {
                table.raise_key(&number.to_string());
            }
            assert!((NAMES / 20..NAMES / 8).contains(&passed(table).len()), "{}", passed(table).len());
        }
        assert_ne!(passed(&tables[0]), passed(&tables[1]), "nobody can know who shares a counter");
    }

    /// The table's bounds hold, and its length is a power of two.
    #[test]
    fn the_table_is_bounded() {
        assert_eq!(Interest::new(0).bytes(), COUNTERS_MIN);
        assert_eq!(Interest::new(usize::MAX).bytes(), COUNTERS_MAX);
        assert_eq!(Interest::new(100_000).bytes(), 1 << 20);
    }
}
