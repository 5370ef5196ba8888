//! Things of shards, found by (shard, slot) and named by one 32-bit place. Owns fixed segments of cells, made when a
//! slot in them is first used and then kept; knows nothing of what the cells mean. A place stays valid as long as its
//! shard's slot is in use, so lists and indexes hold places instead of pointers.

/// Cells of one segment.
const SEGMENT_CELLS: u32 = 256;
const SEGMENT_BITS: u32 = SEGMENT_CELLS.trailing_zeros();
const SEGMENT_NONE: u32 = u32::MAX;

/// Where a cell is. [`Place::NONE`] is nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u32);

impl Place {
    /// Nowhere: the end of a list, or no place yet.
    pub const NONE: Place = Place(u32::MAX);

    /// `None` for nowhere.
    pub fn some(self) -> Option<Place> {
        (self != Place::NONE).then_some(self)
    }

    fn segment(self) -> usize {
        (self.0 >> SEGMENT_BITS) as usize
    }

    fn offset(self) -> usize {
        (self.0 % SEGMENT_CELLS) as usize
    }
}

/// The cells of all shards, each `T::default()` until written.
#[derive(Debug)]
pub(super) struct Slots<T> {
    segments: Vec<Segment<T>>,
    /// Per shard: index into `segments` by slot / [`SEGMENT_CELLS`].
    shards: Vec<Vec<u32>>,
}

#[derive(Debug)]
struct Segment<T> {
    cells: Box<[T]>,
    first_slot: u32,
    shard: u16,
}

impl<T: Default> Slots<T> {
    /// No cells, for this many shards.
    pub(super) fn new(shards: u16) -> Slots<T> {
        Slots { segments: Vec::new(), shards: vec![Vec::new(); usize::from(shards)] }
    }

    /// Where the cell of a slot is, if its segment exists.
    pub(super) fn place(&self, shard: u16, slot: u32) -> Option<Place> {
        let segment = *self.shards[usize::from(shard)].get((slot >> SEGMENT_BITS) as usize)?;
        (segment != SEGMENT_NONE).then(|| place(segment, slot))
    }

    /// Where the cell of a slot is; its segment is made if need be.
    ///
    /// # Panics
    /// Beyond 2³² cells, which no machine can hold connections for.
    pub(super) fn make_place(&mut self, shard: u16, slot: u32) -> Place {
        let table = &mut self.shards[usize::from(shard)];
        let index = (slot >> SEGMENT_BITS) as usize;
        if table.len() <= index {
            table.resize(index + 1, SEGMENT_NONE);
        }
        if table[index] == SEGMENT_NONE {
            let segment = u32::try_from(self.segments.len()).ok().filter(|&at| at < SEGMENT_NONE >> SEGMENT_BITS);
            table[index] = segment.expect("fewer than 2^32 connections");
            self.segments.push(Segment {
                cells: std::iter::repeat_with(T::default).take(SEGMENT_CELLS as usize).collect(),
                first_slot: slot - slot % SEGMENT_CELLS,
                shard,
            });
        }
        place(table[index], slot)
    }

    /// Memory held, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let cells = self.segments.len() * SEGMENT_CELLS as usize * size_of::<T>();
        let tables: usize = self.shards.iter().map(|table| table.capacity() * size_of::<u32>()).sum();
        cells + tables + self.segments.capacity() * size_of::<Segment<T>>()
    }

    /// The shard and slot of a place.
    pub(super) fn owner(&self, place: Place) -> (u16, u32) {
        let segment = &self.segments[place.segment()];
        (segment.shard, segment.first_slot + place.0 % SEGMENT_CELLS)
    }
}

impl<T> std::ops::Index<Place> for Slots<T> {
    type Output = T;

    fn index(&self, place: Place) -> &T {
        &self.segments[place.segment()].cells[place.offset()]
    }
}

impl<T> std::ops::IndexMut<Place> for Slots<T> {
    fn index_mut(&mut self, place: Place) -> &mut T {
        &mut self.segments[place.segment()].cells[place.offset()]
    }
}

fn place(segment: u32, slot: u32) -> Place {
    Place((segment << SEGMENT_BITS) | (slot % SEGMENT_CELLS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_leads_back_to_its_shard_and_slot() {
        let mut slots = Slots::<u64>::new(3);
        let wanted = [(0, 0), (2, 255), (2, 256), (0, 70_000), (1, 1), (2, 0)];
        for (n, &(shard, slot)) in wanted.iter().enumerate() {
            let place = slots.make_place(shard, slot);
            assert_eq!(slots[place], 0, "a cell must begin empty");
            slots[place] = n as u64 + 1;
        }
        for (n, &(shard, slot)) in wanted.iter().enumerate() {
            let place = slots.place(shard, slot).expect("was made");
            assert_eq!(slots.owner(place), (shard, slot));
            assert_eq!(slots[place], n as u64 + 1, "two slots share a cell");
        }
        assert_eq!(slots.place(1, 300), None, "no segment was made there");
        assert_eq!(slots.place(0, 1_000), None, "the gap below slot 70,000 must not be filled");
        assert_eq!(slots.segments.len(), 5);
    }
}
