//! goim's protobuf messages against the golden bytes of goim §9.3, both ways: equal bytes mean equal field numbers,
//! wire types and defaults, which is all that stock components see.

use halley_protocol::proto::goim_comet::{BroadcastReq, BroadcastRoomReq, PushMsgReq, RoomsReply};
use halley_protocol::proto::goim_logic::push_msg::Type;
use halley_protocol::proto::goim_logic::{
    Backoff, ConnectReply, ConnectReq, NodesReply, OnlineReq, PushMsg, ReceiveReq,
};
use halley_protocol::proto::goim_protocol::Proto;
use prost::Message;

use crate::vectors::vector;

fn golden<M: Message + Default + PartialEq + std::fmt::Debug>(id: &str, message: &M) {
    let bytes = vector(id);
    assert_eq!(message.encode_to_vec(), bytes, "{id} encoded");
    assert_eq!(&M::decode(&bytes[..]).expect("golden bytes decode"), message, "{id} decoded");
}

#[test]
fn kafka_records() {
    let msg = PushMsg { operation: 1000, msg: br#"{"test":1}"#.as_slice().into(), ..PushMsg::default() };
    let keys = vec!["k1".to_owned(), "k2".to_owned()];
    golden("P1", &PushMsg { server: "comet1".into(), keys, ..msg.clone() });
    golden("P2", &PushMsg { r#type: Type::Room.into(), room: "live://1000".into(), ..msg.clone() });
    golden("P3", &PushMsg { r#type: Type::Broadcast.into(), speed: 32, ..msg });
}

#[test]
fn comet_requests() {
    let proto = Some(Proto { ver: 1, op: 9, seq: 0, body: vector("T1").into() });
    let keys = vec!["k1".to_owned(), "k2".to_owned()];
    golden("G1", &PushMsgReq { keys, proto: proto.clone(), proto_op: 1000 });
    golden("G2", &BroadcastReq { proto_op: 1000, proto: proto.clone(), speed: 16 });
    golden("G3", &BroadcastRoomReq { room_id: "live://1000".into(), proto });
    golden("G4", &RoomsReply { rooms: [("live://1000".to_owned(), true)].into() });
}

#[test]
fn logic_requests() {
    let token = br#"{"mid":123}"#.as_slice().into();
    golden("G5", &ConnectReq { server: "comet1".into(), cookie: String::new(), token });
    golden(
        "G6",
        &ConnectReply {
            mid: 123,
            key: "k1".into(),
            room_id: "live://1000".into(),
            accepts: vec![1000, 1001, 1002],
            heartbeat: 480_000_000_000,
        },
    );
    golden("G7", &OnlineReq { server: "comet1".into(), room_count: [("live://1000".to_owned(), 3)].into() });
    golden("G8", &ReceiveReq { mid: 123, proto: Some(Proto { ver: 1, op: 4, seq: 2, body: b"hi".as_slice().into() }) });
    golden(
        "G9",
        &NodesReply {
            domain: "conn.goim.io".into(),
            tcp_port: 3101,
            ws_port: 3102,
            wss_port: 3103,
            heartbeat: 240,
            nodes: vec!["comet1.goim.io".into()],
            backoff: Some(Backoff { max_delay: 300, base_delay: 3, factor: 1.8, jitter: 0.3 }),
            heartbeat_max: 2,
        },
    );
}
