//! First in, first out, of small things. Owns fixed segments, of which the emptied ones are used again: growing copies
//! one segment at most, and a queue that has once been long allocates nothing when it is so again.

use std::collections::VecDeque;

const SEGMENT_ITEMS: usize = 1024;

/// Items in the order in which they came. The first segment starts small, since most queues are.
#[derive(Debug)]
pub struct Queue<T> {
    /// At least one; only the last one has room, and only the only one may be empty.
    segments: VecDeque<Vec<T>>,
    /// Items of the first segment that are gone.
    gone: usize,
    spares: Vec<Vec<T>>,
    len: usize,
}

impl<T: Copy> Queue<T> {
    /// Without items; allocates for its list of segments only.
    pub fn new() -> Queue<T> {
        Queue { segments: VecDeque::from([Vec::new()]), gone: 0, spares: Vec::new(), len: 0 }
    }

    /// Items waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no item waits; emptied segments may be kept.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let items: usize = self.segments.iter().chain(&self.spares).map(Vec::capacity).sum();
        items * size_of::<T>() + (self.segments.capacity() + self.spares.capacity()) * size_of::<Vec<T>>()
    }

    /// The oldest.
    pub fn front(&self) -> Option<T> {
        self.segments.front()?.get(self.gone).copied()
    }

    /// Add the newest.
    pub fn push_back(&mut self, item: T) {
        self.len += 1;
        match self.segments.back_mut().filter(|last| last.len() < SEGMENT_ITEMS) {
            Some(last) => last.push(item),
            None => {
                let mut next = self.spares.pop().unwrap_or_else(|| Vec::with_capacity(SEGMENT_ITEMS));
                next.push(item);
                self.segments.push_back(next);
            }
        }
    }

    /// Take the oldest out.
    pub fn pop_front(&mut self) -> Option<T> {
        let item = self.front()?;
        self.gone += 1;
        self.len -= 1;
        if self.segments.front().is_some_and(|first| first.len() == self.gone) {
            self.gone = 0;
            if self.segments.len() == 1 {
                self.segments[0].clear();
            } else if let Some(mut emptied) = self.segments.pop_front() {
                emptied.clear();
                self.spares.push(emptied);
            }
        }
        Some(item)
    }
}

impl<T: Copy> Default for Queue<T> {
    fn default() -> Self {
        Queue::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items leave in the order in which they came, however pushes and pops alternate; memory is used again.
    #[test]
    fn order_is_kept_and_memory_comes_back() {
        let mut queue = Queue::new();
        let mut model = VecDeque::new();
        let mut random = 7_u32;
        for item in 0..200_000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Waves: for a while there are more pushes, then more pops.
            if (random >> 16) % 100 < if (item / 10_000) % 2 == 0 { 80 } else { 25 } {
                queue.push_back(item);
                model.push_back(item);
            } else {
                assert_eq!((queue.front(), queue.pop_front()), (model.front().copied(), model.pop_front()));
            }
            assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
        }
        let mut fill = || {
            (0..50_000).for_each(|item| queue.push_back(item));
            let bytes = queue.heap_bytes();
            while queue.pop_front().is_some() {}
            bytes
        };
        fill();
        assert_eq!(fill(), fill(), "another filling needs no more memory");
    }

    /// A queue that never held much takes little.
    #[test]
    fn a_short_queue_is_small() {
        let mut queue = Queue::<u32>::new();
        for round in 0..10_000 {
            queue.push_back(round);
            assert_eq!(queue.pop_front(), Some(round));
        }
        assert!(queue.heap_bytes() < 512, "{} bytes", queue.heap_bytes());
    }
}
