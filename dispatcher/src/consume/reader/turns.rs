//! What is handed over next. Owns the turns of partitions, and the positions that move as the gateway takes and answers
//! (rule R1). Whoever runs the reader reads the records of a batch, and calls back without waiting in between.

use std::time::Duration;

use crate::bus::batch::{Sound, Unreadable};
use crate::gateways::Gap;

use super::counts::Event;
use super::handovers::Upto;
use super::partition::{Open, Partition, PieceKind};
use super::state::{Reader, number};

/// A batch whose turn it is. What was read of it means nothing once [`Reader::is_current`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Which partition it is of.
    pub partition: i32,
    /// Of the partition, when it was taken.
    pub generation: u64,
    /// First offset that is wanted of it: records before were handed over already.
    pub from: i64,
    /// Offset behind it, to advance to when all of it was looked at.
    pub until: i64,
    /// The batch, whole and with a right checksum; no control batch.
    pub batch: Sound,
}

impl Reader {
    /// Whether there is something to hand over and the gateway may be given more.
    pub fn has_work(&self) -> bool {
        let may = self.handovers.len() < self.settings.handovers_max && self.memory.may_admit();
        let is_open = |partition: &Partition| partition.open.is_some();
        let has_turn = || self.turns.iter().any(|index| !self.is_skipping(*index));
        may && (self.gaps.is_pending() || has_turn() || self.partitions.iter().any(is_open))
    }

    /// What must be handed over before anything else: a gap, as a handover of its own.
    pub fn take_gap(&mut self) -> Option<Gap> {
        let gap = self.gaps.take()?;
        for (partition, _) in &gap.partitions {
            let known = self.index_of(*partition).map(|index| &self.partitions[index]);
            if let Some((next, generation)) = known.and_then(|of| Some((of.next?, of.generation))) {
                self.handovers.add(Upto { partition: *partition, generation, offset: next.offset });
            }
        }
        Some(gap)
    }

    /// The next batch; none while a gap is pending, and none of a partition that is about to go to its end. Read it to
    /// its end, or until it is not current any more, before the next is taken.
    pub fn take_batch(&mut self) -> Option<Batch> {
        if self.gaps.is_pending() {
            return None;
        }
        while let Some(turn) = self.turns.iter().position(|index| !self.is_skipping(*index)) {
            let Some(index) = self.turns.remove(turn) else { break };
            let Some(partition) = self.partitions.get_mut(index) else { continue };
            let Some(piece) = partition.buffer.pop_front() else {
                partition.queued = false;
                continue;
            };
            partition.queued = !partition.buffer.is_empty();
            if partition.queued {
                self.turns.push_back(index);
            }
            partition.open = Some(Open { next: piece.next, missing: piece.missing, answer: piece.answer });
            let generation = partition.generation;
            let (partition, from, until) = (number(index), piece.from, piece.next.offset);
            match piece.kind {
                PieceKind::Records(batch) => return Some(Batch { partition, generation, from, until, batch }),
                PieceKind::Control => self.counts.control += 1,
                PieceKind::Unreadable(why) => self.skipped(partition, from, until, why),
            }
            self.advance(partition, generation, until);
        }
        None
    }

    /// Whether what was taken of a partition still counts.
    pub fn is_current(&self, partition: i32, generation: u64) -> bool {
        self.index_of(partition).is_some_and(|index| self.partitions[index].generation == generation)
    }

    /// What was taken of a partition was looked at up to this offset, and goes into the next handover or concerns
    /// nobody. False, and without effect, if it does not count any more.
    pub fn advance(&mut self, partition: i32, generation: u64, offset: i64) -> bool {
        let Some(index) = self.index_of(partition).filter(|_| self.is_current(partition, generation)) else {
            return false;
        };
        let known = &mut self.partitions[index];
        let Some((next, open)) = known.next.as_mut().zip(known.open.as_ref()) else { return false };
        next.offset = next.offset.max(offset.min(open.next.offset));
        next.epoch = open.next.epoch;
        let (next, missing, is_read) = (next.offset, open.missing, offset >= open.next.offset);
        known.poison = known.poison.filter(|poison| *poison >= next);
        known.unread = known.unread.filter(|unread| *unread >= next);
        self.handovers.add(Upto { partition, generation, offset: next });
        if is_read {
            self.close(index);
            self.miss(partition, next, missing);
        }
        true
    }

    /// A batch with a right checksum cannot be read (rule R6): it is fetched once more, and skipped the second time.
    /// What was advanced over before stays read.
    pub fn unreadable(&mut self, now: Duration, batch: &Batch, why: Unreadable) {
        let Some(index) = self.index_of(batch.partition).filter(|_| self.is_current(batch.partition, batch.generation))
        else {
            return;
        };
        let Some(next) = self.partitions[index].next else { return };
        if self.partitions[index].unread == Some(next.offset) {
            self.skipped(batch.partition, next.offset, batch.until, why);
            self.advance(batch.partition, batch.generation, batch.until);
            return;
        }
        self.move_to(index, next);
        self.partitions[index].unread = Some(next.offset);
        self.retry_later(index, now, "a batch of it cannot be read, it is read again");
    }

    /// The batch that was taken takes so many bytes beside its answer while it is read; 0 when it is closed.
    pub fn inflated(&mut self, bytes: usize) {
        self.memory.inflate(bytes);
    }

    /// What was advanced over since the last call went to the gateway as one handover, of so many bytes.
    pub fn admitted(&mut self, bytes: usize) {
        self.handovers.went(bytes);
        self.memory.admit(bytes);
    }

    /// Of what was advanced over since the last call nothing concerned the gateway.
    pub fn nothing_admitted(&mut self) {
        for upto in self.handovers.went_nowhere() {
            self.done_up_to(upto);
        }
    }

    /// The gateway has answered the oldest handover that it had not.
    pub fn answered(&mut self) {
        let Some((bytes, upto)) = self.handovers.answered() else { return };
        self.memory.answered(bytes);
        for upto in upto {
            self.done_up_to(upto);
        }
    }

    /// Up to which offset a partition is done with; `None` before it has a position.
    pub fn done(&self, partition: i32) -> Option<i64> {
        let known: &Partition = &self.partitions[self.index_of(partition)?];
        known.next.map(|_| known.done)
    }

    /// The same of every partition that has a position.
    pub fn dones(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        let of = |(index, known): (usize, &Partition)| known.next.map(|_| (number(index), known.done));
        self.partitions.iter().enumerate().filter_map(of)
    }

    fn done_up_to(&mut self, upto: Upto) {
        let Some(index) = self.index_of(upto.partition) else { return };
        let partition = &mut self.partitions[index];
        if partition.generation == upto.generation {
            partition.done = partition.done.max(upto.offset);
            partition.marks.reached(partition.done);
        }
    }

    fn close(&mut self, index: usize) {
        if let Some(open) = self.partitions[index].open.take() {
            self.memory.release(open.answer);
        }
    }

    fn skipped(&mut self, partition: i32, from: i64, to: i64, why: Unreadable) {
        self.counts.unreadable += 1;
        self.events.add(Event::Unreadable { partition, from, to, why });
    }

    fn miss(&mut self, partition: i32, below: i64, offsets: i64) {
        if offsets > 0 {
            self.counts.missing = self.counts.missing.saturating_add(offsets.unsigned_abs());
            self.events.add(Event::Missing { partition, below, offsets });
        }
    }
}
