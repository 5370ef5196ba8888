//! What a run decides by: one source of chance, replayed by its seed. Everything that a run decides is asked here, in
//! one order; nothing else in the simulation may be random.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Chance, replayed by its seed.
pub struct Chance(SmallRng);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(SmallRng::seed_from_u64(seed))
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// Whether something happens that happens so many times in a thousand.
    pub fn in_1000(&mut self, times: usize) -> bool {
        self.below(1000) < times
    }

    /// A number from `start` on and below `end`.
    pub fn between(&mut self, start: usize, end: usize) -> usize {
        start + self.below(end - start)
    }

    /// A time from `start_us` on and below `end_us`, both in microseconds.
    pub fn time(&mut self, start_us: u64, end_us: u64) -> Duration {
        Duration::from_micros(self.0.random_range(start_us..end_us))
    }

    /// One of several.
    pub fn pick<'o, T>(&mut self, options: &'o [T]) -> &'o T {
        &options[self.below(options.len())]
    }

    /// A seed for somebody else's chance.
    pub fn seed(&mut self) -> u64 {
        self.0.random()
    }
}
