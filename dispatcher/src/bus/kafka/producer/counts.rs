//! What the producer counts. Owns the numbers and the bounds of its times; gives them no names.

use halley_service::counters::Counter;
use halley_service::metrics::histogram::{Bounds, Histogram};

/// Bounds of produce times, in microseconds: 250 µs to 16 s.
pub const PRODUCE_US: Bounds<17> = Bounds {
    upper: [
        250, 500, 1_000, 2_000, 3_000, 5_000, 8_000, 12_000, 20_000, 35_000, 60_000, 120_000, 250_000, 1_000_000,
        4_000_000, 8_000_000, 16_000_000,
    ],
    per_named: 1_000_000,
};

/// What was done, all ascending.
#[derive(Debug, Default)]
pub struct ProduceCounts {
    /// Requests that carried batches.
    pub requests: Counter,
    /// Batches that were appended.
    pub batches: Counter,
    /// Records that were appended.
    pub records: Counter,
    /// Batches that were sent again.
    pub retries: Counter,
    /// Producer ids that were asked for.
    pub identities: Counter,
    /// From a push's admission to its success, in microseconds.
    pub times: Histogram<17>,
}
