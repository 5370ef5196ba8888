//! The questions that are under way, and whom they went to. Owns their numbers, what each was asked for, and when a
//! source or the topic may be asked again. Decides nothing about positions.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::bus::log::{AskId, Edge, Leader, Source, Trouble};

/// A partition of a question: the answer counts only if all of it is still so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) partition: i32,
    pub(super) generation: u64,
    /// The cursor, where it was asked to be read.
    pub(super) offset: i64,
    pub(super) of: Leader,
}

/// A question that is not answered yet.
#[derive(Debug)]
pub(super) enum UnderWay {
    /// About the topic, with its number among those.
    Topology { number: u64 },
    /// About one edge of partitions.
    Edges { source: Source, edge: Edge, asked: Vec<Asked> },
    /// For batches.
    Read { source: Source, at: Duration, wait: Duration, granted: u32, asked: Vec<Asked> },
}

/// All that are under way: one about the topic, two for each source.
#[derive(Debug, Default)]
pub(super) struct Asks {
    next: u64,
    under_way: BTreeMap<AskId, UnderWay>,
}

impl Asks {
    /// One more; returns its number.
    pub(super) fn begin(&mut self, ask: UnderWay) -> AskId {
        let id = AskId(self.next);
        self.next += 1;
        self.under_way.insert(id, ask);
        id
    }

    /// It is answered.
    pub(super) fn end(&mut self, id: AskId) -> Option<UnderWay> {
        self.under_way.remove(&id)
    }
}

/// Somebody who answers for partitions.
#[derive(Debug)]
pub(super) struct SourceState {
    pub(super) reading: bool,
    pub(super) asking_edges: bool,
    /// Asked nothing before: after errors.
    pub(super) not_before: Duration,
    /// Not read before: distance between reads, throttling.
    pub(super) read_not_before: Duration,
    pub(super) backoff: Backoff,
    /// Reads in a row that were answered early with nothing.
    pub(super) empty: u32,
    /// The partition to begin with, so that each is the first in its turn.
    pub(super) first: usize,
    /// Why it does not answer, while that is so.
    pub(super) trouble: Option<Trouble>,
}

impl SourceState {
    pub(super) fn new() -> SourceState {
        SourceState {
            reading: false,
            asking_edges: false,
            not_before: Duration::ZERO,
            read_not_before: Duration::ZERO,
            backoff: Backoff::default(),
            empty: 0,
            first: 0,
            trouble: None,
        }
    }

    /// Whether an answer of it is outstanding.
    pub(super) fn is_asked(&self) -> bool {
        self.reading || self.asking_edges
    }
}

/// When the topic is asked about.
#[derive(Debug, Default)]
pub(super) struct TopologyState {
    pub(super) under_way: bool,
    /// Questions sent so far.
    pub(super) sent: u64,
    /// The newest question that was answered.
    pub(super) answered: u64,
    /// The next one in the regular rhythm.
    pub(super) at: Duration,
    /// An error wants one before.
    pub(super) wanted: bool,
    /// But not before.
    pub(super) not_before: Duration,
    pub(super) backoff: Backoff,
    /// Why there is no answer, while that is so.
    pub(super) trouble: Option<Trouble>,
}
