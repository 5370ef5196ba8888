//! Counting fields on the wire agrees with what the decoder builds, for our messages, for mixed forms and for broken
//! ones.

use halley_protocol::field_scan::{Element, Malformed, count};
use halley_protocol::proto::goim_comet::PushMsgReq;
use halley_protocol::proto::goim_protocol::Proto;
use halley_protocol::proto::push::push_request::Target;
use halley_protocol::proto::push::{Keys, Mids, PushRequest};
use prost::Message as _;

const MANY: usize = 1 << 20;

#[test]
fn the_keys_of_a_job_are_counted() {
    for keys in [0, 1, 300] {
        let keys: Vec<String> = (0..keys).map(|number| "k".repeat(number % 3)).collect();
        let proto = Some(Proto { op: 9, body: vec![0x0a; 40].into(), ..Proto::default() });
        let message = PushMsgReq { keys: keys.clone(), proto_op: 1000, proto };
        assert_eq!(count(&message.encode_to_vec(), &[1], Element::Bytes, MANY), Ok(keys.len()));
    }
}

#[test]
fn the_targets_of_a_push_are_counted_wherever_they_stand() {
    let push = |target| PushRequest { target: Some(target), op: 1, ..PushRequest::default() }.encode_to_vec();
    let keys = push(Target::Keys(Keys { keys: vec!["a".into(), String::new(), "b".into()] }));
    assert_eq!(count(&keys, &[1, 1], Element::Bytes, MANY), Ok(3));
    let mids = push(Target::Mids(Mids { mids: vec![1, -1, i64::MAX, 0] }));
    assert_eq!(count(&mids, &[2, 1], Element::Varint, MANY), Ok(4));
    // A decoder merges messages that come again, and takes unpacked integers too.
    let again = [&mids[..], &mids, b"\x12\x02\x08\x05"].concat();
    assert_eq!(count(&again, &[2, 1], Element::Varint, MANY), Ok(9));
    match PushRequest::decode(&again[..]).map(|push| push.target) {
        Ok(Some(Target::Mids(mids))) => assert_eq!(mids.mids.len(), 9),
        other => panic!("{other:?}"),
    }
}

#[test]
fn counting_ends_where_it_is_enough() {
    let empty_keys = [0x0a, 0x00].repeat(100_000);
    let counted = count(&empty_keys, &[1], Element::Bytes, 10).expect("a message");
    assert_eq!(counted, 11);
    // What comes after is not looked at.
    let broken = [&empty_keys[..], &[0xff]].concat();
    assert_eq!(count(&broken, &[1], Element::Bytes, 10), Ok(11));
    assert_eq!(count(&broken, &[1], Element::Bytes, MANY), Err(Malformed));
}

#[test]
fn other_fields_are_passed_over_and_broken_ones_are_told() {
    // A varint, a fixed64, a fixed32, a group with a group in it, then one key.
    let message = b"\x20\x96\x01\x29abcdefgh\x35abcd\x3b\x08\x01\x43\x44\x3c\x0a\x01k";
    assert_eq!(count(message, &[1], Element::Bytes, MANY), Ok(1));
    assert!(PushMsgReq::decode(&message[..]).is_ok());
    for broken in [
        &b"\x0a"[..],
        b"\x0a\x02k",
        b"\x0b",
        b"\x0b\x14",
        b"\x0c",
        b"\x0e",
        b"\x0f",
        b"\x29abc",
        b"\x35abc",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        assert_eq!(count(broken, &[1], Element::Bytes, MANY), Err(Malformed), "{broken:?}");
        assert!(PushMsgReq::decode(broken).is_err(), "{broken:?}");
    }
    assert_eq!(count(&[0x0b].repeat(200), &[1], Element::Bytes, MANY), Err(Malformed));
}
