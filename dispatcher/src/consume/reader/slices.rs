//! What a source answers to a read. Owns which answers count (rule R2), how far each goes (rule R5), going back where a
//! log was cut off (rule R4), what is read twice because it was damaged (rule R6), and what a refusal leads to.

use std::time::Duration;

use bytes::Bytes;

use crate::bus::batch::{Batches, Damaged, Sound};
use crate::bus::log::{Leader, NO_EPOCH, Place, Refusal, Slice};

use super::asks::Asked;
use super::counts::Event;
use super::memory::AnswerId;
use super::partition::{Doubt, Phase, Piece, PieceKind};
use super::state::{Reader, number};

/// What an answer is worth as news.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// What it says was so at this time.
    pub(super) at: Duration,
    /// Asked after this process had last stood still.
    pub(super) is_fresh: bool,
}

/// Damaged batches kept of one answer, to be known at the second look: as many as are skipped without a third.
const DAMAGED_MAX: usize = 256;

/// What one slice brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Batches, or a refusal: the next question is another one.
    Some,
    /// Nothing new.
    None,
}

impl Reader {
    /// A source answered a read in which it said what it had `seen`. Returns whether it brought anything.
    pub(super) fn heard_read(
        &mut self,
        now: Duration,
        seen: Seen,
        asked: Vec<Asked>,
        mut slices: Vec<(i32, Result<Slice, Refusal>)>,
    ) -> bool {
        let sizes = slices.iter().filter_map(|(_, slice)| slice.as_ref().ok()).map(|slice| slice.batches.len());
        let answer = self.memory.hold(sizes.sum());
        let mut progress = false;
        for (order, asked) in asked.into_iter().enumerate() {
            let found = slices.iter().position(|(of, _)| *of == asked.partition);
            let slice = found.map(|at| slices.swap_remove(at).1);
            let Some(index) = self.index_of(asked.partition) else { continue };
            let partition = &self.partitions[index];
            let counts = partition.generation == asked.generation
                && partition.cursor.offset == asked.offset
                && partition.phase == Phase::Read;
            if !counts {
                self.counts.late += 1;
                progress = true;
                continue;
            }
            progress |= match slice {
                Some(Ok(slice)) => self.heard_slice(index, now, seen, slice, answer, order == 0) == Progress::Some,
                Some(Err(refusal)) => {
                    self.refused(index, now, refusal, asked.of);
                    true
                }
                None => {
                    self.counts.refused += 1;
                    self.retry_later(index, now, "its leader did not answer for it");
                    true
                }
            };
        }
        self.memory.settle(answer);
        progress
    }

    fn heard_slice(
        &mut self,
        index: usize,
        now: Duration,
        seen: Seen,
        slice: Slice,
        answer: AnswerId,
        is_first: bool,
    ) -> Progress {
        let bytes = slice.batches.len();
        let partition = &mut self.partitions[index];
        partition.high_watermark = slice.high_watermark;
        partition.log_start = slice.log_start;
        let stood = if seen.is_fresh { std::mem::take(&mut partition.stood) } else { Duration::ZERO };
        partition.marks.note(slice.high_watermark, seen.at.saturating_sub(stood));
        let before = partition.cursor.offset;
        self.counts.bytes += u64::try_from(bytes).unwrap_or(0);
        let (is_whole, skipped) = self.walk(index, slice.batches, answer);
        let went_on = self.partitions[index].cursor.offset > before;
        if skipped {
            // It goes on: the next damaged batch is not the worse for it.
            self.partitions[index].backoff.reset();
        }
        if !is_whole {
            self.retry_later(index, now, "a batch of it is damaged, it is read again");
        } else if went_on || bytes == 0 {
            self.partitions[index].heard(now);
            self.pace_catching_up(index, now, bytes);
        } else if is_first {
            // The first one comes whole, however long it is: this source would be asked the same for ever.
            self.retry_later(index, now, "its leader answers with nothing that goes on");
        }
        if went_on || !is_whole { Progress::Some } else { Progress::None }
    }

