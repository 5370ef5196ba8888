//! What a reader asks next. Owns the order of questions: the topic, the ends of partitions, batches; and the bounds on
//! each: one of a kind under way for a source, back-off, distance, memory (rules R7, R9 and R11). What an answer means
//! is `topology`'s, `edges`' and `slices`' business.

use std::time::Duration;

use crate::bus::log::{Ask, AskId, Edge, EdgeOf, Leader, ReadFrom, Source};

use super::asks::{Asked, UnderWay};
use super::behind::LOOK_EVERY;
use super::partition::{Partition, Phase};
use super::state::{EndsFor, Reader, number};

/// Shortest wait asked of a source, when a partition that is left out of a read may be asked soon.
const READ_WAIT_MIN: Duration = Duration::from_millis(1);

impl Reader {
    /// The next question, if one may be asked now. Call it until it has none.
    pub fn poll_ask(&mut self, now: Duration) -> Option<(AskId, Ask)> {
        self.look(now);
        if self.stopped {
            return None;
        }
        self.look_behind(now);
        self.ask_topology(now).or_else(|| self.ask_edges(now)).or_else(|| self.ask_read(now))
    }

    /// When [`Reader::poll_ask`] may have a question that it does not have now, if no answer comes before.
    pub fn wake_at(&self, now: Duration) -> Option<Duration> {
        if self.stopped {
            return None;
        }
        let topology = (!self.topology.under_way).then(|| self.topology_at());
        let partitions = (0..self.partitions.len()).filter_map(|index| self.partition_at(index));
        let ends = self.ends.as_ref().and_then(|ends| match ends.why {
            EndsFor::Skip { until } => Some(until),
            EndsFor::Drain => None,
        });
        let aged = self.partitions.iter().filter_map(|partition| partition.marks.since(partition.next_offset()));
        let aged = aged.map(|since| since.saturating_add(self.settings.catchup_max));
        let step = [self.skip_not_before, now + LOOK_EVERY];
        topology.into_iter().chain(partitions).chain(ends).chain(aged).chain(step).filter(|at| *at > now).min()
    }

    fn topology_at(&self) -> Duration {
        let at = if self.topology.wanted { Duration::ZERO } else { self.topology.at };
        at.max(self.topology.not_before)
    }

    /// When the partition may be asked something, as far as time decides it.
    fn partition_at(&self, index: usize) -> Option<Duration> {
        let partition = &self.partitions[index];
        let source = self.sources.get(&partition.leader?.source)?;
        let at = partition.not_before.max(source.not_before);
        if self.wanted_edge(index).is_some() {
            return (!source.asking_edges).then_some(at);
        }
        let reads = partition.phase == Phase::Read && !source.reading && !self.is_skipping(index);
        reads.then(|| at.max(source.read_not_before).max(self.catchup_at(partition)))
    }

    fn catchup_at(&self, partition: &Partition) -> Duration {
        let is_behind = partition.cursor.offset < partition.high_watermark;
        if is_behind { self.catchup_not_before } else { Duration::ZERO }
    }

    fn ask_topology(&mut self, now: Duration) -> Option<(AskId, Ask)> {
        if self.topology.under_way || now < self.topology_at() {
            return None;
        }
        let topology = &mut self.topology;
        let wait = match std::mem::take(&mut topology.wanted) {
            true => topology.backoff.next(self.settings.pauses(), &mut self.rng),
            false => {
                topology.backoff.reset();
                Duration::ZERO
            }
        };
        topology.not_before = now + wait;
        topology.under_way = true;
        topology.sent += 1;
        self.counts.topology_asks += 1;
        Some((self.asks.begin(UnderWay::Topology { number: topology.sent }), Ask::Topology))
    }

    /// Which edge of a partition must be known before it goes on.
    pub(super) fn wanted_edge(&self, index: usize) -> Option<Edge> {
        match &self.partitions[index].phase {
            Phase::Place { edge, .. } => Some(*edge),
            Phase::Doubt(doubt) if self.topology.answered <= doubt.after_topology => None,
            Phase::Doubt(doubt) => Some(if doubt.start.is_none() { Edge::Start } else { Edge::End }),
            Phase::Read => {
                let (_, end) = self.ends.as_ref()?.of.get(index)?.as_ref()?;
                end.is_none().then_some(Edge::End)
            }
        }
    }

