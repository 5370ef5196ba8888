//! Compression: batches of other encoders, round trips in every codec, bombs, and memory that is given back.

use bytes::Bytes;
use halley_dispatcher::bus::batch::header::set_checksum;
use halley_dispatcher::bus::batch::{BatchBuilder, BatchReader, Codec, HEADER_BYTES, ReadLimits, Unreadable};
use proptest::prelude::*;

use crate::support::{Plain, around, batches, compressed, plain, read_one, read_with};

const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// What other encoders wrote, by name.
pub fn golden() -> Vec<(&'static str, Vec<u8>)> {
    let lines = include_str!("golden.hex").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, hex) = line.split_once(' ').expect("a name and bytes");
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
            (name, (0..hex.len()).step_by(2).map(byte).collect())
        })
        .collect()
}

/// Every form that Kafka's producers write is read: gzip with a name and in two members, snappy raw and in xerial's
/// frame, LZ4 with blocks that hang together, zstd streamed and in two frames.
#[test]
fn batches_of_other_encoders_are_read() {
    let wanted: Vec<Plain> = (0..3)
        .map(|number| Plain {
            offset: 1000 + number,
            timestamp_ms: 1_700_000_000_000 + number,
            key: Some(format!("live://{number}").into()),
            value: Some(format!("record {number} ").repeat(40).into()),
            headers: vec![(b"h".to_vec(), Some(b"x".to_vec()))],
        })
        .collect();
    let golden = golden();
    assert_eq!(golden.len(), 13);
    // One reader for all, so that nothing of one batch is left in the next.
    let mut reader = BatchReader::new(ReadLimits::default());
    for (name, bytes) in golden.iter().chain(golden.iter().rev()) {
        let found = batches(bytes);
        assert_eq!(found[0].header.next_offset(), 1003);
        assert_eq!(read_with(&mut reader, &found[0]), Ok(wanted.clone()), "{name}");
    }
}

/// What was compressed comes back, in every codec, and is shorter where it can be.
#[test]
fn every_codec_comes_back() {
    for codec in ALL {
        for bytes in [0, 1, 1_000, 40_000, 300_000] {
            let records = [plain(0, 3, "key", &vec![7; bytes]), plain(1, 4, "key", &vec![8; bytes])];
            let batch = compressed(&records, codec);
            assert_eq!(read_one(&batch), Ok(records.to_vec()), "{codec}, {bytes}");
            let used = batches(&batch)[0].header.codec();
            assert_eq!(used, Ok(if bytes < 1_000 { Codec::None } else { codec }), "{bytes}");
            assert!(codec == Codec::None || bytes < 1_000 || batch.len() < bytes / 2, "{codec}");
        }
    }
}

/// A mebibyte may come out; what would give eight is stopped there, in every codec, and its memory is given back.
#[test]
fn r6_bombs_are_stopped() {
    let limits = ReadLimits { inflated_bytes_max: 1 << 20, kept_bytes_max: 64 * 1024 };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bomb = compressed(&[plain(0, 0, "", &vec![0; 8 << 20])], codec);
        assert!(bomb.len() < 1 << 20, "{codec}");
        let harmless = compressed(&[plain(0, 0, "", &vec![0; 900_000])], codec);
        let mut reader = BatchReader::new(limits);
        for _ in 0..2 {
            let stopped = read_with(&mut reader, &batches(&bomb)[0]);
            assert_eq!(stopped, Err(Unreadable::Bomb { codec, bytes_max: 1 << 20 }));
            assert!(reader.held_bytes() < 4 << 20, "{codec} holds {}", reader.held_bytes());
            assert!(read_with(&mut reader, &batches(&harmless)[0]).is_ok(), "the next is read, {codec}");
        }
        reader.trim();
        assert!(reader.held_bytes() <= 2 * 64 * 1024, "{codec} keeps {}", reader.held_bytes());
    }
}

