//! The seam to the bus that orders pushes. Owns what a record is and what a producer promises; what reading asks and
//! hears stands in [`log`]. [`embedded`] and [`kafka`] implement both. Knows nothing of HTTP or of gateways. Next step:
//! [`crate::consume`].
//!
//! Records are those of goim's topic (goim §3): a key that decides the partition and a value that
//! [`halley_protocol::push`] reads and writes. A producer answers only when the bus holds the record. A reader sees the
//! records of a partition in order, from a position of its own.

pub mod batch;
pub mod embedded;
pub mod kafka;
pub mod log;
pub mod partition;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Where a record is: unique on its bus, and ordered within its partition. Shown as `<partition>-<offset>`, which is
/// the id a push is answered with.
///
/// [`NO_OFFSET`] stands for a place that the log did not say though it holds the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Partition, from 0.
    pub partition: i32,
    /// Place in the partition, ascending.
    pub offset: i64,
}

/// The offset of a record that is in the log, nobody said where; shown as `<partition>-unknown`.
pub const NO_OFFSET: i64 = -1;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.offset == NO_OFFSET {
            return write!(f, "{}-unknown", self.partition);
        }
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

/// What a producer hands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Records of one key keep their order.
    pub key: Bytes,
    /// An encoded push, see [`halley_protocol::push`].
    pub value: Bytes,
}

/// What waits on the bus: published and not yet done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Records, each of them a push.
    pub records: usize,
    /// Their bytes, as counted against the bound.
    pub bytes: usize,
}

/// Why records were not taken, or may not have been. All but [`PublishError::Unknown`] mean that nothing of them is in
/// the log, nor will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The producer holds as much as it may; later there will be room again.
    Full,
    /// A record is longer than the log takes.
    TooLarge {
        /// Bytes that it has, encoded.
        bytes: usize,
        /// Bytes that are allowed, if known.
        bytes_max: Option<usize>,
    },
    /// The log cannot be written to now; says why.
    Unavailable(Arc<str>),
    /// Nobody said in time whether the log holds them: each may appear once, or not at all; says why.
    Unknown(Arc<str>),
    /// The producer is closing and takes nothing more.
    Closed,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Full => f.write_str("too much waits to be written to the log"),
            PublishError::TooLarge { bytes, bytes_max: Some(bytes_max) } => {
                write!(f, "a record has {bytes} bytes, the log takes {bytes_max}")
            }
            PublishError::TooLarge { bytes, bytes_max: None } => {
                write!(f, "a record has {bytes} bytes, more than the log takes")
            }
            PublishError::Unavailable(why) | PublishError::Unknown(why) => f.write_str(why),
            PublishError::Closed => f.write_str("the producer is closing"),
        }
    }
}

impl std::error::Error for PublishError {}

/// The end that pushes go in.
#[async_trait::async_trait]
pub trait Producer: Send + Sync + 'static {
    /// The partition of a key, for grouping the names of one push.
    ///
    /// # Errors
    /// [`PublishError::Unavailable`] while nobody has said how many partitions there are.
    fn partition_of(&self, key: &[u8]) -> Result<i32, PublishError>;
    /// Store the records of one push; answers when the log holds all of them, with their positions in the given order.
    /// All are looked at before the first is sent: size, room, whether somebody leads the partition. Dropping the
    /// future takes nothing back.
    ///
    /// # Errors
    /// Of several records with different ends: [`PublishError::Unknown`], unless all were refused.
    async fn publish(&self, records: Vec<Record>) -> Result<Vec<Position>, PublishError>;
    /// Whether other processes read the log: then nobody here can say how many connections a push matched.
    fn is_shared(&self) -> bool;
    /// What waits now.
    fn depth(&self) -> Depth;
    /// Take nothing more; what was taken is still published and answered.
    fn close(&self);
}
