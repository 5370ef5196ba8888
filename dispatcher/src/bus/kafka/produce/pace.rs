//! How long to wait after a failure. Owns the doubling and the jitter; keeps no time.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;

/// Doublings after which no pause grows any more, whatever it begins with.
const DOUBLINGS_MAX: u32 = 16;

/// The pause after this many failures in a row (from 1): doubled each time up to `pause_max`, then up to a fifth less
/// or more, so that those who failed together do not come back together.
pub(super) fn pause(failures: u32, pause_first: Duration, pause_max: Duration, random: &mut SmallRng) -> Duration {
    let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
    let pause = pause_first.saturating_mul(1 << doublings).min(pause_max);
    pause.mul_f64(random.random_range(0.8..1.2))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    /// Pauses double, end at the longest, and differ.
    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let mut random = SmallRng::seed_from_u64(1);
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        for (failures, expected) in [(0, 100), (1, 100), (2, 200), (4, 800), (5, 1000), (u32::MAX, 1000)] {
            let expected = Duration::from_millis(expected);
            let some: Vec<Duration> = (0..100).map(|_| pause(failures, first, longest, &mut random)).collect();
            assert!(some.iter().all(|pause| *pause >= expected.mul_f64(0.79) && *pause <= expected.mul_f64(1.21)));
            assert!(some.iter().any(|pause| *pause < expected) && some.iter().any(|pause| *pause > expected));
        }
    }
}
