//! What the tests of record batches share: records as values, both encoders, both decoders.

use bytes::{Bytes, BytesMut};
use halley_dispatcher::bus::batch::header::{set_checksum, set_place};
use halley_dispatcher::bus::batch::{Batch, BatchBuilder, BatchReader, Batches, Codec, ReadLimits, Unreadable};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record as Foreign, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

/// A record with all that it says, as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// One with a key and a value, without headers.
pub fn plain(offset: i64, timestamp_ms: i64, key: &str, value: &[u8]) -> Plain {
    Plain { offset, timestamp_ms, key: Some(key.into()), value: Some(value.into()), headers: Vec::new() }
}

/// A batch of ours at offset 0; the records' offsets are not looked at.
pub fn ours(records: &[Plain]) -> Vec<u8> {
    compressed(records, Codec::None)
}

/// The same, compressed.
pub fn compressed(records: &[Plain], codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::compressed(usize::MAX, codec);
    for record in records {
        builder.push(record.key.as_deref(), record.value.as_deref(), record.timestamp_ms).expect("room");
    }
    builder.finish().expect("records").to_vec()
}

/// A batch as the crate encodes it.
pub fn foreign(records: &[Plain], compression: Compression) -> Vec<u8> {
    let first = records[0].offset;
    let records: Vec<Foreign> = records
        .iter()
        .map(|record| Foreign {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 7,
            producer_id: 11,
            producer_epoch: 3,
            timestamp_type: TimestampType::Creation,
            offset: record.offset,
            sequence: i32::try_from(record.offset - first).expect("few records"),
            timestamp: record.timestamp_ms,
            key: record.key.clone().map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| {
                    let name = String::from_utf8(name.clone()).expect("the crate takes text only");
                    (StrBytes::from_string(name), value.clone().map(Bytes::from))
                })
                .collect(),
        })
        .collect();
    let mut out = BytesMut::new();
    RecordBatchEncoder::encode(&mut out, &records, &RecordEncodeOptions { version: 2, compression }).expect("encodes");
    out.to_vec()
}

/// What the crate reads of a batch that it reads rightly (no LogAppendTime, no header twice, no empty batch).
pub fn read_by_the_crate(batches: &[u8]) -> Vec<Plain> {
    let sets = RecordBatchDecoder::decode_all(&mut Bytes::copy_from_slice(batches)).expect("decodes");
    let records = sets.into_iter().flat_map(|set| set.records);
    records
        .map(|record| Plain {
            offset: record.offset,
            timestamp_ms: record.timestamp,
            key: record.key.map(Vec::from),
            value: record.value.map(Vec::from),
            headers: record
                .headers
                .into_iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.map(Vec::from)))
                .collect(),
        })
        .collect()
}

/// The batches of an answer.
pub fn batches(answer: &[u8]) -> Vec<Batch> {
    Batches::new(Bytes::copy_from_slice(answer)).collect()
}

/// What we read of one batch, with a reader that has read nothing before.
pub fn read(batch: &Batch) -> Result<Vec<Plain>, Unreadable> {
    read_with(&mut BatchReader::new(ReadLimits::default()), batch)
}

/// What we read of one batch.
pub fn read_with(reader: &mut BatchReader, batch: &Batch) -> Result<Vec<Plain>, Unreadable> {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    reader
        .open(batch)?
        .map(|record| {
            let record = record?;
            Ok(Plain {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms.unwrap_or(-1),
                key: owned(record.key),
                value: owned(record.value),
                headers: record.headers().map(|(name, value)| (name.to_vec(), owned(value))).collect(),
            })
        })
        .collect()
}

/// What we read of an answer that is one batch.
pub fn read_one(answer: &[u8]) -> Result<Vec<Plain>, Unreadable> {
    let found = batches(answer);
    assert_eq!(found.len(), 1, "one batch");
    read(&found[0])
}

/// The batch with other bytes at one place, and a checksum that is right.
pub fn patched(batch: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = batch.to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    set_checksum(&mut batch);
    batch
}

/// A batch of our own making around these bytes, which may be no records at all.
pub fn around(records: &[u8], record_count: i32, attributes: i16) -> Vec<u8> {
    let mut batch = ours(&[plain(0, 0, "", b"")]);
    batch.truncate(61);
    batch.extend_from_slice(records);
    let length = i32::try_from(batch.len() - 12).expect("short");
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[23..27].copy_from_slice(&(record_count - 1).max(0).to_be_bytes());
    batch[57..61].copy_from_slice(&record_count.to_be_bytes());
    set_checksum(&mut batch);
    batch
}

/// The batch at another offset, of a leader of epoch 7.
pub fn at(batch: &[u8], base_offset: i64) -> Vec<u8> {
    let mut batch = batch.to_vec();
    set_place(&mut batch, base_offset, 7);
    batch
}
