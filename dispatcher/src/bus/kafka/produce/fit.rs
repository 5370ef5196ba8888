//! How long the batches are that a broker takes. Owns the bound that refusals taught, and its slow way back up: topics
//! are given more room while we run. Knows no records. Next: [`super::partition`] fills batches up to it.

/// Batches that must be taken near the bound before a longer one is tried.
const TAKEN_MIN: u32 = 64;
/// The same after many longer ones were refused: each of those costs its pushes a pause.
const TAKEN_MAX: u32 = 4096;

/// The bound of one partition's batches, in bytes.
#[derive(Debug)]
pub(super) struct Fit {
    /// As configured: never more.
    bytes_max: usize,
    /// What its broker takes, as far as known.
    bytes: usize,
    /// Batches near the bound that were taken since it was last changed.
    taken: u32,
    /// As many are needed before it is doubled.
    needed: u32,
    /// It was doubled since a batch was last refused.
    is_grown: bool,
}

impl Fit {
    /// One that was taught nothing yet.
    pub(super) fn new(bytes_max: usize) -> Fit {
        Fit { bytes_max, bytes: bytes_max, taken: 0, needed: TAKEN_MIN, is_grown: false }
    }

    /// Bytes that a batch of more than one record may have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A batch of so many bytes is too long: half of it is tried. Where that was a try at more, the next one comes
    /// later.
    pub(super) fn refused(&mut self, bytes: usize) {
        self.bytes = (bytes / 2).min(self.bytes);
        self.taken = 0;
        if std::mem::take(&mut self.is_grown) {
            self.needed = (self.needed * 2).min(TAKEN_MAX);
        }
    }

    /// A batch of so many bytes was taken. Only one that fills more than half of the bound says anything of it.
    pub(super) fn taken(&mut self, bytes: usize) {
        if self.bytes >= self.bytes_max || bytes <= self.bytes / 2 {
            return;
        }
        self.taken += 1;
        if self.taken >= self.needed {
            self.bytes = self.bytes.saturating_mul(2).min(self.bytes_max);
            self.taken = 0;
            self.is_grown = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many full batches are taken by a broker of this bound until a longer one is tried.
    fn until_longer(fit: &mut Fit) -> u32 {
        let before = fit.bytes();
        (1..)
            .find(|_| {
                fit.taken(before);
                fit.bytes() > before
            })
            .expect("it grows")
    }

    /// What a refusal taught is unlearned step by step, as batches near the bound are taken, and never beyond the
    /// configured bound.
    #[test]
    fn the_bound_grows_back_slowly() {
        let mut fit = Fit::new(1000);
        fit.refused(900);
        fit.refused(440);
        assert_eq!(fit.bytes(), 220);
        (0..10_000).for_each(|_| fit.taken(110));
        assert_eq!(fit.bytes(), 220, "short batches say nothing of long ones");
        for expected in [440, 880, 1000] {
            assert_eq!(until_longer(&mut fit), TAKEN_MIN);
            assert_eq!(fit.bytes(), expected);
        }
        (0..10_000).for_each(|_| fit.taken(1000));
        assert_eq!(fit.bytes(), 1000);
    }

    /// A broker that goes on refusing is tried less and less often, up to a bound.
    #[test]
    fn refused_tries_become_rare() {
        let mut fit = Fit::new(1000);
        fit.refused(1000);
        let mut tries = Vec::new();
        for _ in 0..8 {
            tries.push(until_longer(&mut fit));
            fit.refused(1000);
        }
        assert_eq!(tries, [64, 128, 256, 512, 1024, 2048, 4096, 4096]);
    }
}
