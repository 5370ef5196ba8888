//! One partition as its reader knows it. Owns its two positions and its cursor (rules R1 and R2), the batches between
//! them, who leads it, and what is asked of it before it can be read on. Asks nobody itself.

use std::collections::VecDeque;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::bus::batch::{Damaged, Sound, Unreadable};
use crate::bus::log::{Edge, Leader, NO_EPOCH, Place};
use crate::gateways::GapReason;

use super::marks::Marks;
use super::memory::{AnswerId, Memory};

/// What a partition waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A position, at this edge.
    Place {
        /// Which.
        edge: Edge,
        /// What it is if the position is not the log's first offset.
        gap: Option<GapReason>,
    },
    /// Records.
    Read,
    /// Somebody said that the position is out of range: its leader must be found and asked (rule R3).
    Doubt(Doubt),
}

/// An out-of-range answer that nobody confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// Who said it, and in which epoch it was believed to lead.
    pub(super) by: Leader,
    /// The topic must be known by a later question than this.
    pub(super) after_topology: u64,
    /// The log's first offset, once the leader named it.
    pub(super) start: Option<Place>,
}

/// What lies between the position and the cursor.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// First offset that is wanted of it.
    pub(super) from: i64,
    /// Where to read on behind it.
    pub(super) next: Place,
    /// Offsets that hold no record.
    pub(super) missing: i64,
    /// The answer whose memory it keeps.
    pub(super) answer: AnswerId,
    /// What to do with it.
    pub(super) kind: PieceKind,
}

#[derive(Clone, Debug)]
pub(super) enum PieceKind {
    /// A batch of records.
    Records(Sound),
    /// The broker's own batch.
    Control,
    /// A batch that was damaged twice.
    Unreadable(Unreadable),
}

/// A batch that was taken out to be read.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) next: Place,
    pub(super) missing: i64,
    pub(super) answer: AnswerId,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) leader: Option<Leader>,
    /// The newest epoch that anybody named: who leads in an older one is not believed.
    pub(super) newest_epoch: i32,
    pub(super) phase: Phase,
    /// Where the gateway's intake has it; `None` before there is a position.
    pub(super) next: Option<Place>,
    /// Up to here the gateway has answered.
    pub(super) done: i64,
    /// Up to here it was fetched.
    pub(super) cursor: Place,
    /// Changes when `next` and `cursor` move together: what was asked or taken before means nothing then.
    pub(super) generation: u64,
    pub(super) high_watermark: i64,
    pub(super) log_start: i64,
    pub(super) marks: Marks,
    pub(super) buffer: VecDeque<Piece>,
    pub(super) open: Option<Open>,
    /// Whether it is in the list of partitions with something to hand over.
    pub(super) queued: bool,
    pub(super) backoff: Backoff,
    /// Asked nothing before.
    pub(super) not_before: Duration,
    /// A batch at this offset was found damaged once.
    pub(super) poison: Option<i64>,
    /// What was damaged behind it in the same answer, until an answer has none to be read again.
    pub(super) poison_behind: Vec<Damaged>,
    /// Records from this offset on could not be read once, in a batch that is whole. Apart from the one above: a
    /// damaged batch may follow, and each would make the other a first one again.
    pub(super) unread: Option<i64>,
    /// Out-of-range answers in a row at one place.
    pub(super) doubts: u32,
    /// When it was last read with success.
    pub(super) heard: Duration,
    /// Since when it is not tried again to leave out what it lacks, until it is heard of.
    pub(super) skipped: Option<Duration>,
    /// How long this process stood still since it last heard where the partition ends.
    pub(super) stood: Duration,
    /// Why it is not read, while that is so.
    pub(super) trouble: Option<&'static str>,
}

impl Partition {
    /// One whose position is to be found.
    pub(super) fn new(phase: Phase, generation: u64, marks: Marks, now: Duration) -> Partition {
        Partition {
            leader: None,
            newest_epoch: NO_EPOCH,
            phase,
            next: None,
            done: 0,
            cursor: Place { offset: 0, epoch: NO_EPOCH },
            generation,
            high_watermark: 0,
            log_start: 0,
            marks,
            buffer: VecDeque::new(),
            open: None,
            queued: false,
            backoff: Backoff::default(),
            not_before: Duration::ZERO,
            poison: None,
            poison_behind: Vec::new(),
            unread: None,
            doubts: 0,
            heard: now,
            skipped: None,
            stood: Duration::ZERO,
            trouble: None,
        }
    }

    /// The leader of a newer epoch, or of the same one, is believed; returns whether it changed.
    pub(super) fn learn_leader(&mut self, leader: Option<Leader>) -> bool {
        match leader {
            Some(leader) if leader.epoch < self.newest_epoch => false,
            Some(new) => {
                self.newest_epoch = new.epoch;
                self.leader.replace(new) != Some(new)
            }
            None => self.leader.take().is_some(),
        }
    }

    /// Position and cursor move together (rule R2): nothing that was fetched before counts.
    pub(super) fn move_to(&mut self, place: Place, generation: u64, memory: &mut Memory) {
        self.drop_fetched(memory);
        self.generation = generation;
        self.next = Some(place);
        self.cursor = place;
        self.phase = Phase::Read;
    }

    /// The position is void and must be found anew.
    pub(super) fn void(&mut self, phase: Phase, generation: u64, memory: &mut Memory) {
        self.drop_fetched(memory);
        self.generation = generation;
        self.next = None;
        self.phase = phase;
        self.newest_epoch = NO_EPOCH;
        self.leader = None;
        self.high_watermark = 0;
        self.marks.cut(i64::MIN);
        self.poison = None;
        self.poison_behind.clear();
        self.unread = None;
        self.doubts = 0;
    }

    /// Whether this batch was found damaged before: at the same place, or behind it in the same answer.
    pub(super) fn was_damaged(&self, cursor: i64, damaged: &Damaged) -> bool {
        self.poison == Some(cursor) || self.poison_behind.contains(damaged)
    }

    /// Give up what was fetched and not handed over.
    pub(super) fn drop_fetched(&mut self, memory: &mut Memory) {
        for piece in self.buffer.drain(..) {
            memory.release(piece.answer);
        }
        if let Some(open) = self.open.take() {
            memory.release(open.answer);
        }
    }

    /// Offset of the first record that is not in the gateway's intake, 0 without a position.
    pub(super) fn next_offset(&self) -> i64 {
        self.next.map_or(0, |next| next.offset)
    }

    /// Records below the known end that are not in the gateway's intake.
    pub(super) fn lag(&self) -> u64 {
        let next = self.next.map_or(self.high_watermark, |next| next.offset);
        u64::try_from(self.high_watermark.saturating_sub(next)).unwrap_or(0)
    }

    /// How long what was not handed over waits at most.
    pub(super) fn age(&self, now: Duration) -> Duration {
        self.marks.since(self.next_offset()).map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// How long what the gateway has not answered for waits at most.
    pub(super) fn age_of_done(&self, now: Duration) -> Duration {
        self.marks.since(self.done).map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// It was read with success.
    pub(super) fn heard(&mut self, now: Duration) {
        self.heard = now;
        self.backoff.reset();
        self.doubts = 0;
        self.trouble = None;
    }
}
