//! The seam to a log that is read: what a reader asks and what it is answered. Owns the words of both, and keeps
//! nothing. [`crate::consume`] asks, in the order and within the bounds that the rules of the log want; an
//! implementation only carries questions to whoever leads a partition, and answers back. Records travel as Kafka's
//! record batches (message format 2), whoever keeps them. Next step on the way out: [`crate::consume`].

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// Whoever answers for partitions: the node id of a broker. A log inside the process has one source, 0.
pub type Source = i32;

/// The epoch of whoever does not know one.
pub const NO_EPOCH: i32 = -1;

/// Names one topic for as long as it lives: one that was deleted and made again has another id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TopicId(pub [u8; 16]);

/// Where to read on in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset of the next record.
    pub offset: i64,
    /// Epoch of the leader that wrote the record before it, [`NO_EPOCH`] where nobody said.
    pub epoch: i32,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Whom to ask.
    pub source: Source,
    /// Since which epoch; a higher one is newer.
    pub epoch: i32,
}

/// A topic as somebody knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Its id.
    pub topic: TopicId,
    /// Who leads each partition, in the order of partitions; `None` while nobody does.
    pub leaders: Vec<Option<Leader>>,
}

/// Names one question; the asker never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// One end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Edge {
    /// Of what is still there, the first offset.
    Start,
    /// The high watermark: the first offset that no reader may see yet.
    End,
}

/// A partition, and the epoch in which the asked source is believed to lead it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeOf {
    /// Which one.
    pub partition: i32,
    /// A source that leads in another epoch refuses.
    pub leader_epoch: i32,
}

/// What of one partition is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFrom {
    /// Which one.
    pub partition: i32,
    /// From where. The epoch makes the leader say so if the log before it is not the one that was read.
    pub place: Place,
    /// A source that leads in another epoch refuses.
    pub leader_epoch: i32,
    /// Bytes of batches wanted at most; a first batch that is longer comes whole.
    pub bytes_max: u32,
}

/// A question to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The topic's id and leaders, from anybody.
    Topology,
    /// The ends of partitions, from one source.
    Edges {
        /// Whom to ask.
        source: Source,
        /// Which ends.
        edge: Edge,
        /// Of which partitions, each once.
        partitions: Vec<EdgeOf>,
    },
    /// Batches, from one source. Answered as soon as there is a byte, or after `wait`.
    Read {
        /// Whom to ask.
        source: Source,
        /// A source that knows another topic by this name refuses.
        topic: TopicId,
        /// From where, each partition once.
        from: Vec<ReadFrom>,
        /// Bytes of batches wanted at most, over all partitions.
        bytes_max: u32,
        /// How long to wait for the first byte.
        wait: Duration,
    },
}

/// Batches of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Whole batches, of which the first may begin before the asked offset; the last may be cut off.
    pub batches: Bytes,
    /// The first offset that no reader may see yet. Below the asked offset it means nothing: a new leader learns it
    /// late.
    pub high_watermark: i64,
    /// The first offset that is still there.
    pub log_start: i64,
}

/// Why a source does not answer for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The log up to the asked place is another one: what was read up to there is true only below `end.offset`, which
    /// is where `end.epoch` ends here.
    Diverging {
        /// The largest epoch that both have, and where it ends.
        end: Place,
    },
    /// The offset is not within what the source has.
    OutOfRange,
    /// The source does not lead the partition; perhaps it says who does.
    NotLeader {
        /// As far as the source knows.
        now: Option<Leader>,
    },
    /// The source leads in a newer epoch than the asker knows.
    FencedEpoch,
    /// The asker knows a newer epoch than the source.
    UnknownEpoch,
    /// There is no topic of this id, or the partition is not known (yet).
    UnknownTopic,
    /// The leader is new and does not know the end yet, or is busy: later.
    NotYet,
    /// The source found its own records damaged.
    Corrupt,
    /// The source is not allowed to show it to us.
    Denied,
    /// A code of the protocol that needs an operator.
    Code(i16),
}

/// Why a question as a whole has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody could be reached, or the connection broke; says whom and what to do.
    Unreachable(Arc<str>),
    /// No answer in time; says from whom.
    TimedOut(Arc<str>),
    /// There is no such topic; says how to make one.
    NoTopic(Arc<str>),
    /// We may not; says what is missing.
    Denied(Arc<str>),
    /// A code of the protocol, or an answer that cannot be read; says from whom.
    Refused(Arc<str>),
}

impl Trouble {
    /// Whether it lasts until somebody changes something: asking often is of no use, and may lock an account.
    pub fn needs_operator(&self) -> bool {
        matches!(self, Trouble::NoTopic(_) | Trouble::Denied(_))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Unreachable(what)
            | Trouble::TimedOut(what)
            | Trouble::NoTopic(what)
            | Trouble::Denied(what)
            | Trouble::Refused(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Trouble {}

/// The answer to a question. Of the partitions that were asked for some may be missing; they were not answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Ask::Topology`].
    Topology(Topology),
    /// To [`Ask::Edges`], by partition.
    Edges(Vec<(i32, Result<Place, Refusal>)>),
    /// To [`Ask::Read`].
    Read {
        /// How long the source wants not to be asked.
        throttle: Duration,
        /// By partition.
        slices: Vec<(i32, Result<Slice, Refusal>)>,
    },
    /// To any.
    Failed(Trouble),
}

/// A log of one topic. It answers each question once, in any order, and in bounded time; a read within its `wait`.
pub trait Log: Send + 'static {
    /// Whether [`Log::forget`] does anything.
    const FORGETS: bool = false;
    /// Begin to answer. At most one question about the topology is under way, and for each source at most one
    /// [`Ask::Read`] and one [`Ask::Edges`].
    fn ask(&mut self, id: AskId, ask: Ask);
    /// The next answer; waits for it. Dropping the future loses nothing.
    fn answer(&mut self) -> impl Future<Output = (AskId, Answer)> + Send;
    /// This reader is done with everything below an offset. A log that nobody else reads may forget it, if it says so
    /// by
    /// [`Log::FORGETS`].
    fn forget(&mut self, partition: i32, below: i64) {
        let _ = (partition, below);
    }
}
