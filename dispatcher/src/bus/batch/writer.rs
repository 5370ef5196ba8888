//! Makes record batches. Owns their encoding and how many bytes one will have. Who wrote a batch and where it lies in
//! the log is patched in afterwards ([`super::header`]), so that a batch is encoded once. Never makes one that is
//! longer than its bound. Next: the log that appends it.

use bytes::{Bytes, BytesMut};

use super::deflate::Deflater;
use super::header::{self, Identity, Summary};
use super::{Codec, HEADER_BYTES, varint};

/// Kafka says lengths in 31 bits.
const BATCH_BYTES_MAX: usize = i32::MAX as usize;

/// Collects the records of one batch.
#[derive(Debug)]
pub struct BatchBuilder {
    bytes_max: usize,
    deflater: Deflater,
    /// Room for the header, then records, not compressed.
    bytes: Vec<u8>,
    record_count: i32,
    first_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

/// The batch is as full as it may be; the record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchFull;

impl BatchBuilder {
    /// An empty one, for batches of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> BatchBuilder {
        BatchBuilder::compressed(bytes_max, Codec::None)
    }

    /// An empty one, for compressed batches of at most `bytes_max` bytes before compression. A batch that would become
    /// no shorter stays as it is.
    pub fn compressed(bytes_max: usize, codec: Codec) -> BatchBuilder {
        BatchBuilder {
            bytes_max: bytes_max.min(BATCH_BYTES_MAX),
            deflater: Deflater::new(codec),
            bytes: vec![0; HEADER_BYTES],
            record_count: 0,
            first_timestamp_ms: 0,
            max_timestamp_ms: 0,
        }
    }

    /// Bytes of a batch that has one record, not compressed: what a record must fit the topic's limit with.
    pub fn bytes_of_one(key_bytes: usize, value_bytes: usize) -> usize {
        HEADER_BYTES + with_length(body_bytes(0, 0, Some(key_bytes), Some(value_bytes)))
    }

    /// Records that it has.
    pub fn record_count(&self) -> usize {
        usize::try_from(self.record_count).unwrap_or(0)
    }

    /// Bytes that it has, not compressed.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Add a record; its time is in milliseconds of the Unix epoch.
    ///
    /// # Errors
    /// [`BatchFull`] if the batch would become longer than its bound.
    pub fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, timestamp_ms: i64) -> Result<(), BatchFull> {
        let base = if self.record_count == 0 { timestamp_ms } else { self.first_timestamp_ms };
        let timestamp_delta = timestamp_ms.checked_sub(base).ok_or(BatchFull)?;
        let offset_delta = i64::from(self.record_count);
        let body = body_bytes(timestamp_delta, offset_delta, key.map(<[u8]>::len), value.map(<[u8]>::len));
        if with_length(body) > self.bytes_max.saturating_sub(self.bytes.len()) {
            return Err(BatchFull);
        }
        let out = &mut self.bytes;
        out.reserve(with_length(body));
        varint::write(out, signed(body));
        out.push(0);
        varint::write(out, timestamp_delta);
        varint::write(out, offset_delta);
        for part in [key, value] {
            match part {
                Some(part) => {
                    varint::write(out, signed(part.len()));
                    out.extend_from_slice(part);
                }
                None => varint::write(out, -1),
            }
        }
        varint::write(out, 0);
        self.max_timestamp_ms =
            if self.record_count == 0 { timestamp_ms } else { self.max_timestamp_ms.max(timestamp_ms) };
        self.first_timestamp_ms = base;
        self.record_count += 1;
        Ok(())
    }

    /// The batch, at offset 0, of a producer without identity. The builder is empty then. `None` without records.
    pub fn finish(&mut self) -> Option<Bytes> {
        if self.record_count == 0 {
            return None;
        }
        let mut batch = std::mem::replace(&mut self.bytes, vec![0; HEADER_BYTES]);
        let mut codec = Codec::None;
        if self.deflater.codec() != Codec::None {
            let mut compressed = vec![0; HEADER_BYTES];
            let done = self.deflater.deflate(&batch[HEADER_BYTES..], &mut compressed);
            if done.is_some() && compressed.len() < batch.len() {
                codec = self.deflater.codec();
                batch = compressed;
            }
        }
        let summary = Summary {
            codec,
            record_count: std::mem::take(&mut self.record_count),
            first_timestamp_ms: self.first_timestamp_ms,
            max_timestamp_ms: self.max_timestamp_ms,
        };
        header::fill(&mut batch, &summary);
        Some(batch.into())
    }
}

/// The same batch of this producer. Copies it only if somebody else holds it too.
///
/// # Panics
/// If `batch` is none.
pub fn signed_by(batch: Bytes, identity: Identity) -> Bytes {
    let mut batch = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    header::set_identity(&mut batch, identity);
    batch.freeze()
}

/// The same batch in its place in a log. Copies it only if somebody else holds it too.
///
/// # Panics
/// If `batch` is none.
pub fn placed_at(batch: Bytes, base_offset: i64, leader_epoch: i32) -> Bytes {
    let mut batch = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    header::set_place(&mut batch, base_offset, leader_epoch);
    batch.freeze()
}

/// Bytes of a record behind its length.
fn body_bytes(timestamp_delta: i64, offset_delta: i64, key: Option<usize>, value: Option<usize>) -> usize {
    let part = |bytes: Option<usize>| bytes.map_or(1, |bytes| varint::size(signed(bytes)) + bytes);
    // Attributes and a count of no headers take a byte each.
    2 + varint::size(timestamp_delta) + varint::size(offset_delta) + part(key) + part(value)
}

fn with_length(body: usize) -> usize {
    varint::size(signed(body)) + body
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("no slice is that long")
}
