//! Things without a slot of their own, named by a number. Owns fixed segments with a list through the free cells; never
//! moves what it holds, and never gives a segment back: what left makes room for what comes.

const NO_CELL: u32 = u32::MAX;

/// Numbered things, in segments of `CELLS`: few where the first segment is often the only one.
#[derive(Debug)]
pub struct Slab<T, const CELLS: usize = 256> {
    segments: Vec<Box<[Cell<T>]>>,
    free: u32,
    len: u32,
}

#[derive(Debug)]
enum Cell<T> {
    Free { next: u32 },
    Used(T),
}

impl<T, const CELLS: usize> Slab<T, CELLS> {
    /// Without things, and without a segment until the first one comes.
    pub fn new() -> Slab<T, CELLS> {
        Slab { segments: Vec::new(), free: NO_CELL, len: 0 }
    }

    /// Things in it, fewer than 2³² - 1.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether everything that came has left.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Numbers given so far, in use or not: all are below this.
    pub fn bound(&self) -> u32 {
        number(self.segments.len() * CELLS)
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.segments.len() * CELLS * size_of::<Cell<T>>() + self.segments.capacity() * size_of::<Box<[Cell<T>]>>()
    }

    /// Store a thing; returns its number.
    ///
    /// # Panics
    /// Beyond 2³² - 1 things.
    pub fn insert(&mut self, thing: T) -> u32 {
        if self.free == NO_CELL {
            let first = self.bound();
            let next = |at| if at + 1 == CELLS { NO_CELL } else { first + number(at) + 1 };
            self.segments.push((0..CELLS).map(|at| Cell::Free { next: next(at) }).collect());
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
        match self.segments.get(at as usize / CELLS)?.get(at as usize % CELLS)? {
            Cell::Used(thing) => Some(thing),
            Cell::Free { .. } => None,
        }
    }

    fn cell_mut(&mut self, at: u32) -> &mut Cell<T> {
        &mut self.segments[at as usize / CELLS][at as usize % CELLS]
    }
}

impl<T, const CELLS: usize> std::ops::Index<u32> for Slab<T, CELLS> {
    type Output = T;

    /// # Panics
    /// When the number is not in use.
    fn index(&self, at: u32) -> &T {
        self.get(at).expect("a number in use")
    }
}

impl<T, const CELLS: usize> std::ops::IndexMut<u32> for Slab<T, CELLS> {
    /// # Panics
    /// When the number is not in use.
    fn index_mut(&mut self, at: u32) -> &mut T {
        match self.cell_mut(at) {
            Cell::Used(thing) => thing,
            Cell::Free { .. } => unreachable!("a number in use"),
        }
    }
}

impl<T, const CELLS: usize> Default for Slab<T, CELLS> {
    fn default() -> Self {
        Slab::new()
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than 2^32 things")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is added later, what is in a slab stays where it is; what left makes room before anything grows.
    #[test]
    fn things_stay_where_they_are() {
        let mut slab = Slab::<u64, 4>::new();
        let first = slab.insert(7);
        let lies_at = std::ptr::from_ref(&slab[first]);
        let numbers: Vec<u32> = (0..100).map(|thing| slab.insert(thing)).collect();
        assert_eq!(std::ptr::from_ref(&slab[first]), lies_at);
        assert!(numbers.iter().zip(0..).all(|(&at, thing)| slab[at] == thing));
        let (bound, bytes) = (slab.bound(), slab.heap_bytes());
        for &at in &numbers {
            slab.remove(at);
        }
        assert_eq!((slab.len(), slab.get(numbers[50])), (1, None));
        for thing in 0..100 {
            slab.insert(thing);
        }
        assert_eq!((slab.bound(), slab.heap_bytes()), (bound, bytes));
    }
}
