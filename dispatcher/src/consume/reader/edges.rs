//! Positions that a leader names. Owns the first one of each partition (rule S1), the judgement of a doubtful one
//! (rules R3 and R4), and the ends that `behind` wants. Only the leader of the newest epoch is believed.

use std::time::Duration;

use crate::bus::log::{Edge, NO_EPOCH, Place, Refusal};
use crate::gateways::GapReason;

use super::asks::Asked;
use super::partition::{Doubt, Phase};
use super::state::Reader;

impl Reader {
    /// A source named an edge of partitions, or refused to.
    pub(super) fn heard_edges(
        &mut self,
        now: Duration,
        edge: Edge,
        asked: Vec<Asked>,
        mut answers: Vec<(i32, Result<Place, Refusal>)>,
    ) {
        for asked in asked {
            let Some(index) = self.index_of(asked.partition) else { continue };
            let partition = &self.partitions[index];
            let is_late = partition.generation != asked.generation
                || partition.leader != Some(asked.of)
                || self.wanted_edge(index) != Some(edge);
            if is_late {
                self.counts.late += 1;
                continue;
            }
            match answers.iter().position(|(of, _)| *of == asked.partition).map(|at| answers.swap_remove(at).1) {
                Some(Ok(place)) if place.offset >= 0 => self.heard_edge(index, now, place),
                Some(Err(Refusal::Diverging { .. } | Refusal::OutOfRange)) | Some(Ok(_)) | None => {
                    self.counts.refused += 1;
                    self.retry_later(index, now, "its leader does not name its ends");
                    self.want_topology();
                }
                Some(Err(refusal)) => self.refused(index, now, refusal, asked.of),
            }
        }
    }

    fn heard_edge(&mut self, index: usize, now: Duration, place: Place) {
        let partition = &mut self.partitions[index];
        match &mut partition.phase {
            Phase::Place { edge, gap } => {
                let (edge, gap) = (*edge, *gap);
                self.placed(index, now, place, edge, gap);
            }
            Phase::Doubt(doubt) if doubt.start.is_none() => doubt.start = Some(place),
            Phase::Doubt(doubt) => {
                let doubt = doubt.clone();
                self.judge(index, now, &doubt, place);
            }
            Phase::Read => {
                let generation = partition.generation;
                if let Some(end) = self.ends.as_mut().and_then(|ends| ends.of.get_mut(index)) {
                    *end = Some((generation, Some(place)));
                }
            }
        }
    }

    /// A partition has its first position.
    fn placed(&mut self, index: usize, now: Duration, place: Place, edge: Edge, gap: Option<GapReason>) {
        match gap {
            Some(GapReason::Retention) if place.offset == 0 => {}
            Some(GapReason::Retention) => self.leave_out(index, 0..place.offset, GapReason::Retention),
            Some(why) => self.leave_out(index, place.offset..place.offset, why),
            None => {}
        }
        let generation = self.new_generation();
        let partition = &mut self.partitions[index];
        partition.move_to(place, generation, &mut self.memory);
        partition.done = place.offset;
        partition.heard(now);
        match edge {
            Edge::Start => partition.log_start = place.offset,
            Edge::End => partition.high_watermark = place.offset,
        }
        self.started |= self.partitions.iter().all(|partition| partition.next.is_some());
    }

    /// Both ends of a partition are known whose cursor somebody called out of range.
    fn judge(&mut self, index: usize, now: Duration, doubt: &Doubt, end: Place) {
        let start = doubt.start.unwrap_or(end);
        let partition = &mut self.partitions[index];
        let cursor = partition.cursor;
        let next = partition.next_offset();
        let said_by_the_leader = partition.leader == Some(doubt.by);
        partition.doubts = partition.doubts.saturating_add(1);
        if cursor.offset < start.offset {
            self.go_on_at(index, start, next.min(start.offset)..start.offset, GapReason::Retention);
        } else if said_by_the_leader && cursor.epoch == NO_EPOCH && cursor.offset > end.offset {
            self.go_on_at(index, end, end.offset..end.offset, GapReason::LostTail);
        } else {
            // An end below the cursor is normal: a new leader learns it late. A leader that does not know the epoch
            // can be asked by the offset alone.
            if said_by_the_leader && (cursor.offset > end.offset || partition.doubts > 1) {
                partition.cursor.epoch = NO_EPOCH;
            }
            partition.phase = Phase::Read;
        }
        self.retry_later(index, now, "its position is out of range, as its leader says");
    }

    fn go_on_at(&mut self, index: usize, place: Place, offsets: std::ops::Range<i64>, why: GapReason) {
        self.leave_out(index, offsets, why);
        self.move_to(index, place);
        let partition = &mut self.partitions[index];
        partition.done = partition.done.min(place.offset);
        partition.doubts = 0;
        if why == GapReason::LostTail {
            partition.marks.cut(place.offset);
            partition.high_watermark = place.offset;
        }
    }
}
