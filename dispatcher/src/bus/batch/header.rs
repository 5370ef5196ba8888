//! Where record batches begin and end, and what their headers say. Owns the fixed places of the header, read and
//! patched. Looks at no record and checks no checksum, so that a walk over an answer costs next to nothing. Never fails
//! on damage: what is no batch is handed out as one that [`BatchReader`](super::BatchReader) refuses with a reason, so
//! that who skips it knows its offsets. Next: [`super::reader`].

use bytes::Bytes;

use super::{Codec, HEADER_BYTES, Unreadable};

/// Base offset and length, which the length does not count.
const PREFIX_BYTES: usize = 12;
/// Up to the magic: as much as every message format has in common.
const COMMON_BYTES: usize = 17;

const LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
/// From here on the checksum counts.
pub(super) const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const FIRST_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const COUNT_AT: usize = 57;

const MAGIC: i8 = 2;

/// Bits 0 to 2: the codec.
const CODEC_BITS: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// Who wrote a batch, and its place in what that producer wrote. All -1 without idempotence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Given by a broker.
    pub producer_id: i64,
    /// Given with it.
    pub producer_epoch: i16,
    /// Number of the first record among those of this producer and partition.
    pub base_sequence: i32,
}

impl Identity {
    /// Of a producer that has none.
    pub const NONE: Identity = Identity { producer_id: -1, producer_epoch: -1, base_sequence: -1 };
}

/// What a batch says of itself. Nothing of it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record that it was written with.
    pub base_offset: i64,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// CRC-32C of all from the attributes on.
    pub crc: u32,
    /// Offset of the last record that it was written with, less the base offset.
    pub last_offset_delta: i32,
    /// What the records' times count from, in milliseconds of the Unix epoch.
    pub first_timestamp_ms: i64,
    /// The latest time of a record; with LogAppendTime the time of every record.
    pub max_timestamp_ms: i64,
    /// Who wrote it.
    pub identity: Identity,
    /// Records that it has.
    pub record_count: i32,
    attributes: i16,
}

impl Header {
    fn read(bytes: &[u8; HEADER_BYTES]) -> Header {
        Header {
            base_offset: i64::from_be_bytes(array(bytes, 0)),
            leader_epoch: i32::from_be_bytes(array(bytes, LEADER_EPOCH_AT)),
            crc: u32::from_be_bytes(array(bytes, CRC_AT)),
            last_offset_delta: i32::from_be_bytes(array(bytes, LAST_OFFSET_DELTA_AT)),
            first_timestamp_ms: i64::from_be_bytes(array(bytes, FIRST_TIMESTAMP_AT)),
            max_timestamp_ms: i64::from_be_bytes(array(bytes, MAX_TIMESTAMP_AT)),
            identity: Identity {
                producer_id: i64::from_be_bytes(array(bytes, PRODUCER_ID_AT)),
                producer_epoch: i16::from_be_bytes(array(bytes, PRODUCER_EPOCH_AT)),
                base_sequence: i32::from_be_bytes(array(bytes, BASE_SEQUENCE_AT)),
            },
            record_count: i32::from_be_bytes(array(bytes, COUNT_AT)),
            attributes: i16::from_be_bytes(array(bytes, ATTRIBUTES_AT)),
        }
    }

    /// Of what is no batch of format 2: an offset, and nothing in it.
    fn of_no_batch(base_offset: i64, leader_epoch: i32) -> Header {
        Header {
            base_offset,
            leader_epoch,
            crc: 0,
            last_offset_delta: 0,
            first_timestamp_ms: -1,
            max_timestamp_ms: -1,
            identity: Identity::NONE,
            record_count: 0,
            attributes: 0,
        }
    }

    /// The offset to read on from, whatever compaction took out: behind the last record that the batch was written
    /// with. Always above the base offset, whatever the batch says.
    pub fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta.max(0))).saturating_add(1)
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`Unreadable::UnknownCodec`].
    pub fn codec(&self) -> Result<Codec, Unreadable> {
        let bits = self.attributes & CODEC_BITS;
        Codec::of_attributes(bits).ok_or(Unreadable::UnknownCodec(bits.to_le_bytes()[0]))
    }

    /// The broker's own: ends of transactions. No record of a producer.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Part of a transaction, which may have been aborted.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// The time of every record is [`Header::max_timestamp_ms`], when the broker appended it.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }
}

/// One batch, whole. Keeps the memory of the answer it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What it says of itself.
    pub header: Header,
    /// From its base offset to the end of its records.
    pub bytes: Bytes,
    fault: Option<Unreadable>,
}

