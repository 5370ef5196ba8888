//! How old pushes are when a shard has queued them for its clients: the time from a push's record to the end of the
//! turn that took it, when the turn has flushed within its budget. Most sends are begun by then; those of connections
//! beyond [`crate::limits::FLUSH_SENDS_PER_TURN`], or behind a send that is under way or stalled, begin later and are
//! not waited for. Owns what is measured, once a push whatever its receivers; the clock is looked at once a turn at
//! most. One that is paced is measured when it begins.

use std::time::{Duration, Instant};

use crate::limits::INBOX_MESSAGES_PER_TURN;
use crate::mesh::msg::ShardTarget;

use super::stats::LATENCY_BOUNDS;
use super::{Application, Core};

/// Pushes of this turn that say when they were written; never more than a turn takes.
#[derive(Debug)]
pub(super) struct Latencies {
    noted: Vec<(Of, u32)>,
    timeless: u64,
    /// When the turn began, after the Unix epoch.
    wall: Duration,
    /// The same by the clock that measures the turn; none where time is handed in.
    began: Option<Instant>,
}

/// What a push was for.
#[derive(Clone, Copy, Debug)]
enum Of {
    Conns,
    Room,
    All,
}

impl Latencies {
    pub(super) fn new() -> Latencies {
        Latencies { noted: Vec::with_capacity(INBOX_MESSAGES_PER_TURN), timeless: 0, wall: Duration::ZERO, began: None }
    }

    /// A turn begins, so long after the Unix epoch.
    pub(super) fn turn_begins(&mut self, wall: Duration, began: Option<Instant>) {
        (self.wall, self.began) = (wall, began);
    }

    /// A push that was written then; 0 says nothing.
    pub(super) fn note(&mut self, target: &ShardTarget, written_ms: u32) {
        if written_ms == 0 {
            self.timeless += 1;
            return;
        }
        let of = match target {
            ShardTarget::Conn(_) | ShardTarget::Conns(_) => Of::Conns,
            ShardTarget::Room(_) => Of::Room,
            ShardTarget::All { .. } => Of::All,
        };
        self.noted.push((of, written_ms));
    }
}

impl<A: Application> Core<A> {
    /// The turn has flushed within its budget. A writer whose clock is ahead of ours has written just now.
    pub(super) fn measure_pushes(&mut self) {
        self.counts.pushes_timeless += std::mem::take(&mut self.latencies.timeless);
        if self.latencies.noted.is_empty() {
            return;
        }
        let since_epoch = self.latencies.wall + self.latencies.began.map_or(Duration::ZERO, |began| began.elapsed());
        let now_ms = u32::try_from(since_epoch.as_millis() & u128::from(u32::MAX)).unwrap_or_default();
        for (of, written_ms) in self.latencies.noted.drain(..) {
            let late_ms = u64::try_from(now_ms.wrapping_sub(written_ms).cast_signed()).unwrap_or(0);
            let buckets = match of {
                Of::Conns => &mut self.counts.latency_conns,
                Of::Room => &mut self.counts.latency_rooms,
                Of::All => &mut self.counts.latency_all,
            };
            buckets.record(&LATENCY_BOUNDS, late_ms);
        }
    }
}
