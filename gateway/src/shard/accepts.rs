//! Which ops connections accept, stored once per distinct set: clients of one app all accept the same few. Owns the
//! sets and their reference counts; a connection holds a 4-byte id.

use std::hash::{BuildHasher, RandomState};

use crate::table::index::Index;
use crate::table::slab::Slab;

/// The empty set, which needs no reference.
pub const NO_ACCEPTS: u32 = 0;

/// Sets of one segment, and parts of their index: an app has few, but every connection may have its own.
const SEGMENT_SETS: usize = 64;
const INDEX_PARTS: usize = 64;

#[derive(Debug)]
struct Set {
    ops: Box<[i32]>,
    references: u32,
}

/// Sets of ops by number, equal ones once.
#[derive(Debug)]
pub struct AcceptSets {
    sets: Slab<Set, SEGMENT_SETS>,
    index: Index<u32, INDEX_PARTS>,
    hasher: RandomState,
}

impl AcceptSets {
    /// Only the empty set.
    pub fn new() -> AcceptSets {
        let mut sets = Slab::new();
        let none = sets.insert(Set { ops: Box::default(), references: 1 });
        debug_assert_eq!(none, NO_ACCEPTS);
        AcceptSets { sets, index: Index::new(), hasher: RandomState::new() }
    }

    /// The id of a set, given in any order and with repeats. The caller holds a reference.
    pub fn intern(&mut self, mut ops: Vec<i32>) -> u32 {
        ops.sort_unstable();
        ops.dedup();
        if ops.is_empty() {
            return NO_ACCEPTS;
        }
        let hash = self.hasher.hash_one(&ops[..]);
        if let Some(id) = self.index.get(hash, |id| *self.sets[id].ops == *ops) {
            self.sets[id].references += 1;
            return id;
        }
        let id = self.sets.insert(Set { ops: ops.into_boxed_slice(), references: 1 });
        let (sets, hasher) = (&self.sets, &self.hasher);
        self.index.insert(hash, id, |id| hasher.hash_one(&sets[id].ops[..]));
        id
    }

    /// Give a reference back.
    pub fn release(&mut self, id: u32) {
        if id == NO_ACCEPTS {
            return;
        }
        let set = &mut self.sets[id];
        set.references -= 1;
        if set.references == 0 {
            let hash = self.hasher.hash_one(&set.ops[..]);
            self.index.remove(hash, |other| other == id);
            self.sets.remove(id);
        }
    }

    /// The ops of a set, ascending.
    pub fn ops(&self, id: u32) -> &[i32] {
        &self.sets[id].ops
    }

    /// Whether a set holds an op.
    pub fn accepts(&self, id: u32, op: i32) -> bool {
        let ops = self.ops(id);
        if ops.len() <= 8 { ops.contains(&op) } else { ops.binary_search(&op).is_ok() }
    }
}

impl Default for AcceptSets {
    fn default() -> Self {
        AcceptSets::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal sets share an id whatever their order, and an id is used again once nobody holds it.
    #[test]
    fn sets_are_shared_and_freed() {
        let mut sets = AcceptSets::new();
        let a = sets.intern(vec![1002, 1000, 1000]);
        let b = sets.intern(vec![1000, 1002]);
        assert_eq!(a, b);
        assert!(sets.accepts(a, 1002) && !sets.accepts(a, 1001) && !sets.accepts(NO_ACCEPTS, 0));
        sets.release(a);
        assert_eq!(sets.ops(b), [1000, 1002]);
        sets.release(b);
        let c = sets.intern((0..100).collect());
        assert_eq!(c, a);
        assert!(sets.accepts(c, 99) && !sets.accepts(c, 100));
        assert_eq!(sets.intern(Vec::new()), NO_ACCEPTS);
    }
}
