//! How a reader is doing. Owns the answer to "ready?" with its reason in a sentence, and the numbers that are shown of
//! each partition. Changes nothing but what it is told about the start and the stop.

use std::time::Duration;

use super::counts::{Counts, Event};
use super::partition::{Partition, Phase};
use super::state::{Reader, number};
use crate::bus::log::TopicId;
use crate::gateways::GapReason;

/// One partition, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Its number.
    pub partition: i32,
    /// Offset of the first record that is not in the gateway's intake.
    pub next: i64,
    /// The gateway has answered up to here.
    pub done: i64,
    /// The end, as far as it is known.
    pub high_watermark: i64,
    /// Records between both.
    pub lag: u64,
    /// How long the oldest that the gateway has not answered for waits at most.
    pub age: Duration,
}

impl Reader {
    /// Whether every partition has had a position: clients may connect from then on.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// The topic that is read; none before anybody named it.
    pub fn topic(&self) -> Option<TopicId> {
        self.topic
    }

    /// Begin without the positions that are missing: each of them is a gap when it comes.
    pub fn start_without(&mut self) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.started_without = true;
        for partition in &mut self.partitions {
            if let Phase::Place { gap, .. } = &mut partition.phase {
                *gap = Some(GapReason::StartedWithout);
            }
        }
    }

    /// Read nothing more. What was read may still be handed over.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Why the reader is not ready, in a sentence that names what is missing; `None` when it is ready.
    pub fn not_ready(&self, now: Duration) -> Option<String> {
        if self.topic.is_none() {
            return Some(match &self.topology.trouble {
                Some(trouble) => format!("nobody has named the partitions of the log yet: {trouble}"),
                None => "nobody has named the partitions of the log yet".to_owned(),
            });
        }
        let without = (0..self.partitions.len()).find(|index| self.partitions[*index].next.is_none());
        if let Some(index) = without {
            return Some(format!("partition {index} of the log has no position yet{}", self.because(index)));
        }
        let silent = |partition: &Partition| now.saturating_sub(partition.heard) > self.silence_max();
        if let Some(index) = self.partitions.iter().position(|partition| silent(partition) && !self.is_full(partition))
        {
            let seconds = now.saturating_sub(self.partitions[index].heard).as_secs();
            return Some(format!("partition {index} of the log was not read for {seconds} s{}", self.because(index)));
        }
        let age = self.age(now);
        (age > self.settings.age_max())
            .then(|| format!("this gateway is {} s behind the log and catches up", age.as_secs_f32().ceil()))
    }

    /// How long the oldest record that the gateway has not answered for waits at most, over all partitions.
    pub fn age(&self, now: Duration) -> Duration {
        self.partitions.iter().map(|partition| partition.age_of_done(now)).max().unwrap_or_default()
    }

    /// Records that are in the log and not in the gateway's intake.
    pub fn lag(&self) -> u64 {
        self.partitions.iter().map(Partition::lag).fold(0, u64::saturating_add)
    }

    /// Records up to the known end that the gateway has not answered for.
    pub fn unanswered(&self) -> u64 {
        let ends = self.ends.as_ref().map(|ends| &ends.of);
        let of = |(index, partition): (usize, &Partition)| {
            let named = ends.and_then(|of| of.get(index)?.as_ref()?.1).map(|end| end.offset);
            let end = named.unwrap_or(partition.high_watermark).max(partition.cursor.offset);
            partition.next.map_or(0, |_| u64::try_from(end.saturating_sub(partition.done)).unwrap_or(0))
        };
        self.partitions.iter().enumerate().map(of).fold(0, u64::saturating_add)
    }

    /// Every partition with a position.
    pub fn partitions(&self, now: Duration) -> impl Iterator<Item = PartitionView> + '_ {
        self.partitions.iter().enumerate().filter_map(move |(index, partition)| {
            Some(PartitionView {
                partition: number(index),
                next: partition.next?.offset,
                done: partition.done,
                high_watermark: partition.high_watermark,
                lag: partition.lag(),
                age: partition.age_of_done(now),
            })
        })
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Something to be told to an operator.
    pub fn take_event(&mut self) -> Option<Event> {
        self.events.take()
    }

    /// Bytes held, of [`super::Settings::memory_bytes`].
    pub fn memory_used(&self) -> usize {
        self.memory.used()
    }

    /// So long a partition may be silent: a source that has nothing says so in between.
    fn silence_max(&self) -> Duration {
        self.settings.ready_age_max.saturating_add(self.settings.read_wait)
    }

    /// Whether it is not read because so much of it waits: its age says then how it is doing.
    fn is_full(&self, partition: &Partition) -> bool {
        !partition.buffer.is_empty() || partition.open.is_some() || !self.handovers.is_empty()
    }

    fn because(&self, index: usize) -> String {
        let partition = &self.partitions[index];
        let source = partition.leader.map(|leader| leader.source);
        let known = source.and_then(|source| self.sources.get(&source)).and_then(|state| state.trouble.as_ref());
        match (partition.trouble, source, known, &self.topology.trouble) {
            (_, Some(source), Some(trouble), _) => format!(": broker {source}: {trouble}"),
            (Some(trouble), Some(source), ..) => format!(" (broker {source}): {trouble}"),
            (Some(trouble), None, _, None) => format!(": {trouble}"),
            (_, None, _, Some(trouble)) => format!(": {trouble}"),
            (None, Some(source), ..) => format!(": broker {source} was asked"),
            (None, None, ..) => String::new(),
        }
    }
}
