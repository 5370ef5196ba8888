//! Records of one partition that travel together. Owns what names them to the broker (producer id, epoch, sequence),
//! which never changes once they were sent, and what they weigh. Next: [`super::core`] sends them, the driver encodes
//! them with [`Batch::encoded`].

use std::sync::OnceLock;

use bytes::Bytes;

use super::act::Identity;
use crate::bus::Record;

/// Bytes of a batch's header.
pub const BATCH_HEADER_BYTES: usize = 61;

/// What a record may weigh besides its key and value: its own length, attributes, two deltas, the lengths of key,
/// value and headers, all at their longest.
pub const RECORD_OVERHEAD_BYTES: usize = 32;

/// What a record weighs at most, without its batch.
pub fn record_bytes(record: &Record) -> usize {
    record.key.len().saturating_add(record.value.len()).saturating_add(RECORD_OVERHEAD_BYTES)
}

/// A record with the time of its admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// Milliseconds of the Unix epoch.
    pub timestamp_ms: i64,
    /// Key and value.
    pub record: Record,
}

/// Records of one partition under one name.
#[derive(Debug)]
pub struct Batch {
    /// Under which producer id.
    pub identity: Identity,
    /// Sequence number of the first record.
    pub sequence: i32,
    /// The records, one at least.
    pub records: Vec<Stamped>,
    encoded: OnceLock<Bytes>,
}

impl Batch {
    /// A batch that was not sent yet.
    pub fn new(identity: Identity, sequence: i32, records: Vec<Stamped>) -> Batch {
        Batch { identity, sequence, records, encoded: OnceLock::new() }
    }

    /// Its bytes, as they were made for its first attempt; `encode` is called for that one only.
    pub fn encoded(&self, encode: impl FnOnce(&Batch) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(self)).clone()
    }

    /// Sequence number of whatever follows it: after the largest comes 0.
    pub fn sequence_after(&self) -> i32 {
        let records = i64::try_from(self.records.len()).expect("a batch is bounded");
        let next = (i64::from(self.sequence) + records) % (i64::from(i32::MAX) + 1);
        i32::try_from(next).expect("reduced to 31 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(sequence: i32, records: usize) -> Batch {
        let record = Record { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"v") };
        Batch::new(Identity { id: 1, epoch: 0 }, sequence, vec![Stamped { timestamp_ms: 0, record }; records])
    }

    /// Sequence numbers go on at 0 after the largest, as brokers count them.
    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(batch(0, 3).sequence_after(), 3);
        assert_eq!(batch(i32::MAX - 2, 2).sequence_after(), i32::MAX);
        assert_eq!(batch(i32::MAX - 2, 3).sequence_after(), 0);
        assert_eq!(batch(i32::MAX, 3).sequence_after(), 2);
    }

    /// A batch is encoded once, however often it is sent.
    #[test]
    fn a_batch_is_encoded_once() {
        let batch = batch(0, 1);
        assert_eq!(batch.encoded(|_| Bytes::from_static(b"first")), "first");
        assert_eq!(batch.encoded(|_| Bytes::from_static(b"second")), "first");
    }
}
