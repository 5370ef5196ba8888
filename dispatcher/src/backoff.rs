//! Pauses that grow: between attempts at something that does not work. Owns the doubling, the jitter and the count of
//! failures in a row; keeps no time and waits for nothing. Jitter keeps those who failed together from coming back
//! together.

use std::time::Duration;

use rand::Rng;

/// Doublings after which no pause grows any more, whatever it begins with.
const DOUBLINGS_MAX: u32 = 16;

/// The bounds of pauses, before jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pauses {
    /// After the first failure of a row.
    pub(crate) first: Duration,
    /// However many there were.
    pub(crate) longest: Duration,
    /// The part of a pause by which it may be shorter or longer.
    pub(crate) jitter: f64,
}

impl Pauses {
    /// Pauses of this length that do not grow, with the same jitter.
    pub(crate) fn even(self, pause: Duration) -> Pauses {
        Pauses { first: pause, longest: pause, ..self }
    }

    /// The pause after this many failures in a row (from 1): doubled each time up to the longest, then a little
    /// shorter or longer.
    pub(crate) fn after(self, failures: u32, rng: &mut impl Rng) -> Duration {
        let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
        let pause = self.first.saturating_mul(1 << doublings).min(self.longest);
        pause.mul_f64(rng.random_range(1.0 - self.jitter..1.0 + self.jitter))
    }
}

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure: how long to wait.
    pub(crate) fn next(&mut self, pauses: Pauses, rng: &mut impl Rng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        pauses.after(self.failures, rng)
    }

    /// It works: begin anew.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since it worked.
    pub(crate) fn failures(self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    /// Pauses double, end at the longest, and differ.
    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let mut random = SmallRng::seed_from_u64(1);
        let pauses = Pauses { first: Duration::from_millis(100), longest: Duration::from_secs(1), jitter: 0.2 };
        for (failures, expected) in [(0, 100), (1, 100), (2, 200), (4, 800), (5, 1000), (u32::MAX, 1000)] {
            let expected = Duration::from_millis(expected);
            let some: Vec<Duration> = (0..100).map(|_| pauses.after(failures, &mut random)).collect();
            assert!(some.iter().all(|pause| *pause >= expected.mul_f64(0.79) && *pause <= expected.mul_f64(1.21)));
            assert!(some.iter().any(|pause| *pause < expected) && some.iter().any(|pause| *pause > expected));
        }
    }

    /// Failures in a row are counted, and begin anew after a success.
    #[test]
    fn failures_in_a_row_count_until_it_works() {
        let mut random = SmallRng::seed_from_u64(1);
        let pauses = Pauses { first: Duration::from_millis(50), longest: Duration::from_secs(1), jitter: 0.2 };
        let mut backoff = Backoff::default();
        for expected_ms in [50, 100, 200, 400, 800, 1000, 1000, 1000] {
            let (pause, expected) = (backoff.next(pauses, &mut random), Duration::from_millis(expected_ms));
            assert!(pause >= expected.mul_f64(0.79) && pause <= expected.mul_f64(1.21), "{pause:?} for {expected:?}");
        }
        assert_eq!(backoff.failures(), 8);
        backoff.reset();
        assert!(backoff.next(pauses, &mut random) <= Duration::from_millis(60));
        assert_eq!(backoff.failures(), 1);
    }

    /// Pauses that do not grow are as long after many failures as after one, give or take the jitter.
    #[test]
    fn even_pauses_do_not_grow() {
        let (mut random, mut backoff) = (SmallRng::seed_from_u64(1), Backoff::default());
        let growing = Pauses { first: Duration::from_millis(50), longest: Duration::from_secs(1), jitter: 0.2 };
        let pauses = growing.even(Duration::from_secs(10));
        assert!(
            (0..20).all(|_| backoff.next(pauses, &mut random).abs_diff(pauses.first) <= pauses.first.mul_f64(0.21))
        );
    }
}
