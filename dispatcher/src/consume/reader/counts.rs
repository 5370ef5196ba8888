//! What a reader counts, and what it has to say. Owns both; whoever runs it shows the one and logs the other.

use std::collections::VecDeque;
use std::fmt;

use halley_service::metrics::histogram::{Bounds, Buckets};

use crate::bus::batch::Unreadable;
use crate::gateways::GapReason;

/// Of the time from a read's question to its answer, in microseconds.
pub const FETCH_BOUNDS: Bounds<8> =
    Bounds { upper: [500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000], per_named: 1_000_000 };

halley_service::counters! {
    /// Since the reader began.
    pub struct Counts {
        /// Questions about the topic.
        pub topology_asks: u64,
        /// Questions about the ends of partitions.
        pub edge_asks: u64,
        /// Reads.
        pub reads: u64,
        /// Bytes of batches that were answered and counted.
        pub bytes: u64,
        /// Batches that were answered and counted.
        pub batches: u64,
        /// Answers for a partition that came too late to count.
        pub late: u64,
        /// Questions that failed as a whole.
        pub failed: u64,
        /// Partitions that a source did not answer for.
        pub refused: u64,
        /// Gaps.
        pub gaps: u64,
        /// Records that are left out by gaps, as far as their number is known.
        pub gap_records: u64,
        /// Times that a partition's position went back because its log was cut off.
        pub truncated: u64,
        /// Offsets at which there was no record.
        pub missing: u64,
        /// Batches that could not be read and were skipped.
        pub unreadable: u64,
        /// The broker's own batches.
        pub control: u64,
        /// How long reads took that brought batches, by [`FETCH_BOUNDS`].
        pub fetch: Buckets<8>,
    }
}

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Records were left out.
    Gap(GapReason),
    /// A partition's log was cut off: what comes there now is new.
    Truncated {
        /// Which one.
        partition: i32,
        /// What was read up to.
        from: i64,
        /// Where it is read on.
        to: i64,
    },
    /// A batch cannot be read and was skipped.
    Unreadable {
        /// Of which partition.
        partition: i32,
        /// Its first offset that was not read.
        from: i64,
        /// Where it is read on.
        to: i64,
        /// What is wrong with it.
        why: Unreadable,
    },
    /// There are no records at some offsets. Said once.
    Missing {
        /// Of which partition.
        partition: i32,
        /// Below which offset.
        below: i64,
        /// How many.
        offsets: i64,
    },
    /// The topic has more partitions.
    Grown {
        /// So many it had.
        from: usize,
        /// So many it has.
        to: usize,
    },
    /// The topic was deleted and made again.
    NewTopic,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Gap(why) => write!(f, "records of the log were left out: {}", reason(*why)),
            Event::Truncated { partition, from, to } => write!(
                f,
                "the log of partition {partition} was cut off at offset {to}, it had been read up to {from}: an \
                 unclean election, or a broker that lost its disk"
            ),
            Event::Unreadable { partition, from, to, why } => {
                write!(f, "offsets {from} to {to} of partition {partition} cannot be read and are skipped: {why}")
            }
            Event::Missing { partition, below, offsets } => write!(
                f,
                "{offsets} offsets below {below} of partition {partition} hold no record: set cleanup.policy=delete on \
                 the topic; further ones are only counted"
            ),
            Event::Grown { from, to } => write!(
                f,
                "the topic has {to} partitions now, it had {from}: pushes to one name may be out of order around it"
            ),
            Event::NewTopic => f.write_str("the topic was deleted and made again: it is read from its beginning"),
        }
    }
}

fn reason(why: GapReason) -> &'static str {
    match why {
        GapReason::TooFarBehind => "this gateway was farther behind than it may catch up",
        GapReason::Retention => "the log no longer has them, raise retention.ms of the topic",
        GapReason::LostTail => "the log ends before what was read, it was cut off",
        GapReason::NewTopic => "the topic was deleted and made again",
        GapReason::StartedWithout => "this gateway began without a position, as start_without allows",
    }
}

/// Events kept until somebody takes them; more are dropped, all are counted.
const EVENTS_MAX: usize = 64;

/// What nobody was told yet.
#[derive(Debug, Default)]
pub(super) struct Events {
    waiting: VecDeque<Event>,
    missing_said: bool,
}

impl Events {
    pub(super) fn add(&mut self, event: Event) {
        if matches!(event, Event::Missing { .. }) && std::mem::replace(&mut self.missing_said, true) {
            return;
        }
        if self.waiting.len() < EVENTS_MAX {
            self.waiting.push_back(event);
        }
    }

    pub(super) fn take(&mut self) -> Option<Event> {
        self.waiting.pop_front()
    }
}
