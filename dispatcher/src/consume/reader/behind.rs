//! Being behind (rule S3), and reading to the end before a stop. Owns when the log's ends are asked for, and the one
//! step in which every partition that is behind goes to its end.

use std::time::Duration;

use crate::gateways::GapReason;

use super::partition::{Partition, Phase};
use super::state::{EndOf, Ends, EndsFor, Reader};

/// How long a leader may take to name its ends; a partition without an answer is left for another gap.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// Time between two steps.
const SKIP_EVERY: Duration = Duration::from_secs(1);
/// Longest time after which a reader wants to be asked again, so that it sees that its process stood still.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A longer time without a look is standing still; a shorter one may be a busy host.
const STOOD_MIN: Duration = Duration::from_secs(3);

impl Reader {
    /// Read on to the ends of now: [`Reader::is_drained`] says when everything below them is done with. Whoever fills
    /// the log should have stopped before.
    pub fn drain(&mut self) {
        self.draining = true;
        self.ends = None;
    }

    /// Whether all that was in the log when [`Reader::drain`] was called has been handed over and answered for.
    pub fn is_drained(&self) -> bool {
        let Some(Ends { why: EndsFor::Drain, of }) = &self.ends else { return false };
        let is_done = |(partition, end): (&Partition, &EndOf)| match end {
            Some((_, end)) => end.zip(partition.next).is_some_and(|(end, next)| next.offset >= end.offset),
            None => true,
        };
        self.partitions.iter().zip(of).all(is_done) && self.handovers.is_empty() && !self.gaps.is_pending()
    }

    /// Time goes on. A process that stood still could note no marks: what it hears of next may be as old as that.
    pub(super) fn look(&mut self, now: Duration) {
        let Some(since) = self.looked_at.replace(now) else { return };
        let stood = now.saturating_sub(since);
        if stood > STOOD_MIN {
            self.stood_until = now;
            for partition in &mut self.partitions {
                partition.stood = partition.stood.saturating_add(stood);
            }
        }
    }

    /// Whether the partition is about to go to its end: what is read or handed over before that would hide how much
    /// is left out, and by which luck.
    pub(super) fn is_skipping(&self, index: usize) -> bool {
        let skips = self.ends.as_ref().filter(|ends| ends.why != EndsFor::Drain);
        skips.is_some_and(|ends| ends.of.get(index).is_some_and(Option::is_some))
    }

    /// Begin, or end, what depends on the log's ends.
    pub(super) fn look_behind(&mut self, now: Duration) {
        if !self.started {
            return;
        }
        match self.ends.as_ref().map(|ends| ends.why) {
            Some(EndsFor::Skip { until }) => {
                self.forget_stale_ends();
                let is_known = |end: &EndOf| end.as_ref().is_none_or(|(_, end)| end.is_some());
                if now >= until || self.ends.as_ref().is_some_and(|ends| ends.of.iter().all(is_known)) {
                    self.skip(now);
                }
            }
            Some(EndsFor::Drain) => self.forget_stale_ends(),
            None if self.draining && self.topic.is_some() => self.want_ends(EndsFor::Drain),
            None if now >= self.skip_not_before && self.is_too_far_behind(now) => {
                self.want_ends(EndsFor::Skip { until: now + ENDS_WITHIN });
            }
            None => {}
        }
    }

    fn is_too_far_behind(&self, now: Duration) -> bool {
        let known = self.partitions.iter().filter(|partition| {
            let is_news = partition.skipped.is_none_or(|skipped| partition.heard > skipped);
            partition.phase == Phase::Read && partition.leader.is_some() && is_news
        });
        let (mut lag, mut age) = (0_u64, Duration::ZERO);
        for partition in known {
            lag = lag.saturating_add(partition.lag());
            age = age.max(partition.age(now));
        }
        lag > self.settings.catchup_records_max || age > self.settings.catchup_max
    }

    fn want_ends(&mut self, why: EndsFor) {
        let wanted = |partition: &Partition| match why {
            EndsFor::Skip { .. } => partition.phase == Phase::Read && partition.leader.is_some(),
            EndsFor::Drain => true,
        };
        let of = self.partitions.iter();
        let of = of.map(|partition| wanted(partition).then_some((partition.generation, None))).collect();
        self.ends = Some(Ends { why, of });
    }

    /// An end counts only for the generation in which it was answered.
    fn forget_stale_ends(&mut self) {
        let Some(ends) = &mut self.ends else { return };
        for (partition, end) in self.partitions.iter().zip(&mut ends.of) {
            if let Some((generation, end)) = end
                && *generation != partition.generation
            {
                (*generation, *end) = (partition.generation, None);
            }
        }
    }

    /// Every partition that is behind goes to its end, in one gap.
    fn skip(&mut self, now: Duration) {
        let Some(ends) = self.ends.take() else { return };
        self.skip_not_before = now + SKIP_EVERY;
        for (index, end) in ends.of.into_iter().enumerate().take(self.partitions.len()) {
            let Some((generation, end)) = end else { continue };
            let partition = &mut self.partitions[index];
            partition.skipped = Some(now);
            let Some(end) = end.filter(|_| partition.generation == generation && partition.phase == Phase::Read) else {
                continue;
            };
            let from = partition.next_offset();
            if from >= end.offset {
                continue;
            }
            self.leave_out(index, from..end.offset, GapReason::TooFarBehind);
            self.move_to(index, end);
            let partition = &mut self.partitions[index];
            partition.high_watermark = end.offset;
            partition.marks.cut(i64::MIN);
        }
    }
}
