//! Protobuf messages from any bytes: what decodes has one encoding, which decodes to the same again; and its keys were
//! counted rightly before.

use halley_protocol::field_scan::{Element, count};
use halley_protocol::proto::{goim_comet, goim_logic, goim_protocol, push};
use prost::Message;

type Check = fn(&[u8]);

/// The messages that come from outside.
const MESSAGES: [Check; 12] = [
    settles::<goim_protocol::Proto>,
    settles::<goim_comet::PushMsgReq>,
    settles::<goim_comet::BroadcastReq>,
    settles::<goim_comet::BroadcastRoomReq>,
    settles::<goim_comet::RoomsReply>,
    settles::<goim_logic::PushMsg>,
    settles::<goim_logic::ConnectReq>,
    settles::<goim_logic::ConnectReply>,
    settles::<goim_logic::OnlineReq>,
    settles::<goim_logic::ReceiveReq>,
    settles::<goim_logic::NodesReply>,
    settles::<push::PushRequest>,
];

/// One byte that chooses the message, then its bytes.
pub fn protobuf(data: &[u8]) {
    let Some((&which, bytes)) = data.split_first() else { return };
    MESSAGES[usize::from(which) % MESSAGES.len()](bytes);
    counts(bytes);
}

/// What decodes was counted rightly, and what cannot be counted does not decode.
fn counts(bytes: &[u8]) {
    let counted = count(bytes, &[1], Element::Bytes, usize::MAX);
    match (goim_comet::PushMsgReq::decode(bytes), counted) {
        (Ok(message), counted) => assert_eq!(counted, Ok(message.keys.len())),
        (Err(_), _) => {}
    }
    let mids = count(bytes, &[2, 1], Element::Varint, usize::MAX);
    if let Ok(push::PushRequest { target: Some(push::push_request::Target::Mids(decoded)), .. }) =
        push::PushRequest::decode(bytes)
    {
        // What another target replaced meanwhile was counted too.
        assert!(mids.is_ok_and(|mids| mids >= decoded.mids.len()));
    }
}

/// Compares bytes, not values: a NaN is not equal to itself.
fn settles<M: Message + Default>(bytes: &[u8]) {
    let Ok(message) = M::decode(bytes) else { return };
    let encoded = message.encode_to_vec();
    assert_eq!(encoded.len(), message.encoded_len());
    let again = M::decode(&encoded[..]).expect("our own encoding decodes");
    assert_eq!(again.encode_to_vec(), encoded);
}
