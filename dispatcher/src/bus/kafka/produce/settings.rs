//! The bounds of producing. Owns their defaults; checks nothing, whoever reads a configuration does.

use std::time::Duration;

use crate::backoff::Pauses;

/// Records that wait to be in the log, unless told otherwise.
pub const RECORDS_MAX: usize = 65_536;
/// Their bytes.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Those of one partition.
pub const PARTITION_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one request, and of one record.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// How long a push may wait for its result.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(15);

/// The part of a pause by which it may be shorter or longer.
const JITTER: f64 = 0.2;

/// Bounds of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Records that wait or are under way, over all partitions.
    pub records_max: usize,
    /// Their bytes, over all partitions.
    pub bytes_max: usize,
    /// Their bytes in one partition, so that one without a leader does not take the others' room.
    pub partition_bytes_max: usize,
    /// Bytes of one batch, and of the batches of one request together. Brokers take 1,048,588 a batch unless told
    /// otherwise. A record that has more by itself is refused.
    pub request_bytes_max: usize,
    /// How long a push may wait for its result. Nothing of it is sent again after that. A killed broker takes its
    /// cluster about 9 s to notice.
    pub publish_timeout: Duration,
    /// How long one request may go unanswered.
    pub answer_timeout: Duration,
    /// The first pause after a failure; each further one is twice as long, with a fifth of jitter.
    pub pause_first: Duration,
    /// The longest pause. After what only an operator can mend it is ten times as long.
    pub pause_max: Duration,
    /// At most one producer id is asked for in this time, for each partition.
    pub identity_interval: Duration,
    /// How often the topic is looked at while nothing is wrong.
    pub topology_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            records_max: RECORDS_MAX,
            bytes_max: BYTES_MAX,
            partition_bytes_max: PARTITION_BYTES_MAX,
            request_bytes_max: REQUEST_BYTES_MAX,
            publish_timeout: PUBLISH_TIMEOUT,
            answer_timeout: Duration::from_secs(5),
            pause_first: Duration::from_millis(100),
            pause_max: Duration::from_secs(1),
            identity_interval: Duration::from_secs(1),
            topology_interval: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// How long to wait after failures.
    pub(super) fn pauses(&self) -> Pauses {
        Pauses { first: self.pause_first, longest: self.pause_max, jitter: JITTER }
    }

    /// How long to wait after what only an operator can mend: each attempt may count against an account.
    pub(super) fn slow_pauses(&self) -> Pauses {
        self.pauses().even(self.pause_max.saturating_mul(10))
    }
}
