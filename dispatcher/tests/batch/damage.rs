//! What is no batch, or one that lies: it is refused with its reason, and nothing is allocated for what it says.

use halley_dispatcher::bus::batch::{HEADER_BYTES, Unreadable};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::support::{around, batches, ours, patched, plain, read, read_one};

fn batch() -> Vec<u8> {
    ours(&[plain(0, 5, "key", b"value"), plain(1, 6, "key", b"value")])
}

/// Any one bit that is turned over behind the checksum is noticed, and so is one in it.
#[test]
fn r6_damage_is_noticed() {
    let batch = batch();
    for at in 17..batch.len() {
        for bit in 0..8 {
            let mut damaged = batch.clone();
            damaged[at] ^= 1 << bit;
            let refused = read_one(&damaged);
            assert!(matches!(refused, Err(Unreadable::BadCrc { .. })), "bit {bit} of byte {at}: {refused:?}");
        }
    }
}

/// Records cut at every byte, in a batch that says otherwise nothing wrong, are refused.
#[test]
fn r6_a_batch_cut_inside_is_refused() {
    let batch = batch();
    for end in 0..batch.len() - HEADER_BYTES {
        let cut = around(&batch[HEADER_BYTES..HEADER_BYTES + end], 2, 0);
        assert_eq!(read_one(&cut), Err(Unreadable::Cut), "after {end} bytes");
    }
}

/// Lengths and counts that lie, each with the reason that names it.
#[test]
fn r6_lies_are_refused() {
    let batch = batch();
    let record = |bytes: &[u8]| read_one(&around(bytes, 1, 0));
    assert_eq!(read_one(&patched(&batch, 57, &(-1_i32).to_be_bytes())), Err(Unreadable::Count(-1)));
    assert_eq!(read_one(&patched(&batch, 57, &i32::MAX.to_be_bytes())), Err(Unreadable::Cut));
    assert_eq!(read_one(&patched(&batch, 57, &1_i32.to_be_bytes())), Err(Unreadable::Leftover));
    assert_eq!(read_one(&patched(&batch, 23, &0_i32.to_be_bytes())), Err(Unreadable::Offset));
    assert_eq!(read_one(&patched(&batch, 21, &5_i16.to_be_bytes())), Err(Unreadable::UnknownCodec(5)));
    assert_eq!(
        record(&[12, 0, 0, 0, 1, 1, 0]),
        Ok(vec![crate::support::Plain { offset: 0, timestamp_ms: 0, key: None, value: None, headers: Vec::new() }])
    );
    assert_eq!(record(&[1]), Err(Unreadable::NegativeLength), "a record of -1 bytes");
    assert_eq!(record(&[14, 0, 0, 0, 1, 1, 0, 0]), Err(Unreadable::Leftover), "a byte behind its headers");
    assert_eq!(record(&[12, 0, 0, 0, 3, 1, 0]), Err(Unreadable::NegativeLength), "a key of -2 bytes");
    assert_eq!(record(&[12, 0, 0, 0, 1, 1, 1]), Err(Unreadable::NegativeLength), "-1 headers");
    assert_eq!(record(&[12, 0, 0, 0, 4, 1, 0]), Err(Unreadable::Cut), "a key that ends behind the record");
    assert_eq!(record(&[12, 0, 0, 1, 1, 1, 0]), Err(Unreadable::Offset), "an offset before the batch");
    let long = [0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(record(&long), Err(Unreadable::Varint), "a length of more than 32 bits");
    let many_headers = [20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(record(&many_headers), Err(Unreadable::Cut), "two billion headers in no bytes");
    let twice = [12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 0, 1, 1, 0];
    assert_eq!(read_one(&around(&twice, 2, 0)), Err(Unreadable::Offset), "one offset twice");
}

/// Other formats name themselves, and the walk goes on behind them.
#[test]
fn r6_other_formats_name_themselves() {
    let mut old = batch();
    old[16] = 1;
    let mut future = batch();
    future[16] = 3;
    let found = batches(&[old, future, batch()].concat());
    assert_eq!(found.len(), 3);
    assert_eq!(read(&found[0]), Err(Unreadable::Magic(1)));
    assert_eq!(read(&found[1]), Err(Unreadable::Magic(3)));
    assert!(read(&found[2]).is_ok());
    assert_eq!(found[0].header.next_offset(), 1, "behind the base offset, not at it");
}

/// Behind a length that no batch has nothing can be found; it is said, and its offset is known.
#[test]
fn r6_a_length_that_no_batch_has_ends_the_walk() {
    for length in [-1, 0, 4, 48, i32::MIN] {
        let mut broken = crate::support::at(&batch(), 70);
        broken[8..12].copy_from_slice(&length.to_be_bytes());
        let found = batches(&[broken, batch()].concat());
        assert_eq!(found.len(), 1);
        assert_eq!(read(&found[0]), Err(Unreadable::Length(length)));
        assert_eq!((found[0].header.base_offset, found[0].header.next_offset()), (70, 71));
    }
}

/// Headers that say the largest numbers there are overflow nothing.
#[test]
fn r6_extremes_overflow_nothing() {
    let batch = batch();
    for offset in [i64::MAX, i64::MIN] {
        for delta in [i32::MAX, i32::MIN] {
            for first in [i64::MAX, i64::MIN] {
                let lying = patched(&patched(&batch, 23, &delta.to_be_bytes()), 27, &first.to_be_bytes());
                let found = batches(&crate::support::at(&lying, offset));
                assert!(found[0].header.next_offset() > offset || offset == i64::MAX);
                assert_eq!(read(&found[0]).is_ok(), delta > 0);
            }
        }
    }
}

/// Each reason is one sentence that says what is wrong.
#[test]
fn r6_each_reason_has_its_sentence() {
    let said = Unreadable::BadCrc { written: 1, found: 0xabcd }.to_string();
    assert_eq!(said, "its checksum says 00000001 and its bytes give 0000abcd: it is damaged");
    assert_eq!(
        Unreadable::Magic(1).to_string(),
        "it has the message format of Kafka 0.10 or older: write the topic anew"
    );
}

/// What other encoders wrote, changed at a few places by chance, keeps every promise of the oracles, with a checksum
/// that is right; and the codecs' libraries do not panic on it either, which would be contained and counted.
#[test]
fn r6_changed_anywhere_nothing_panics() {
    for (name, batch) in crate::codecs::golden() {
        let records = [&[0, 3, batch[22], 0, 0, 2][..], &batch[HEADER_BYTES..]].concat();
        for seed in 0..400 {
            let mut random = SmallRng::seed_from_u64(seed);
            let mut changed = records.clone();
            for _ in 0..random.random_range(1..6) {
                let at = random.random_range(6..changed.len());
                match random.random_range(0..4) {
                    0 => changed[at] = random.random(),
                    1 => changed[at] ^= 1 << random.random_range(0..8),
                    2 => changed.truncate(at.max(7)),
                    _ => changed.insert(at, *[0, 1, 0x7f, 0x80, 0xff].choose(&mut random).expect("some")),
                }
            }
            println!("{name}, seed {seed}");
            crate::oracles::batch::records(&changed);
            assert_eq!(halley_service::panics::contained_total(), 0);
        }
    }
}
