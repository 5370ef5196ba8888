//! What is known of the topic. Owns the meaning of an answer about it: who leads, more partitions (rule R8), another
//! topic of the same name (rule R7). Asks nothing itself.

use std::time::Duration;

use crate::bus::log::{Edge, Leader, TopicId, Topology, Trouble};
use crate::gateways::GapReason;

use super::asks::SourceState;
use super::counts::Event;
use super::partition::Phase;
use super::state::Reader;

/// Ids kept of topics that are gone.
const TOPICS_GONE_MAX: usize = 8;

impl Reader {
    /// The topic should be looked at, as soon as that may be.
    pub(super) fn want_topology(&mut self) {
        self.topology.wanted = true;
    }

    /// Nobody could say.
    pub(super) fn topology_failed(&mut self, now: Duration, trouble: Trouble) {
        self.topology.under_way = false;
        self.topology.wanted = true;
        let pauses = match trouble.needs_operator() {
            true => self.settings.slow_pauses(),
            false => self.settings.pauses(),
        };
        self.topology.not_before = now + self.topology.backoff.next(pauses, &mut self.rng);
        self.topology.trouble = Some(trouble);
        self.counts.failed += 1;
    }

    /// Somebody said.
    pub(super) fn heard_topology(&mut self, now: Duration, number: u64, heard: Topology) {
        if heard.leaders.is_empty() {
            return self.topology_failed(now, Trouble::Refused("the topic has no partitions".into()));
        }
        if self.topics_gone.contains(&heard.topic) {
            return self.topology_failed(now, Trouble::Refused("a broker still names a topic that is gone".into()));
        }
        self.topology.under_way = false;
        self.topology.answered = number;
        self.topology.at = now + self.settings.topology_interval;
        self.topology.trouble = None;
        match self.topic {
            Some(topic) if topic != heard.topic => self.topic_changed(now, topic, heard.leaders.len()),
            _ => {}
        }
        self.grow(now, heard.leaders.len());
        self.topic = Some(heard.topic);
        for (index, leader) in heard.leaders.into_iter().enumerate() {
            self.learn_leader(index, now, leader);
        }
        self.forget_sources(now);
    }

    /// Another topic has the name now: positions and epochs are void, and all that was not read of the old one is one
    /// gap.
    fn topic_changed(&mut self, now: Duration, old: TopicId, count: usize) {
        self.topics_gone.push_back(old);
        if self.topics_gone.len() > TOPICS_GONE_MAX {
            self.topics_gone.pop_front();
        }
        self.ends = None;
        self.events.add(Event::NewTopic);
        if self.started {
            for index in 0..self.partitions.len() {
                // Without a position yet, nobody knows from where on something is missing.
                let next = self.partitions[index].next.map_or(0, |next| next.offset);
                let end = self.partitions[index].high_watermark.max(next);
                self.leave_out(index, next..end, GapReason::NewTopic);
            }
        }
        let phase = self.first_phase();
        for index in 0..self.partitions.len() {
            let generation = self.new_generation();
            let partition = &mut self.partitions[index];
            partition.void(phase.clone(), generation, &mut self.memory);
            partition.not_before = now;
        }
        self.partitions.truncate(count);
        self.turns.retain(|index| *index < count);
    }

    /// Partitions never become fewer under one id: who names fewer is behind.
    fn grow(&mut self, now: Duration, count: usize) {
        let known = self.partitions.len();
        if known >= count {
            return;
        }
        if known > 0 && self.topic.is_some() {
            self.events.add(Event::Grown { from: known, to: count });
        }
        let phase = self.first_phase();
        for _ in known..count {
            let partition = self.new_partition(phase.clone(), now);
            self.partitions.push(partition);
        }
    }

    /// Before anybody can be connected a partition begins where the settings say. One that comes later begins at its
    /// start: a push may be in it already.
    fn first_phase(&self) -> Phase {
        match self.topic {
            None if self.started_without => {
                Phase::Place { edge: self.settings.start, gap: Some(GapReason::StartedWithout) }
            }
            _ if self.started => Phase::Place { edge: Edge::Start, gap: Some(GapReason::Retention) },
            _ => Phase::Place { edge: self.settings.start, gap: None },
        }
    }

    /// Somebody names the leader of a partition.
    pub(super) fn learn_leader(&mut self, index: usize, now: Duration, leader: Option<Leader>) {
        let jitter = self.jitter();
        let partition = &mut self.partitions[index];
        let was_led = partition.leader.is_some();
        let changed = partition.learn_leader(leader);
        let Some(leader) = partition.leader else {
            partition.trouble = Some("it has no leader");
            self.topology.wanted = true;
            return;
        };
        self.sources.entry(leader.source).or_insert_with(SourceState::new);
        if changed && partition.backoff.failures() <= 1 {
            let after_an_outage = partition.next.is_some() && (!was_led || partition.backoff.failures() > 0);
            partition.not_before = if after_an_outage { now + jitter } else { now };
        }
        if !was_led {
            partition.trouble = None;
        }
    }

    /// Who leads nothing and owes no answer is forgotten, but for when it may be asked again.
    fn forget_sources(&mut self, now: Duration) {
        let partitions = &self.partitions;
        let leads = |source| partitions.iter().any(|partition| partition.leader.is_some_and(|of| of.source == source));
        self.sources.retain(|source, state| {
            state.is_asked() || leads(*source) || state.not_before > now || state.read_not_before > now
        });
    }
}
