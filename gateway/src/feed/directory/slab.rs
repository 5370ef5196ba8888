//! Things without a slot of their own, named by a number. Owns fixed segments with a list through the free cells;
//! never moves what it holds.

const SEGMENT_CELLS: usize = 256;
const NO_CELL: u32 = u32::MAX;

/// Numbered things.
#[derive(Debug)]
pub struct Slab<T> {
    segments: Vec<Box<[Cell<T>]>>,
    free: u32,
    len: u32,
}

#[derive(Debug)]
enum Cell<T> {
    Free { next: u32 },
    Used(T),
}

impl<T> Slab<T> {
    /// Nothing.
    pub fn new() -> Slab<T> {
        Slab { segments: Vec::new(), free: NO_CELL, len: 0 }
    }

    /// How many.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Numbers given so far, in use or not: all are below this.
    pub fn bound(&self) -> u32 {
        number(self.segments.len() * SEGMENT_CELLS)
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.segments.len() * SEGMENT_CELLS * size_of::<Cell<T>>()
            + self.segments.capacity() * size_of::<Box<[Cell<T>]>>()
    }

    /// Store a thing; returns its number.
    ///
    /// # Panics
    /// Beyond 2³² - 1 things.
    pub fn insert(&mut self, thing: T) -> u32 {
        if self.free == NO_CELL {
            let first = self.bound();
            let next = |at| if at + 1 == SEGMENT_CELLS { NO_CELL } else { first + number(at) + 1 };
            self.segments.push((0..SEGMENT_CELLS).map(|at| Cell::Free { next: next(at) }).collect());
            self.free = first;
        }
        let at = self.free;
        let cell = self.cell_mut(at);
        if let Cell::Free { next } = *cell {
            *cell = Cell::Used(thing);
            self.free = next;
            self.len += 1;
        }
        at
    }

    /// Take a thing out; its number will be used again.
    pub fn remove(&mut self, at: u32) {
        let next = self.free;
        let cell = self.cell_mut(at);
        debug_assert!(matches!(cell, Cell::Used(_)), "removed twice");
        *cell = Cell::Free { next };
        self.free = at;
        self.len -= 1;
    }

    /// The thing with a number, if it is in use.
    pub fn get(&self, at: u32) -> Option<&T> {
        match self.segments.get(at as usize / SEGMENT_CELLS)?.get(at as usize % SEGMENT_CELLS)? {
            Cell::Used(thing) => Some(thing),
            Cell::Free { .. } => None,
        }
    }

    fn cell_mut(&mut self, at: u32) -> &mut Cell<T> {
        &mut self.segments[at as usize / SEGMENT_CELLS][at as usize % SEGMENT_CELLS]
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    /// # Panics
    /// When the number is not in use.
    fn index(&self, at: u32) -> &T {
        self.get(at).expect("a number in use")
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    /// # Panics
    /// When the number is not in use.
    fn index_mut(&mut self, at: u32) -> &mut T {
        match self.cell_mut(at) {
            Cell::Used(thing) => thing,
            Cell::Free { .. } => unreachable!("a number in use"),
        }
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than 2^32 things")
}
