//! Pauses that grow: between attempts at something that does not work. Owns the arithmetic; waits for nothing. The
//! jitter keeps many gateways from coming at the same moment.

use std::time::Duration;

use rand::Rng;

/// Hundredths by which a pause may be longer or shorter.
const JITTER_PERCENT: u32 = 20;

/// Doubling pauses between two bounds.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    /// The next pause, before jitter.
    next: Duration,
}

impl Backoff {
    /// Begin with `first`, never more than `longest` (and its jitter).
    pub fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, next: first }
    }

    /// It worked: begin anew.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait after one more failure.
    pub fn pause(&mut self, rng: &mut impl Rng) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = pause.saturating_mul(2).min(self.longest);
        pause * rng.random_range(100 - JITTER_PERCENT..=100 + JITTER_PERCENT) / 100
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    /// Pauses double up to the bound, give or take the jitter, and begin anew after a success.
    #[test]
    fn pauses_double_up_to_the_bound() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        for expected_ms in [50, 100, 200, 400, 800, 1000, 1000, 1000] {
            let pause = backoff.pause(&mut rng);
            let expected = Duration::from_millis(expected_ms);
            assert!(pause >= expected * 80 / 100 && pause <= expected * 120 / 100, "{pause:?} for {expected:?}");
        }
        backoff.reset();
        assert!(backoff.pause(&mut rng) <= Duration::from_millis(60));
    }

    /// Two that fail at once do not come back at once.
    #[test]
    fn pauses_differ() {
        let pause =
            |seed| Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).pause(&mut StdRng::seed_from_u64(seed));
        assert!((0..20).map(pause).collect::<std::collections::BTreeSet<_>>().len() > 10);
    }
}