    /// Queues the batches of an answer, up to one that is damaged and must be read again. Returns whether there was
    /// none such, and whether one was skipped.
    fn walk(&mut self, index: usize, batches: Bytes, answer: AnswerId) -> (bool, bool) {
        let mut batches = Batches::new(batches);
        let mut following = batches.next();
        let mut skipped = false;
        while let Some(found) = following.take() {
            following = batches.next();
            let partition = &mut self.partitions[index];
            let (cursor, end) = (partition.cursor.offset, partition.high_watermark);
            match in_place(found.check(), cursor, end) {
                Ok(sound) if sound.batch().header.next_offset() <= cursor => {}
                Ok(sound) => self.keep(index, sound, answer),
                Err(damaged) if partition.was_damaged(cursor, &damaged) && cursor < end => {
                    let behind = following.clone().and_then(|batch| in_place(batch.check(), cursor, end).ok());
                    let behind = behind.map(|sound| sound.batch().header.base_offset);
                    self.keep_unreadable(index, damaged, behind, answer);
                    skipped = true;
                }
                Err(_) => {
                    // Those behind it come again with it, and have then been looked at twice as well.
                    let behind = following.into_iter().chain(batches);
                    let behind = behind.filter_map(|batch| in_place(batch.check(), cursor, end).err());
                    partition.poison_behind = behind.take(DAMAGED_MAX).collect();
                    partition.poison = Some(cursor);
                    return (false, skipped);
                }
            }
        }
        self.partitions[index].poison_behind.clear();
        (true, skipped)
    }

    /// A batch waits for its turn.
    fn keep(&mut self, index: usize, sound: Sound, answer: AnswerId) {
        self.counts.batches += 1;
        let cursor = self.partitions[index].cursor.offset;
        let header = sound.batch().header;
        let base = header.base_offset;
        let next = Place { offset: header.next_offset(), epoch: header.leader_epoch };
        // Of a batch of which a part was read before nobody knows which offsets were missing.
        let within = match base >= cursor && !header.is_control() {
            true => next.offset.saturating_sub(base).saturating_sub(i64::from(header.record_count)),
            false => 0,
        };
        let missing = base.saturating_sub(cursor).max(0).saturating_add(within.max(0));
        let kind = if header.is_control() { PieceKind::Control } else { PieceKind::Records(sound) };
        self.queue(index, Piece { from: base.max(cursor), next, missing, answer, kind });
    }

    /// A batch that was damaged twice: it is skipped in its turn. Where it ends is taken from the sound batch behind
    /// it, else from what it says of itself if that agrees with itself and with the log's end, else it is one offset.
    fn keep_unreadable(&mut self, index: usize, damaged: Damaged, behind: Option<i64>, answer: AnswerId) {
        let Damaged { header, why } = damaged;
        let partition = &mut self.partitions[index];
        let cursor = partition.cursor;
        let claimed = header.next_offset();
        let agrees = claimed.saturating_sub(header.base_offset) == i64::from(header.record_count);
        let claimed = Some(claimed).filter(|next| agrees && *next > cursor.offset && *next <= partition.high_watermark);
        let end = behind.filter(|base| *base > cursor.offset).or(claimed).unwrap_or(cursor.offset.saturating_add(1));
        // It may be the first of its epoch, and nothing that it says is believed: with the epoch before it the leader
        // would say for ever that the log was cut off here.
        let next = Place { offset: end, epoch: NO_EPOCH };
        let kind = PieceKind::Unreadable(why);
        self.queue(index, Piece { from: cursor.offset, next, missing: 0, answer, kind });
    }

    fn queue(&mut self, index: usize, piece: Piece) {
        self.memory.keep(piece.answer);
        let partition = &mut self.partitions[index];
        partition.cursor = piece.next;
        partition.buffer.push_back(piece);
        if !std::mem::replace(&mut partition.queued, true) {
            self.turns.push_back(index);
        }
    }

    /// Bytes of a partition that is behind are read only so fast.
    fn pace_catching_up(&mut self, index: usize, now: Duration, bytes: usize) {
        let (partition, rate) = (&self.partitions[index], self.settings.catchup_bytes_per_second);
        if rate > 0 && partition.cursor.offset < partition.high_watermark {
            let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
            self.catchup_not_before = self.catchup_not_before.max(now) + takes;
        }
    }

