//! Records of one partition that travel together. Owns what names them to the broker (producer id, epoch, sequence),
//! which never changes once they were sent, and what they weigh. Next: [`super::core`] sends them, the driver writes
//! [`Batch::encoded`] to the broker.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::bus::Record;
use crate::bus::batch::{self, BatchBuilder, Codec, HEADER_BYTES, writer};

/// Bytes of a batch's header.
pub const BATCH_HEADER_BYTES: usize = HEADER_BYTES;

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
    /// Milliseconds of the Unix epoch, not below 0.
    pub timestamp_ms: i64,
    /// Key and value.
    pub record: Record,
}

/// A producer id with its epoch, as a broker gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
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

    /// Its bytes, made by the first call and the same for every attempt.
    pub fn encoded(&self, codec: Codec) -> Bytes {
        self.encoded.get_or_init(|| self.encode(codec)).clone()
    }

    fn encode(&self, codec: Codec) -> Bytes {
        let mut builder = BatchBuilder::compressed(usize::MAX, codec);
        for Stamped { timestamp_ms, record } in &self.records {
            let pushed = builder.push(Some(&record.key), Some(&record.value), *timestamp_ms);
            pushed.expect("records are bounded by their admission, and so are their times");
        }
        let Identity { id, epoch } = self.identity;
        let identity = batch::Identity { producer_id: id, producer_epoch: epoch, base_sequence: self.sequence };
        writer::signed_by(builder.finish().expect("a batch has a record"), identity)
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

    /// What is written is what was admitted, under the batch's own name, and no longer than what was reckoned.
    #[test]
    fn a_batch_is_read_as_it_was_written() {
        let record =
            |text: &str| Record { key: Bytes::from_static(b"key"), value: Bytes::copy_from_slice(text.as_bytes()) };
        let stamped = |timestamp_ms, text: &str| Stamped { timestamp_ms, record: record(text) };
        let records = vec![stamped(1_700_000_000_000, "a"), stamped(1_700_000_000_007, "b"), stamped(0, "c")];
        let bytes_max = records.iter().map(|it| record_bytes(&it.record)).sum::<usize>() + BATCH_HEADER_BYTES;
        let written = Batch::new(Identity { id: 77, epoch: 3 }, 41, records.clone());
        let encoded = written.encoded(Codec::None);
        assert!(encoded.len() <= bytes_max);
        assert_eq!(encoded.as_ptr(), written.encoded(Codec::Lz4).as_ptr(), "encoded once");
        let mut found = batch::Batches::new(encoded);
        let read = found.next().expect("one batch");
        let named = batch::Identity { producer_id: 77, producer_epoch: 3, base_sequence: 41 };
        assert_eq!((read.fault(), read.header.identity), (None, named));
        let mut reader = batch::BatchReader::new(batch::ReadLimits::default());
        let read: Vec<(i64, Vec<u8>, Vec<u8>)> = (reader.open(&read).expect("readable"))
            .map(|it| it.expect("a record"))
            .map(|it| (it.timestamp_ms.unwrap(), it.key.unwrap().to_vec(), it.value.unwrap().to_vec()))
            .collect();
        let expected = records.iter().map(|it| (it.timestamp_ms, it.record.key.to_vec(), it.record.value.to_vec()));
        assert_eq!(read, expected.collect::<Vec<_>>());
    }
}
