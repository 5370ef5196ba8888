//! What is known outside of a reader while it runs: counters, each partition's place, and whether it is ready. Owns the
//! shared copies, which the consuming task writes a few times a second; shows nothing itself (`crate::metrics` does).

use std::sync::{Mutex, PoisonError};

use halley_service::counters::Published;
use halley_service::metrics::histogram::{Bounds, Buckets};
use tokio::sync::watch;

use super::reader::{Counts, PartitionView};

/// Of the time that one handover's records take to be read and framed, in microseconds.
pub const DECODE_BOUNDS: Bounds<8> =
    Bounds { upper: [10, 25, 50, 100, 250, 1_000, 5_000, 25_000], per_named: 1_000_000 };

halley_service::counters! {
    /// What the consuming task counts.
    pub struct Consumed {
        /// Records that were looked at.
        pub records: u64,
        /// Records that concerned nobody here.
        pub filtered: u64,
        /// Records that were no push.
        pub skipped: u64,
        /// Records without a time.
        pub timeless: u64,
        /// Bytes that the reader holds now.
        pub held_bytes: u64,
        /// How long handovers took to be read, by [`DECODE_BOUNDS`].
        pub decode: Buckets<8>,
    }
}

/// Whether clients may connect, and whether they should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Every partition has had a position.
    pub is_started: bool,
    /// Why the reader is not ready, in a sentence; `None` when it is.
    pub not_ready: Option<String>,
}

/// The shared copies of one reader.
#[derive(Debug)]
pub struct LogStats {
    pub(super) reader: Published<Counts>,
    pub(super) consumed: Published<Consumed>,
    partitions: Mutex<Vec<PartitionView>>,
    status: watch::Sender<Status>,
}

impl Default for LogStats {
    fn default() -> LogStats {
        let not_ready = Some("the log is not read yet".to_owned());
        LogStats {
            reader: Published::default(),
            consumed: Published::default(),
            partitions: Mutex::default(),
            status: watch::Sender::new(Status { is_started: false, not_ready }),
        }
    }
}

impl LogStats {
    /// What the reader counted.
    pub fn reader(&self) -> Counts {
        self.reader.read()
    }

    /// What became of records.
    pub fn consumed(&self) -> Consumed {
        self.consumed.read()
    }

    /// Where each partition is.
    pub fn partitions(&self) -> Vec<PartitionView> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is ready now.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Follows whether it is ready.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(super) fn set_partitions(&self, partitions: impl Iterator<Item = PartitionView>) {
        let mut shown = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clear();
        shown.extend(partitions);
    }

    pub(super) fn set_status(&self, status: Status) {
        self.status.send_if_modified(|shown| {
            let is_new = *shown != status;
            *shown = status;
            is_new
        });
    }
}
