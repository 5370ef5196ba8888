//! Waiting after errors. Owns how many there were in a row; says how long to wait, and never less than the settings'
//! shortest wait.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;

use super::settings::Settings;

/// Doublings after which the wait is the longest in any case.
const DOUBLINGS_MAX: u32 = 16;

/// Errors in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more error: how long to wait, give or take a quarter, so that those who failed together do not come again
    /// together.
    pub(super) fn next(&mut self, settings: &Settings, rng: &mut SmallRng) -> Duration {
        let doubled = settings.backoff_min.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX));
        self.failures = self.failures.saturating_add(1);
        jittered(doubled.min(settings.backoff_max), rng)
    }

    /// One more error of those that only an operator can mend.
    pub(super) fn next_slow(&mut self, settings: &Settings, rng: &mut SmallRng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        jittered(settings.backoff_max.saturating_mul(10), rng)
    }

    /// It works.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Errors since it worked.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

fn jittered(wait: Duration, rng: &mut SmallRng) -> Duration {
    wait.mul_f64(rng.random_range(0.75..1.25))
}
