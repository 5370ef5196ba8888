//! The words between [`super::core::Produce`] and whoever drives it. Owns what a request to a broker carries, what is
//! answered, and what is asked for; decides nothing.

use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use crate::bus::log::{Leader, Source, TopicId};
use crate::bus::{Position, PublishError};

/// Names one push from its admission to its result; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PushId(pub u64);

/// Names one request; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Batches for one broker, each of another partition. To be written whole or not at all, with acks of all replicas.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its name; [`super::core::Produce::answered`] or [`super::core::Produce::lost`] comes back with it, once.
    pub id: RequestId,
    /// The broker.
    pub source: Source,
    /// The topic as it is known; a broker that knows another one by this name must not append.
    pub topic: TopicId,
    /// By partition.
    pub batches: Vec<(i32, Arc<Batch>)>,
    /// After this time it must not be written any more (P5), but reported lost.
    pub write_by: Duration,
    /// Unanswered by then it is lost.
    pub answer_by: Duration,
}

/// What a broker said of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The protocol's error code, 0 for none.
    pub code: i16,
    /// Offset of the batch's first record; below 0 if the broker does not say.
    pub base_offset: i64,
    /// Who leads, if the broker says.
    pub leader: Option<Leader>,
}

/// What the driver does next.
#[derive(Clone, Debug)]
pub enum Action {
    /// Ask for the topic; [`super::core::Produce::topology`] or `topology_failed` brings the answer.
    AskTopology,
    /// Ask for a producer id, from any broker; [`super::core::Produce::identity`] brings the answer.
    AskIdentity {
        /// For which partition; to be handed back.
        partition: i32,
    },
    /// Write this to its broker.
    Send(Request),
    /// A push has its result: a position for each of its records in their order, or why not.
    Done {
        /// Which push.
        push: PushId,
        /// Its result.
        outcome: Result<Vec<Position>, PublishError>,
    },
}
