//! What a run decides by: chance, for runs of a seed, or the bytes of a tape, for runs that a fuzzer invents.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Acts of the longest tape that is worth its time.
const TAPE_ACTS_MAX: usize = 2_000;

/// Where decisions come from.
pub trait Choices {
    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize;

    /// Whether something happens that happens so many times in a hundred; on a tape that is over, it does not.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) >= 100 - percent
    }

    /// A number from `start` on and below `end`.
    fn between(&mut self, start: usize, end: usize) -> usize {
        start + self.below(end - start)
    }

    /// How many acts a run has at most.
    fn acts(&mut self) -> usize;

    /// Whether nothing is left to decide by.
    fn is_over(&self) -> bool;

    /// One of several.
    fn pick<'o, T>(&mut self, options: &'o [T]) -> &'o T {
        &options[self.below(options.len())]
    }
}

/// Chance, replayed by its seed.
pub struct Chance(SmallRng);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(SmallRng::seed_from_u64(seed))
    }
}

impl Choices for Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    fn acts(&mut self) -> usize {
        self.between(50, 300)
    }

    fn is_over(&self) -> bool {
        false
    }
}

/// The bytes of a fuzzer, one for a small number and two for others. What is read behind its end is 0.
pub struct Tape<'a> {
    rest: &'a [u8],
}

impl<'a> Tape<'a> {
    pub fn new(bytes: &'a [u8]) -> Tape<'a> {
        Tape { rest: bytes }
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    /// The next bytes as they are, as many as there are.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        bytes
    }
}

impl Choices for Tape<'_> {
    fn below(&mut self, end: usize) -> usize {
        let mut number = usize::from(self.byte());
        if end > 256 {
            number = number << 8 | usize::from(self.byte());
            // Numbers this large are lengths: what matters is whether they are small or as large as can be.
            return number * (end - 1) / 0xffff;
        }
        number % end
    }

    fn acts(&mut self) -> usize {
        TAPE_ACTS_MAX
    }

    fn is_over(&self) -> bool {
        self.rest.is_empty()
    }
}