impl Batch {
    /// Why it is no batch, as far as the walk saw: its records were not looked at.
    pub fn fault(&self) -> Option<Unreadable> {
        self.fault
    }
}

/// Batches, one behind the other, as a log answers them.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// What a log answered: whole batches, of which the last may be cut off, which is no fault.
    pub fn new(answer: Bytes) -> Batches {
        Batches { rest: answer }
    }

    /// Bytes that were not handed out. Behind the last batch: of the one that is cut off.
    pub fn rest_bytes(&self) -> usize {
        self.rest.len()
    }
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let common = self.rest.first_chunk::<COMMON_BYTES>()?;
        let base_offset = i64::from_be_bytes(array(common, 0));
        let length = i32::from_be_bytes(array(common, LENGTH_AT));
        let magic = i8::from_be_bytes(array(common, MAGIC_AT));
        let leader_epoch = i32::from_be_bytes(array(common, LEADER_EPOCH_AT));
        // The smallest that this format, or the smallest that any, has.
        let least = if magic == MAGIC { HEADER_BYTES } else { COMMON_BYTES };
        let bytes = usize::try_from(length).unwrap_or(0) + PREFIX_BYTES;
        if bytes < least {
            // Nobody knows where the next one begins.
            return Some(Batch {
                header: Header::of_no_batch(base_offset, leader_epoch),
                bytes: std::mem::take(&mut self.rest),
                fault: Some(Unreadable::Length(length)),
            });
        }
        if self.rest.len() < bytes {
            return None;
        }
        let bytes = self.rest.split_to(bytes);
        Some(match bytes.first_chunk::<HEADER_BYTES>() {
            Some(header) if magic == MAGIC => Batch { header: Header::read(header), bytes, fault: None },
            // Older formats have a checksum where the epoch is now.
            _ => Batch { header: Header::of_no_batch(base_offset, -1), bytes, fault: Some(Unreadable::Magic(magic)) },
        })
    }
}

/// CRC-32C as the header of this batch should have it.
pub(super) fn checksum(batch: &[u8]) -> u32 {
    crc32c::crc32c(&batch[ATTRIBUTES_AT..])
}

/// Puts a batch in its place in a log, as the leader does. The checksum does not count these fields.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_place(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    put(batch, 0, base_offset.to_be_bytes());
    put(batch, LEADER_EPOCH_AT, leader_epoch.to_be_bytes());
}

/// Says who wrote a batch that is already encoded, and makes its checksum right again.
///
/// # Panics
/// As [`set_place`].
pub fn set_identity(batch: &mut [u8], identity: Identity) {
    put(batch, PRODUCER_ID_AT, identity.producer_id.to_be_bytes());
    put(batch, PRODUCER_EPOCH_AT, identity.producer_epoch.to_be_bytes());
    put(batch, BASE_SEQUENCE_AT, identity.base_sequence.to_be_bytes());
    set_checksum(batch);
}

/// Makes the checksum right after anything behind it was changed.
///
/// # Panics
/// As [`set_place`].
pub fn set_checksum(batch: &mut [u8]) {
    let crc = checksum(batch);
    put(batch, CRC_AT, crc.to_be_bytes());
}

/// A header for what was written behind it, without a place, an identity or a checksum yet.
pub(super) struct Summary {
    pub(super) codec: Codec,
    pub(super) record_count: i32,
    pub(super) first_timestamp_ms: i64,
    pub(super) max_timestamp_ms: i64,
}

/// Fills in the header of a batch whose records follow it.
///
/// # Panics
/// If the batch has 2 GiB, or less than a header.
pub(super) fn fill(batch: &mut [u8], summary: &Summary) {
    let length = i32::try_from(batch.len() - PREFIX_BYTES).expect("the builder is bounded below 2 GiB");
    set_place(batch, 0, -1);
    put(batch, LENGTH_AT, length.to_be_bytes());
    put(batch, MAGIC_AT, MAGIC.to_be_bytes());
    put(batch, ATTRIBUTES_AT, summary.codec.attributes().to_be_bytes());
    put(batch, LAST_OFFSET_DELTA_AT, (summary.record_count - 1).to_be_bytes());
    put(batch, FIRST_TIMESTAMP_AT, summary.first_timestamp_ms.to_be_bytes());
    put(batch, MAX_TIMESTAMP_AT, summary.max_timestamp_ms.to_be_bytes());
    put(batch, COUNT_AT, summary.record_count.to_be_bytes());
    set_identity(batch, Identity::NONE);
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}
