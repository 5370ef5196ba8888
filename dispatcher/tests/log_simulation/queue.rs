//! Virtual time: what happens when. Owns the order of events; those of one time happen in the order they were told.

use std::collections::BTreeMap;
use std::time::Duration;

pub struct Queue<E> {
    pub now: Duration,
    events: BTreeMap<(Duration, u64), E>,
    told: u64,
}

impl<E> Queue<E> {
    pub fn new() -> Queue<E> {
        Queue { now: Duration::ZERO, events: BTreeMap::new(), told: 0 }
    }

    /// Something happens after a while.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now + delay, event);
    }

    /// Something happens at a time, or now if that is over.
    pub fn at(&mut self, at: Duration, event: E) {
        self.told += 1;
        self.events.insert((at.max(self.now), self.told), event);
    }

    /// The next event; its time is now.
    pub fn next(&mut self) -> Option<E> {
        let ((at, _), event) = self.events.pop_first()?;
        self.now = at;
        Some(event)
    }
}
