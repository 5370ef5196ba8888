//! What was left out and not told to the gateway yet. Owns the pending gaps, one for each reason, and how many there
//! were; each is handed over before anything that was read after it.

use std::collections::VecDeque;
use std::ops::Range;

use crate::gateways::{Gap, GapReason};

/// Gaps on their way to the gateway.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    pending: VecDeque<Gap>,
}

impl Gaps {
    /// These offsets are left out. What is pending for the same reason becomes one with it. Returns whether the gap is
    /// a new one.
    pub(super) fn add(&mut self, partition: i32, offsets: Range<i64>, why: GapReason) -> bool {
        let Some(gap) = self.pending.iter_mut().find(|gap| gap.why == why) else {
            self.pending.push_back(Gap { partitions: vec![(partition, offsets)], why });
            return true;
        };
        match gap.partitions.iter_mut().find(|(of, _)| *of == partition) {
            Some((_, known)) => *known = known.start.min(offsets.start)..offsets.end,
            None => gap.partitions.push((partition, offsets)),
        }
        false
    }

    /// Whether one waits.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The oldest.
    pub(super) fn take(&mut self) -> Option<Gap> {
        self.pending.pop_front()
    }
}
