//! From a hash to a place, without holding what was hashed. Owns a hash table in many parts, so that growing moves one
//! part and never the whole; the caller compares and re-hashes, because only it knows the names.

use hashbrown::HashTable;

/// Hashes to values of 32 bits, in `PARTS` parts, a power of two. Of ten million entries in 512 parts a growing part
/// moves about 20,000; an empty part takes 32 bytes.
#[derive(Debug)]
pub struct Index<V, const PARTS: usize = 512> {
    parts: Box<[HashTable<V>]>,
    entries: u64,
}

impl<V: Copy, const PARTS: usize> Index<V, PARTS> {
    /// Without values: takes 32 bytes a part.
    pub fn new() -> Index<V, PARTS> {
        const { assert!(PARTS.is_power_of_two()) };
        Index { parts: std::iter::repeat_with(HashTable::new).take(PARTS).collect(), entries: 0 }
    }

    /// Values in all parts.
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Whether no part holds a value.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let tables: usize = self.parts.iter().map(HashTable::allocation_size).sum();
        tables + size_of_val(&*self.parts)
    }

    /// The value with this hash for which `is` holds.
    pub fn get(&self, hash: u64, is: impl Fn(V) -> bool) -> Option<V> {
        self.parts[Self::part(hash)].find(hash, |&value| is(value)).copied()
    }

    /// Add a value that is not there; `rehash` gives the hash of any value that is.
    pub fn insert(&mut self, hash: u64, value: V, rehash: impl Fn(V) -> u64) {
        self.parts[Self::part(hash)].insert_unique(hash, value, |&value| rehash(value));
        self.entries += 1;
    }

    /// Put `to` in the place of the value for which `is` holds, if there is one. Both must have this hash.
    pub fn replace(&mut self, hash: u64, is: impl Fn(V) -> bool, to: V) {
        if let Some(value) = self.parts[Self::part(hash)].find_mut(hash, |&value| is(value)) {
            *value = to;
        }
    }

    /// Take the value for which `is` holds out.
    pub fn remove(&mut self, hash: u64, is: impl Fn(V) -> bool) {
        match self.parts[Self::part(hash)].find_entry(hash, |&value| is(value)) {
            Ok(entry) => {
                entry.remove();
                self.entries -= 1;
            }
            Err(_) => debug_assert!(false, "removed a value that is not in the index"),
        }
    }

    /// The part of a hash. Takes bits from the middle: the table itself tells its entries apart by the lowest bits and
    /// the top seven.
    fn part(hash: u64) -> usize {
        usize::try_from((hash >> 40) & (PARTS as u64 - 1)).expect("smaller than PARTS")
    }
}

impl<V: Copy, const PARTS: usize> Default for Index<V, PARTS> {
    fn default() -> Self {
        Index::new()
    }
}
