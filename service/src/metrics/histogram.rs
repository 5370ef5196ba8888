//! How long things take, or how large they are: how many were no larger than each of a few bounds, and their sum.
//! Owns counting, which allocates nothing and takes no lock; [`super::Family::histogram`] writes it.

use std::array;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::counters::Number;

/// The bounds of a histogram, in whole units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds<const N: usize> {
    /// Ascending; each is the largest value that its bucket takes.
    pub upper: [u64; N],
    /// Units in one of what the metric is named for: 1,000,000 for microseconds where it is `_seconds`.
    pub per_named: u32,
}

impl<const N: usize> Bounds<N> {
    /// Units as they are written: in what the metric is named for.
    pub(super) fn shown(&self, units: u64) -> impl fmt::Display + use<N> {
        // Exact up to 2^53 units, which is 285 years of microseconds.
        units as f64 / f64::from(self.per_named)
    }

    /// The bucket that takes a value; `N` for one above all bounds.
    fn bucket(&self, value: u64) -> usize {
        self.upper.partition_point(|upper| *upper < value)
    }
}

/// Plain numbers: a thread's own copy, or what was read at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets<const N: usize> {
    /// Values that each bucket took, those of smaller ones not among them.
    pub counts: [u64; N],
    /// Values above all bounds.
    pub above: u64,
    /// All values together, in units.
    pub sum: u64,
}

impl<const N: usize> Default for Buckets<N> {
    fn default() -> Self {
        Buckets { counts: [0; N], above: 0, sum: 0 }
    }
}

impl<const N: usize> Buckets<N> {
    /// One more value, in units.
    pub fn record(&mut self, bounds: &Bounds<N>, value: u64) {
        *self.counts.get_mut(bounds.bucket(value)).unwrap_or(&mut self.above) += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.above
    }
}

/// What others may read. A thread with turns counts in [`Buckets`] of its own, which it publishes with its counters
/// ([`counters!`](crate::counters!)); where there are no turns, values are recorded here.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    counts: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Histogram { counts: array::from_fn(|_| AtomicU64::new(0)), above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    /// One more value, in units.
    pub fn record(&self, bounds: &Bounds<N>, value: u64) {
        self.counts.get(bounds.bucket(value)).unwrap_or(&self.above).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// The numbers of now. They may be a value apart from each other.
    pub fn read(&self) -> Buckets<N> {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Buckets { counts: array::from_fn(|at| read(&self.counts[at])), above: read(&self.above), sum: read(&self.sum) }
    }
}

impl<const N: usize> Number for Buckets<N> {
    type Shared = Histogram<N>;

    fn store(&self, shared: &Histogram<N>) {
        self.counts.iter().zip(&shared.counts).for_each(|(count, shared)| count.store(shared));
        self.above.store(&shared.above);
        self.sum.store(&shared.sum);
    }

    fn load(shared: &Histogram<N>) -> Buckets<N> {
        shared.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Exposition, Kind};

    const BOUNDS: Bounds<3> = Bounds { upper: [1_000, 2_500, 1_000_000], per_named: 1_000_000 };

    /// A value on a bound belongs below it, as Prometheus says; the buckets in the text hold those of smaller ones too.
    #[test]
    fn values_are_counted_up_to_each_bound() {
        let (shared, mut own) = (Histogram::default(), Buckets::default());
        for value in [0, 1_000, 1_001, 2_000_000] {
            shared.record(&BOUNDS, value);
            own.record(&BOUNDS, value);
        }
        assert_eq!(shared.read(), own);
        assert_eq!(own, Buckets { counts: [2, 1, 0], above: 1, sum: 2_002_001 });
        let published = Histogram::default();
        own.store(&published);
        assert_eq!(published.read(), own);
        let mut out = Exposition::default();
        out.family("wait_seconds", Kind::Histogram, "Waits.").histogram(&[("who", &"a")], &BOUNDS, &own);
        let text = "# HELP wait_seconds Waits.\n# TYPE wait_seconds histogram\n\
                    wait_seconds_bucket{who=\"a\",le=\"0.001\"} 2\nwait_seconds_bucket{who=\"a\",le=\"0.0025\"} 3\n\
                    wait_seconds_bucket{who=\"a\",le=\"1\"} 3\nwait_seconds_bucket{who=\"a\",le=\"+Inf\"} 4\n\
                    wait_seconds_sum{who=\"a\"} 2.002001\nwait_seconds_count{who=\"a\"} 4\n";
        assert_eq!(out.into_text(), text);
    }
}
