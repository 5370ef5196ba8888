//! What a reader of the log is bounded by. Owns the bounds, their units and what they are when nobody says otherwise.

use std::time::Duration;

use crate::backoff::Pauses;
use crate::bus::log::Edge;

/// [`Settings::memory_bytes`] of the log inside the process.
pub const EMBEDDED_MEMORY_BYTES: usize = 16 * 1024 * 1024;
/// [`Settings::handovers_max`] where nobody says otherwise.
pub const HANDOVERS_MAX: usize = 64;

/// The part of a wait by which it may be shorter or longer.
const JITTER: f64 = 0.25;

/// Bounds and habits of a [`Reader`](super::Reader).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where a partition is read from that was there when the reader began: the end, except in a log that nobody else
    /// fills before. A partition that is added later is read from its start.
    pub start: Edge,
    /// How long the first positions may take before whoever runs the reader gives up; zero waits for ever.
    pub start_timeout: Duration,
    /// After [`Settings::start_timeout`] begin without the positions that are missing, as a gap, instead of giving up.
    pub start_without: bool,
    /// Bytes of answers under way, batches that wait, the one that is inflated, and records that the gateway has not
    /// answered for. At the bound nothing more is read. One batch more may come, whatever its size.
    pub memory_bytes: usize,
    /// Bytes of batches wanted of one source at a time.
    pub read_bytes_max: u32,
    /// Bytes of batches wanted of one partition at a time.
    pub partition_bytes_max: u32,
    /// How long a source with nothing new waits before it says so.
    pub read_wait: Duration,
    /// Least time between two reads of one source.
    pub fetch_interval: Duration,
    /// Time between two looks at the topic.
    pub topology_interval: Duration,
    /// Wait after the first error of a row; each further one doubles it.
    pub backoff_min: Duration,
    /// Longest wait after an error. Errors that only an operator can mend wait ten times as long.
    pub backoff_max: Duration,
    /// A reader that is farther behind goes to the end of the log and leaves the rest out; [`Duration::MAX`] never.
    pub catchup_max: Duration,
    /// The same in records, over all partitions; [`u64::MAX`] never.
    pub catchup_records_max: u64,
    /// Bytes read a second from partitions that are behind; 0 for no bound.
    pub catchup_bytes_per_second: u64,
    /// Above this age the reader is not ready. Above half of [`Settings::catchup_max`] it is not either.
    pub ready_age_max: Duration,
    /// Handovers that the gateway may have and not have answered for.
    pub handovers_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            start: Edge::End,
            start_timeout: Duration::ZERO,
            start_without: false,
            memory_bytes: 64 * 1024 * 1024,
            read_bytes_max: 8 * 1024 * 1024,
            partition_bytes_max: 1024 * 1024,
            read_wait: Duration::from_millis(500),
            fetch_interval: Duration::ZERO,
            topology_interval: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            catchup_max: Duration::from_secs(60),
            catchup_records_max: 1_000_000,
            catchup_bytes_per_second: 0,
            ready_age_max: Duration::from_secs(5),
            handovers_max: HANDOVERS_MAX,
        }
    }
}

impl Settings {
    /// How long to wait after errors.
    pub(super) fn pauses(&self) -> Pauses {
        Pauses { first: self.backoff_min, longest: self.backoff_max, jitter: JITTER }
    }

    /// How long to wait after errors that only an operator can mend.
    pub(super) fn slow_pauses(&self) -> Pauses {
        self.pauses().even(self.backoff_max.saturating_mul(10))
    }

    /// For a log inside this process, which ends with it: read from its start, never left out of, and never asked twice
    /// for what it does not have. Its batches are in memory already: few are held beside it.
    pub fn embedded() -> Settings {
        Settings {
            start: Edge::Start,
            memory_bytes: EMBEDDED_MEMORY_BYTES,
            read_wait: Duration::MAX,
            catchup_max: Duration::MAX,
            catchup_records_max: u64::MAX,
            ..Settings::default()
        }
    }

    /// The age at which the reader is not ready any more.
    pub(super) fn age_max(&self) -> Duration {
        self.ready_age_max.min(self.catchup_max / 2)
    }
}