    fn ask_edges(&mut self, now: Duration) -> Option<(AskId, Ask)> {
        let free = |source: &Source| {
            self.sources.get(source).is_some_and(|state| !state.asking_edges && state.not_before <= now)
        };
        let wanted = |index: usize, partition: &Partition| {
            let leader = partition.leader.filter(|leader| free(&leader.source) && partition.not_before <= now)?;
            Some((leader.source, self.wanted_edge(index)?))
        };
        let (source, edge) =
            self.partitions.iter().enumerate().find_map(|(index, partition)| wanted(index, partition))?;
        let mut asked = Vec::new();
        for (index, partition) in self.partitions.iter().enumerate() {
            if wanted(index, partition) == Some((source, edge)) {
                asked.extend(partition.leader.map(|of| question(index, partition, of)));
            }
        }
        let of = |asked: &Asked| EdgeOf { partition: asked.partition, leader_epoch: asked.of.epoch };
        let ask = Ask::Edges { source, edge, partitions: asked.iter().map(of).collect() };
        self.sources.get_mut(&source)?.asking_edges = true;
        self.counts.edge_asks += 1;
        Some((self.asks.begin(UnderWay::Edges { source, edge, asked }), ask))
    }

    fn ask_read(&mut self, now: Duration) -> Option<(AskId, Ask)> {
        let topic = self.topic?;
        let free = self
            .sources
            .iter()
            .filter(|(_, state)| !state.reading && state.not_before <= now && state.read_not_before <= now);
        let free: Vec<Source> = free.map(|(source, _)| *source).collect();
        for source in free {
            let (asked, wait) = self.readable(source, now);
            if asked.is_empty() {
                continue;
            }
            let granted = self.memory.grant(self.sources.len())?;
            let from = asked.iter().filter_map(|asked| self.read_from(asked, granted)).collect();
            let state = self.sources.get_mut(&source)?;
            state.reading = true;
            state.read_not_before = now + self.settings.fetch_interval;
            state.first = usize::try_from(asked[0].partition).unwrap_or(0) + 1;
            self.counts.reads += 1;
            let id = self.asks.begin(UnderWay::Read { source, at: now, wait, granted, asked });
            return Some((id, Ask::Read { source, topic, from, bytes_max: granted, wait }));
        }
        None
    }

    /// What may be read of a source now, each partition first in its turn, and how long the source may wait: not past
    /// the time at which another of its partitions may be read.
    fn readable(&self, source: Source, now: Duration) -> (Vec<Asked>, Duration) {
        let count = self.partitions.len();
        let first = self.sources.get(&source).map_or(0, |state| state.first);
        let mut asked = Vec::new();
        let mut wait = self.settings.read_wait;
        for index in (0..count).map(|step| (first + step) % count) {
            let partition = &self.partitions[index];
            let Some(of) = partition.leader.filter(|leader| leader.source == source) else { continue };
            if partition.phase != Phase::Read || self.is_skipping(index) {
                continue;
            }
            let at = partition.not_before.max(self.catchup_at(partition));
            match at.checked_sub(now).filter(|later| !later.is_zero()) {
                Some(later) => wait = wait.min(later.max(READ_WAIT_MIN)),
                None => asked.push(question(index, partition, of)),
            }
        }
        (asked, wait)
    }

    fn read_from(&self, asked: &Asked, granted: u32) -> Option<ReadFrom> {
        let partition = &self.partitions[self.index_of(asked.partition)?];
        Some(ReadFrom {
            partition: asked.partition,
            place: partition.cursor,
            leader_epoch: asked.of.epoch,
            bytes_max: self.settings.partition_bytes_max.min(granted),
        })
    }
}

fn question(index: usize, partition: &Partition, of: Leader) -> Asked {
    Asked { partition: number(index), generation: partition.generation, offset: partition.cursor.offset, of }
}
