//! The format: ours is what the crate reads, what the crate writes is what ours reads, and the rules that the crate
//! gets wrong.

use bytes::Bytes;
use halley_dispatcher::bus::batch::header::set_checksum;
use halley_dispatcher::bus::batch::writer::{placed_at, signed_by};
use halley_dispatcher::bus::batch::{BatchBuilder, Batches, Codec, HEADER_BYTES, Identity};
use kafka_protocol::records::Compression;

use crate::support::{Plain, around, at, batches, foreign, ours, patched, plain, read, read_by_the_crate, read_one};

fn three() -> Vec<Plain> {
    let mut records = vec![plain(0, 1_700_000_000_000, "live://1", b"hello"), plain(1, 1_700_000_000_300, "", b"")];
    records.push(Plain { offset: 2, timestamp_ms: 1_699_999_999_999, key: None, value: None, headers: Vec::new() });
    records
}

/// Each decoder reads what the other's encoder writes, and of records in the order of time both write the same bytes.
#[test]
fn ours_is_what_the_crate_writes_and_reads() {
    let records = three();
    let identity = Identity { producer_id: 11, producer_epoch: 3, base_sequence: 0 };
    let batch = placed_at(signed_by(Bytes::from(ours(&records)), identity), 0, 7);
    assert_eq!(read_by_the_crate(&batch), records);
    assert_eq!(read_one(&batch), Ok(records.clone()));
    // The crate counts times from the earliest record, Kafka from the first one.
    let theirs = foreign(&records, Compression::None);
    assert_eq!(read_one(&theirs), Ok(records.clone()));
    let ordered = &records[..2];
    let batch = placed_at(signed_by(Bytes::from(ours(ordered)), identity), 0, 7);
    assert_eq!(batch, foreign(ordered, Compression::None));
}

/// One batch by the book, byte by byte.
#[test]
fn golden_bytes_are_read() {
    #[rustfmt::skip]
    let batch = [
        0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 59, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1,
        18, 0, 0, 0, 2, b'k', 4, b'h', b'i', 0,
    ];
    let mut batch = batch.to_vec();
    set_checksum(&mut batch);
    let found = batches(&batch);
    assert_eq!(found[0].header.base_offset, 5);
    assert_eq!(found[0].header.next_offset(), 6);
    assert_eq!(found[0].header.leader_epoch, 1);
    assert_eq!(found[0].header.identity, Identity::NONE);
    assert_eq!(found[0].header.codec(), Ok(Codec::None));
    assert_eq!(read(&found[0]), Ok(vec![plain(5, 1_700_000_000_000, "k", b"hi")]));
}

/// The next offset is that of the batch, not of its last record: compaction leaves empty batches and cut tails.
#[test]
fn r5_the_next_offset_is_the_batchs() {
    let emptied = at(&patched(&around(&[], 0, 0), 23, &9_i32.to_be_bytes()), 100);
    let found = batches(&emptied);
    assert_eq!(found[0].header.next_offset(), 110);
    assert_eq!(read(&found[0]), Ok(Vec::new()));

    let with_tail_gone = at(&patched(&ours(&three()), 23, &9_i32.to_be_bytes()), 100);
    let found = batches(&with_tail_gone);
    assert_eq!(found[0].header.next_offset(), 110);
    assert_eq!(read(&found[0]).map(|records| records.len()), Ok(3));
}

/// Ends of transactions are recognised, have a next offset, and no record.
#[test]
fn r5_control_batches_are_skipped() {
    let control = at(&patched(&ours(&three()[..1]), 21, &0x30_i16.to_be_bytes()), 40);
    let found = batches(&control);
    assert!(found[0].header.is_control() && found[0].header.is_transactional());
    assert_eq!(found[0].header.next_offset(), 41);
    assert_eq!(read(&found[0]), Ok(Vec::new()));
}

/// With LogAppendTime each record has the batch's time; a time below zero is none.
#[test]
fn times_are_the_brokers_where_it_says_so() {
    let stamped = patched(&ours(&three()), 21, &8_i16.to_be_bytes());
    let times = |batch: &[u8]| -> Vec<i64> {
        read_one(batch).expect("readable").into_iter().map(|record| record.timestamp_ms).collect()
    };
    assert_eq!(times(&stamped), [1_700_000_000_300; 3]);
    let untimed = ours(&[plain(0, -1, "k", b"v")]);
    assert_eq!(times(&untimed), [-1]);
}

/// Headers come in order, twice under one name if so written, and with names that are no text.
#[test]
fn headers_are_walked_as_bytes() {
    let record = [
        34, 0, 0, 0, 1, 1, 6, // length 17, no key, no value, three headers
        2, b'a', 2, b'1', 2, b'a', 1, 4, 0xff, 0xfe, 0,
    ];
    let read = read_one(&around(&record, 1, 0)).expect("readable");
    let headers = &read[0].headers;
    assert_eq!(headers.len(), 3);
    assert_eq!(headers[0], (b"a".to_vec(), Some(b"1".to_vec())));
    assert_eq!(headers[1], (b"a".to_vec(), None));
    assert_eq!(headers[2], (vec![0xff, 0xfe], Some(Vec::new())));
}

/// Many batches are walked in one go; the last may be cut at any byte, and everything before it is there.
#[test]
fn a_cut_tail_is_no_fault() {
    let whole = [at(&ours(&three()), 10), at(&ours(&three()[..1]), 13)].concat();
    let tail = at(&ours(&three()), 14);
    for end in 0..tail.len() {
        let mut walk = Batches::new(Bytes::from([&whole[..], &tail[..end]].concat()));
        let next: Vec<i64> = walk.by_ref().map(|batch| batch.header.next_offset()).collect();
        assert_eq!(next, [13, 14]);
        assert_eq!(walk.rest_bytes(), end);
    }
}

/// A batch has as many bytes as was foretold, and none more than its bound.
#[test]
fn sizes_are_known_before() {
    for (key, value) in [(0, 0), (1, 63), (5, 64), (70, 8_200), (3, 1 << 20)] {
        let one = BatchBuilder::bytes_of_one(key, value);
        let (key, value) = (vec![b'k'; key], vec![b'v'; value]);
        let mut builder = BatchBuilder::new(one);
        assert_eq!(builder.bytes(), HEADER_BYTES);
        assert!(builder.push(Some(&key), Some(&value), i64::MAX).is_ok());
        assert_eq!((builder.bytes(), builder.record_count()), (one, 1));
        assert!(builder.push(None, None, i64::MAX).is_err(), "not one byte more");
        assert_eq!(builder.finish().map(|batch| batch.len()), Some(one));
        assert_eq!(builder.finish(), None, "it is empty again");
        assert!(BatchBuilder::new(one - 1).push(Some(&key), Some(&value), 0).is_err());
    }
}

/// Another producer id changes no record, and leaves what somebody else holds as it was.
#[test]
fn identity_and_place_are_patched_in() {
    let identity = Identity { producer_id: 1 << 40, producer_epoch: 2, base_sequence: 99 };
    let first = Bytes::from(ours(&three()));
    let second = placed_at(signed_by(first.clone(), identity), 1 << 50, 12);
    let (first, second) = (&batches(&first)[0], &batches(&second)[0]);
    assert_eq!((first.header.identity, second.header.identity), (Identity::NONE, identity));
    assert_eq!((second.header.base_offset, second.header.leader_epoch), (1 << 50, 12));
    let values = |records: Vec<Plain>| records.into_iter().map(|record| record.value).collect::<Vec<_>>();
    assert_eq!(values(read(first).expect("readable")), values(read(second).expect("readable")));
}