/// Windows and lengths that lie about what comes are refused before memory is taken for them.
#[test]
fn r6_lengths_that_lie_take_no_memory() {
    // A zstd frame with a window of 2 GiB, and one of 128 MiB; each then ends.
    for window in [0xa8, 0x88] {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, window, 1, 0, 0];
        let mut reader = BatchReader::new(ReadLimits::default());
        let refused = read_with(&mut reader, &batches(&around(&frame, 1, 4))[0]);
        let bomb = Unreadable::Bomb { codec: Codec::Zstd, bytes_max: 64 << 20 };
        assert_eq!(refused, Err(bomb), "window {window:02x}");
        assert!(reader.held_bytes() < 1 << 20);
    }
    // A raw snappy block, and one in xerial's frame, that say they have 2 GiB, and 60 MiB.
    for length in [&[0xff, 0xff, 0xff, 0xff, 0x07][..], &[0x80, 0x80, 0x80, 0x1e]] {
        let block = [length, &[0]].concat();
        let size = u32::try_from(block.len()).expect("short").to_be_bytes();
        let framed = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], &size, &block].concat();
        for bytes in [block, framed] {
            let mut reader = BatchReader::new(ReadLimits::default());
            let refused = read_with(&mut reader, &batches(&around(&bytes, 1, 2))[0]);
            assert_eq!(refused, Err(Unreadable::Inflate(Codec::Snappy)));
            assert_eq!(reader.held_bytes(), 0);
        }
    }
}

/// Compressed records cut at every byte, or with any byte changed, give a reason or the same records: a frame may end
/// in bytes that change nothing.
#[test]
fn r6_damaged_compression_is_refused() {
    for (name, batch) in golden() {
        let whole = read_one(&batch);
        let header = batches(&batch)[0].header;
        let attributes = i16::from_be_bytes([batch[21], batch[22]]);
        let mut reader = BatchReader::new(ReadLimits { inflated_bytes_max: 1 << 20, ..ReadLimits::default() });
        for at in HEADER_BYTES..batch.len() {
            let cut = around(&batch[HEADER_BYTES..at], header.record_count, attributes);
            let read = read_with(&mut reader, &batches(&cut)[0]);
            // Of LZ4 and zstd the last bytes are an end mark and a checksum.
            let at_end = batch.len() - at <= 8 && (name.starts_with("lz4") || name.starts_with("zstd"));
            assert!(read.is_err() || at_end, "{name} cut at {at}");
            let mut changed = batch.clone();
            changed[at] ^= 0x15;
            set_checksum(&mut changed);
            let read = read_with(&mut reader, &batches(&changed)[0]);
            assert!(read.is_err() || read.as_ref().is_ok_and(|read| read.len() == 3), "{name} changed at {at}");
            assert_eq!(read_with(&mut reader, &batches(&batch)[0]), whole, "{name} after that");
        }
    }
}

fn records() -> impl Strategy<Value = Vec<Plain>> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let record = (bytes(), bytes(), 0..i64::MAX / 2);
    proptest::collection::vec(record, 1..40).prop_map(|records| {
        let records = records.into_iter().zip(0..);
        records
            .map(|((key, value, timestamp_ms), offset)| Plain { offset, timestamp_ms, key, value, headers: Vec::new() })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What is written is read, in every codec, and what is pushed is counted to the byte.
    #[test]
    fn what_is_written_is_read(records in records(), which in 0..ALL.len()) {
        let mut builder = BatchBuilder::compressed(usize::MAX, ALL[which]);
        for record in &records {
            builder.push(record.key.as_deref(), record.value.as_deref(), record.timestamp_ms).expect("room");
        }
        let (bytes, count) = (builder.bytes(), builder.record_count());
        let batch = builder.finish().expect("records");
        prop_assert!(batch.len() <= bytes);
        prop_assert_eq!(count, records.len());
        let found = batches(&Bytes::from(batch.to_vec()));
        prop_assert_eq!(found[0].header.next_offset(), records.last().expect("one").offset + 1);
        prop_assert_eq!(read_one(&batch), Ok(records));
    }
}