    /// Somebody refuses a partition.
    pub(super) fn refused(&mut self, index: usize, now: Duration, refusal: Refusal, by: Leader) {
        self.counts.refused += 1;
        match refusal {
            Refusal::Diverging { end } if self.partitions[index].leader == Some(by) && end.offset >= 0 => {
                self.go_back(index, now, end);
            }
            Refusal::Diverging { .. } => {
                self.ask_who_leads(index, now, "somebody who does not lead it has another log")
            }
            Refusal::OutOfRange => {
                let after_topology = self.topology.sent;
                self.partitions[index].phase = Phase::Doubt(Doubt { by, after_topology, start: None });
                self.ask_who_leads(index, now, "its position is said to be out of range");
            }
            Refusal::NotLeader { now: Some(leader) } if leader.epoch > self.partitions[index].newest_epoch => {
                self.retry_later(index, now, "its leader has changed");
                self.learn_leader(index, now, Some(leader));
            }
            Refusal::NotLeader { .. } => self.ask_who_leads(index, now, "its leader has changed"),
            Refusal::FencedEpoch => self.ask_who_leads(index, now, "its leader is in a newer epoch"),
            Refusal::UnknownEpoch => self.ask_who_leads(index, now, "its leader does not know that it leads yet"),
            Refusal::UnknownTopic => self.ask_who_leads(index, now, "its leader does not know the topic"),
            Refusal::NotYet => self.retry_later(index, now, "its leader is new and does not know the end yet"),
            Refusal::Corrupt => self.retry_slowly(index, now, "its leader finds its own records damaged"),
            Refusal::Denied => self.retry_slowly(index, now, "its leader does not allow reading it: READ is missing"),
            Refusal::Code(_) => self.retry_slowly(index, now, "its leader answers with a code that needs an operator"),
        }
    }

    fn ask_who_leads(&mut self, index: usize, now: Duration, trouble: &'static str) {
        self.retry_later(index, now, trouble);
        self.want_topology();
    }

    /// The leader's log parts from what was read at `end`: the position goes back there. Only the part of it that was
    /// handed over counts; what was fetched beyond is dropped and read again.
    fn go_back(&mut self, index: usize, now: Duration, end: Place) {
        let partition = &self.partitions[index];
        let Some(next) = partition.next else { return };
        let is_first = partition.backoff.failures() == 0;
        if end.offset < partition.cursor.offset {
            self.counts.truncated += 1;
        }
        if end.offset < next.offset {
            let (partition, from, to) = (number(index), next.offset, end.offset);
            self.events.add(Event::Truncated { partition, from, to });
        }
        let place = match end.offset < next.offset {
            true => end,
            false => Place { offset: next.offset, epoch: next.epoch.min(end.epoch) },
        };
        self.move_to(index, place);
        let partition = &mut self.partitions[index];
        partition.done = partition.done.min(place.offset);
        partition.high_watermark = partition.high_watermark.min(end.offset);
        partition.marks.cut(end.offset);
        self.retry_later(index, now, "its log was cut off");
        if is_first {
            self.partitions[index].not_before = now;
        }
    }
}

/// A batch whose checksum is right is damaged all the same if its place, which no checksum counts, cannot be: below
/// zero, beyond what is counted, or behind a hole that reaches above the log's `end`. One that goes on at the cursor
/// may lie above it: a broker looks where its log ends before it reads, and others write in between.
fn in_place(found: Result<Sound, Damaged>, cursor: i64, end: i64) -> Result<Sound, Damaged> {
    let sound = found?;
    let header = sound.batch().header;
    let next = header.base_offset.checked_add(i64::from(header.last_offset_delta.max(0)));
    let next = next.and_then(|last| last.checked_add(1)).filter(|_| header.base_offset >= 0);
    match next {
        Some(next) if header.base_offset <= cursor || next <= end => Ok(sound),
        _ => Err(sound.misplaced()),
    }
}
