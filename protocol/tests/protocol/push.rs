//! A push as goim's record: golden bytes, what stock jobs see of our own fields, round trips, and what is seen of one
//! without decoding it.

use bytes::Bytes;
use halley_protocol::proto::goim_logic::PushMsg;
use halley_protocol::push::interest::Interest;
use halley_protocol::push::look::Look;
use halley_protocol::push::{Push, PushRecord, RecordError, Target};
use proptest::prelude::*;
use prost::Message as _;

use crate::oracles::look::look;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn record(target: Target) -> PushRecord {
    let push = Push { target, op: 1000, body: Bytes::from("{\"test\":1}") };
    PushRecord { push, server: "comet1".into(), receipt: 0 }
}

fn keys(keys: &[&str]) -> Target {
    Target::Keys(keys.iter().map(|key| (*key).into()).collect())
}

/// Golden vectors P1, P2 and P3 (goim §9.3), with the Kafka keys of goim §3.
#[test]
fn records_are_goims_bytes() {
    for (record, key, value) in [
        (record(keys(&["k1", "k2"])), "k1", "10e8072206636f6d65743132026b3132026b323a0a7b2274657374223a317d"),
        (
            record(Target::Room("live://1000".into())),
            "live://1000",
            "080110e8072a0b6c6976653a2f2f313030303a0a7b2274657374223a317d",
        ),
        (record(Target::All { speed: 32 }), "1000", "080210e80718203a0a7b2274657374223a317d"),
    ] {
        assert_eq!((record.key(), hex(&record.encode())), (key.to_string(), value.to_string()));
    }
}

/// What goim has no field for comes after its message, under numbers that stock jobs skip: such a record is a push to
/// no server and no key for them.
#[test]
fn mids_and_receipts_are_invisible_to_stock_jobs() {
    let record = PushRecord { receipt: 9, ..record(Target::Mids(vec![7, 8])) };
    assert_eq!(record.key(), "7");
    let value = record.encode();
    let stock = PushMsg::decode(value.clone()).unwrap();
    let body = Bytes::from("{\"test\":1}");
    assert_eq!(stock, PushMsg { operation: 1000, msg: body, ..PushMsg::default() });
    let ours = PushRecord::decode(&value).unwrap();
    assert_eq!((ours.push.target, ours.receipt), (Target::Mids(vec![7, 8]), 9));
}

#[test]
fn records_that_are_no_push_are_told_apart() {
    let decode = |hex: &[u8]| PushRecord::decode(&Bytes::copy_from_slice(hex));
    assert!(matches!(decode(&[0xff]), Err(RecordError::Malformed(_))));
    assert_eq!(decode(&[0x08, 0x07]), Err(RecordError::UnknownType(7)));
    assert_eq!(decode(&[0x08, 0x01]), Err(RecordError::NoRoom));
    // A stock producer may write a negative speed; goim's job then does not pace.
    let negative = decode(&[0x08, 0x02, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert_eq!(negative.unwrap().push.target, Target::All { speed: 0 });
}

/// Looking at a record allocates nothing, for whomever it is.
#[test]
fn r10_a_look_allocates_nothing() {
    let interest = Interest::new(1_000);
    interest.raise_key("k2");
    for target in [
        keys(&["k1", "k2"]),
        Target::Mids(vec![7, i64::MIN]),
        Target::Room("live://1000".into()),
        Target::All { speed: 32 },
    ] {
        let value = record(target).encode();
        let counted = allocation_counter::measure(|| {
            std::hint::black_box(interest.concerns(&Look::at(&value)));
        });
        assert_eq!(counted.count_total, 0);
    }
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        prop::collection::vec(".*", 0..4).prop_map(Target::Keys),
        prop::collection::vec(any::<i64>(), 1..4).prop_map(Target::Mids),
        ".+".prop_map(Target::Room),
        (0..=u32::try_from(i32::MAX).unwrap()).prop_map(|speed| Target::All { speed }),
    ]
}

proptest! {
    /// Every push reads back as it was written.
    #[test]
    fn records_round_trip(
        target in any_target(), op: i32, body: Vec<u8>, receipt: u64,
    ) {
        let server = if matches!(target, Target::Keys(_)) { "comet1".to_string() } else { String::new() };
        let record = PushRecord { push: Push { target, op, body: body.into() }, server, receipt };
        prop_assert_eq!(PushRecord::decode(&record.encode()), Ok(record));
    }

    /// What is seen of a record is what its decoder says: of several behind each other, which a decoder merges, cut or
    /// changed anywhere.
    #[test]
    fn r10_a_look_says_what_the_decoder_says(
        targets in prop::collection::vec(any_target(), 1..4),
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        cut: prop::sample::Index, receipt: u64,
    ) {
        let record = |target| PushRecord {
            push: Push { target, op: 1000, body: Bytes::from_static(b"body") },
            server: "comet1".into(),
            receipt,
        };
        let mut value = targets.into_iter().map(|target| record(target).encode()).collect::<Vec<_>>().concat();
        look(&value);
        for (at, byte) in changes {
            let at = at % value.len();
            value[at] = byte;
            look(&value);
        }
        look(&value[..cut.index(value.len())]);
    }

    /// No input makes the reader fail otherwise than by its error.
    #[test]
    fn any_bytes_can_be_read(bytes: Vec<u8>) {
        let _ = PushRecord::decode(&bytes.into());
    }
}
