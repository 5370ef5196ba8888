//! The time by which reading is measured. Owns the choice of the clock: it goes on while the host sleeps, and nobody
//! sets it (rule S2).

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A clock: the time since some start that never changes.
pub type Clock = fn() -> Duration;

/// Time since the host was booted, sleep included.
pub fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The runtime's own clock, for a log that does not outlive the process: a test may set it.
pub fn runtime_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let start = *START;
    tokio::time::Instant::now().into_std().saturating_duration_since(start)
}
