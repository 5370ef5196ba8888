//! Record batches from any bytes: nothing panics, nothing allocates beyond its bound, offsets ascend within their
//! batch, and what we read of records that are not compressed is what another decoder reads.

use std::collections::HashSet;

use bytes::Bytes;
use halley_dispatcher::bus::batch::header::set_checksum;
use halley_dispatcher::bus::batch::{Batch, BatchReader, Batches, HEADER_BYTES, ReadLimits, Unreadable};
use kafka_protocol::records::RecordBatchDecoder;

const LIMITS: ReadLimits = ReadLimits { inflated_bytes_max: 256 * 1024, kept_bytes_max: 64 * 1024 };
/// Output, and a codec's window, which may be 8 MiB whatever the limit.
const HELD_BYTES_MAX: usize = 10 << 20;

/// An answer as it comes, checksums and all.
pub fn answer(data: &[u8]) {
    let mut walk = Batches::new(Bytes::copy_from_slice(data));
    let mut reader = BatchReader::new(LIMITS);
    let mut walked = 0;
    for batch in walk.by_ref() {
        walked += batch.bytes.len();
        let _ = read(&mut reader, &batch);
    }
    assert_eq!(walked + walk.rest_bytes(), data.len(), "every byte is in a batch or left over");
}

/// Six bytes of count, attributes and last offset delta, then records, in a batch whose checksum is right.
pub fn records(data: &[u8]) {
    let Some((&[count_high, count_low, attributes, reserved, delta_high, delta_low], records)) =
        data.split_first_chunk()
    else {
        return;
    };
    let mut bytes = vec![0; HEADER_BYTES];
    let length = i32::try_from(HEADER_BYTES - 12 + records.len()).expect("short");
    bytes[..8].copy_from_slice(&1_000_i64.to_be_bytes());
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    bytes[21..23].copy_from_slice(&[reserved, attributes]);
    bytes[23..27].copy_from_slice(&i32::from(i16::from_be_bytes([delta_high, delta_low])).to_be_bytes());
    bytes[27..35].copy_from_slice(&1_700_000_000_000_i64.to_be_bytes());
    bytes[35..43].copy_from_slice(&1_700_000_000_000_i64.to_be_bytes());
    bytes[57..61].copy_from_slice(&i32::from(i16::from_be_bytes([count_high, count_low])).to_be_bytes());
    bytes.extend_from_slice(records);
    set_checksum(&mut bytes);

    let bytes = Bytes::from(bytes);
    let mut found = Batches::new(bytes.clone());
    let batch = found.next().expect("a whole batch");
    let mut reader = BatchReader::new(LIMITS);
    let first = read(&mut reader, &batch);
    assert!(!matches!(first, Err(Unreadable::BadCrc { .. } | Unreadable::Length(_) | Unreadable::Magic(_))));
    assert_eq!(read(&mut reader, &batch), first, "a reader that has read before reads the same");
    if let Ok(read) = first
        && attributes & 0b10_0111 == 0
        && !read.is_empty()
    {
        another_decoder_agrees(&batch, &read);
    }
}

/// An offset, a key and a value.
type Seen = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

fn read(reader: &mut BatchReader, batch: &Batch) -> Result<Vec<Seen>, Unreadable> {
    let (base, next) = (batch.header.base_offset, batch.header.next_offset());
    assert!(next > base || base == i64::MAX);
    let mut seen: Vec<Seen> = Vec::new();
    let mut end = Ok(());
    match reader.open(batch) {
        Err(why) => end = Err(why),
        Ok(mut records) => {
            for record in records.by_ref() {
                match record {
                    Err(why) => end = Err(why),
                    Ok(record) => {
                        assert!(end.is_ok(), "behind an error there is nothing");
                        assert!((base..=next).contains(&record.offset));
                        assert!(seen.last().is_none_or(|last| last.0 < record.offset || base > i64::MAX - (1 << 32)));
                        assert!(record.timestamp_ms.is_none_or(|time| time >= 0));
                        record.headers().for_each(drop);
                        seen.push((record.offset, record.key.map(Vec::from), record.value.map(Vec::from)));
                    }
                }
            }
        }
    }
    assert!(reader.held_bytes() <= HELD_BYTES_MAX, "{} bytes held", reader.held_bytes());
    end.map(|()| seen)
}

/// The crate takes header names only if they are text, and merges those that are alike, which changes no key or value.
fn another_decoder_agrees(batch: &Batch, ours: &[Seen]) {
    let text = batch_header_names(batch).iter().all(|name| std::str::from_utf8(name).is_ok());
    match RecordBatchDecoder::decode(&mut batch.bytes.clone()) {
        Ok(set) => {
            let theirs: Vec<Seen> = set
                .records
                .into_iter()
                .map(|record| (record.offset, record.key.map(Vec::from), record.value.map(Vec::from)))
                .collect();
            assert_eq!(theirs, ours);
        }
        Err(why) => assert!(!text, "only the crate refuses: {why:#}"),
    }
}

fn batch_header_names(batch: &Batch) -> HashSet<Vec<u8>> {
    let mut reader = BatchReader::new(LIMITS);
    let records = reader.open(batch).expect("readable");
    records.flatten().flat_map(|record| record.headers()).map(|(name, _)| name.to_vec()).collect()
}
