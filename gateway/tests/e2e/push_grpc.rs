//! Pushing over gRPC: as a stock job does (goim §2.3), with its bytes, and through our own service.

use halley_protocol::proto::goim_comet::{BroadcastReq, BroadcastRoomReq, PushMsgReq, RoomsReply, RoomsReq};
use halley_protocol::proto::goim_protocol::Proto;
use halley_protocol::proto::push::push_client::PushClient;
use halley_protocol::proto::push::{Keys, Mids, PushRequest, Room, push_request::Target};
use prost::Message as _;
use tonic::{Code, Request};

use crate::support::client::End;
use crate::support::frame::golden;
use crate::support::gateway::Start;
use crate::support::grpc::Grpc;
use crate::support::*;

/// The frames of a stock job: op 9 around `frames`.
fn raw(frames: Vec<u8>) -> Proto {
    Proto { ver: 1, op: op::RAW, seq: 0, body: frames.into() }
}

fn to_keys(keys: &[&str], proto_op: i32, proto: Proto) -> PushMsgReq {
    PushMsgReq { keys: keys.iter().map(|key| (*key).to_owned()).collect(), proto_op, proto: Some(proto) }
}

fn to_room(room: &str, proto: Proto) -> BroadcastRoomReq {
    BroadcastRoomReq { room_id: room.to_owned(), proto: Some(proto) }
}

fn to_all(proto_op: i32, proto: Proto) -> BroadcastReq {
    BroadcastReq { proto_op, proto: Some(proto), speed: 0 }
}

/// Proves goim §9.3: the requests G1, G2, G3 of a stock job, byte for byte, reach whom they name; Rooms answers G4.
#[test]
fn a_stock_jobs_requests_are_served() {
    let gateway = Start::new().shards(2).run();
    let grpc = Grpc::connect(gateway.grpc());
    let mut tcp = Transport::Tcp.login(&gateway, 0, "k1", "live://1000", &[1000]);
    let mut ws = Transport::WebSocket.login(&gateway, 0, "k2", "live://1000", &[1000]);
    let push = PushMsgReq::decode(hex(golden::G1).as_slice()).expect("G1");
    let all = BroadcastReq::decode(hex(golden::G2).as_slice()).expect("G2");
    let room = BroadcastRoomReq::decode(hex(golden::G3).as_slice()).expect("G3");
    assert_eq!(
        (push.encode_to_vec(), all.encode_to_vec(), room.encode_to_vec()),
        (hex(golden::G1), hex(golden::G2), hex(golden::G3))
    );
    for mut comet in [grpc.comet(), grpc.comet_gzip()] {
        grpc.wait(comet.push_msg(push.clone())).expect("PushMsg");
        grpc.wait(comet.broadcast_room(room.clone())).expect("BroadcastRoom");
        grpc.wait(comet.broadcast(all.clone())).expect("Broadcast");
        for client in [&mut tcp, &mut ws] {
            for _ in 0..3 {
                assert_eq!(client.receive(), Frame::new(1000, 0, r#"{"test":1}"#));
            }
        }
        let reply = grpc.wait(comet.rooms(RoomsReq {})).expect("Rooms").into_inner();
        assert_eq!(RoomsReply::encode_to_vec(&reply), hex(golden::G4));
    }
}

/// Proves goim §1.9 (T2, R2): a batch reaches TCP as its frames alone and WebSocket as one message, byte for byte.
#[test]
fn a_batch_has_goims_bytes() {
    let gateway = Gateway::start();
    let grpc = Grpc::connect(gateway.grpc());
    let mut tcp = TcpClient::connect(gateway.tcp());
    tcp.send_bytes(&hex(golden::F1));
    assert_eq!(tcp.exact(16), hex(golden::F2));
    let mut ws = WsClient::connect(gateway.ws());
    ws.send_message(&hex(golden::F1));
    assert_eq!(ws.next_message(), Ok(hex(golden::F2)));
    grpc.wait(grpc.comet().broadcast_room(to_room("live://1000", raw(hex(golden::T2))))).expect("BroadcastRoom");
    assert_eq!(tcp.exact(52), hex(golden::T2));
    assert_eq!(ws.next_message(), Ok(hex(golden::R2)[2..].to_vec()));
}

/// Proves goim §1.9: a Proto of another op than 9 goes out as that one plain frame, on both transports.
#[test]
fn a_plain_proto_is_sent_plainly() {
    let gateway = Gateway::start();
    let grpc = Grpc::connect(gateway.grpc());
    let plain = Proto { ver: 3, op: 1005, seq: 42, body: b"plain".to_vec().into() };
    let frame = Frame { ver: 3, op: 1005, seq: 42, body: b"plain".to_vec() };
    let mut tcp = Transport::Tcp.login(&gateway, 0, "t", "", &[1000]);
    let Client::WebSocket(mut ws) = Transport::WebSocket.login(&gateway, 0, "w", "", &[1000]) else {
        unreachable!("built that way")
    };
    grpc.wait(grpc.comet().push_msg(to_keys(&["t", "w"], 1000, plain))).expect("PushMsg");
    assert_eq!(tcp.receive(), frame);
    assert_eq!(ws.next_message(), Ok(frame.encode()));
}

/// Proves goim §2.3: wrong arguments are errors of code UNKNOWN with goim's texts, the two blanks included.
#[test]
fn wrong_arguments_get_goims_texts() {
    let gateway = Gateway::start();
    let grpc = Grpc::connect(gateway.grpc());
    let mut comet = grpc.comet();
    let errors = [
        grpc.wait(comet.push_msg(PushMsgReq::default())).expect_err("no keys"),
        grpc.wait(comet.push_msg(PushMsgReq { keys: vec!["k".into()], ..Default::default() })).expect_err("no proto"),
        grpc.wait(comet.broadcast(BroadcastReq::default())).expect_err("no proto"),
        grpc.wait(comet.broadcast_room(BroadcastRoomReq::default())).expect_err("no room"),
        grpc.wait(comet.broadcast_room(to_room("", raw(hex(golden::T1))))).expect_err("empty room"),
    ];
    let texts = [
        "rpc pushmsg arg error",
        "rpc pushmsg arg error",
        "rpc broadcast arg error",
        "rpc broadcast  room arg error",
        "rpc broadcast  room arg error",
    ];
    for (error, text) in errors.iter().zip(texts) {
        assert_eq!((error.code(), error.message()), (Code::Unknown, text));
    }
}

/// The stock JavaScript client trusts inner lengths, so a batch that would mislead it is refused and reaches nobody.
#[test]
fn a_broken_batch_is_refused() {
    let gateway = Gateway::start();
    let grpc = Grpc::connect(gateway.grpc());
    let mut client = Transport::WebSocket.login(&gateway, 0, "k", "", &[1000]);
    let whole = hex(golden::T1);
    let zero_length = frame::raw_header(0, 16, 1, 1000, 0).to_vec();
    for broken in [whole[..whole.len() - 1].to_vec(), zero_length, whole[..8].to_vec(), [&whole[..], &[0]].concat()] {
        let error = grpc.wait(grpc.comet().push_msg(to_keys(&["k"], 1000, raw(broken)))).expect_err("refused");
        assert_eq!(error.code(), Code::InvalidArgument);
    }
    grpc.wait(grpc.comet().push_msg(to_keys(&["k"], 1000, raw(whole)))).expect("a whole batch");
    assert_eq!(client.receive().text(), r#"{"test":1}"#);
}

/// Our own service has the semantics of `/v1/push`.
#[test]
fn own_service_pushes_and_counts() {
    let gateway = Gateway::start();
    let grpc = Grpc::connect(gateway.grpc());
    let mut client = Transport::Tcp.login(&gateway, 5, "k", "a://b", &[1000]);
    let mut service = PushClient::new(grpc.channel());
    let targets = [
        Target::Keys(Keys { keys: vec!["k".into()] }),
        Target::Mids(Mids { mids: vec![5] }),
        Target::Room(Room { key: "a://b".into(), ..Default::default() }),
        Target::Room(Room { r#type: "a".into(), id: "b".into(), ..Default::default() }),
    ];
    for (number, target) in targets.into_iter().enumerate() {
        let body = format!("push {number}");
        let request = PushRequest {
            target: Some(target),
            op: 1000,
            body: body.clone().into_bytes().into(),
            ..PushRequest::default()
        };
        let reply = grpc.wait(service.push(request)).expect("Push").into_inner();
        assert_eq!(reply.matched, Some(1));
        assert!(!reply.id.is_empty());
        assert_eq!(client.receive().text(), body);
    }
    let nothing = grpc.wait(service.push(PushRequest::default())).expect_err("no target");
    assert_eq!(nothing.code(), Code::InvalidArgument);
}

/// The push token protects our own service too.
#[test]
fn own_service_asks_for_the_token() {
    let gateway = Gateway::with("push_token = \"secret-0123456789\"");
    let grpc = Grpc::connect(gateway.grpc());
    let mut service = PushClient::new(grpc.channel());
    let request = |token: Option<&str>| {
        let target = Some(Target::Keys(Keys { keys: vec!["k".into()] }));
        let mut request =
            Request::new(PushRequest { target, op: 1, body: b"x".to_vec().into(), ..PushRequest::default() });
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
        }
        request
    };
    assert_eq!(grpc.wait(service.push(request(None))).expect_err("no token").code(), Code::Unauthenticated);
    let wrong = grpc.wait(service.push(request(Some("wrong")))).expect_err("wrong token").code();
    assert!(matches!(wrong, Code::Unauthenticated | Code::PermissionDenied), "{wrong:?}");
    grpc.wait(service.push(request(Some("secret-0123456789")))).expect("the token");
}

/// A key's client that reads nothing, and enough pushed to it that its queue of 1 KiB is full.
fn stuck(gateway: &Gateway, grpc: &Grpc, key: &str) -> TcpClient {
    let mut client = TcpClient::connect_narrow(gateway.tcp());
    client.send_bytes(&Frame::new(op::AUTH, 1, token(0, key, "", &[1000])).encode());
    assert_eq!(client.next().map(|frame| frame.op), Ok(op::AUTH_REPLY));
    let filler = raw(Frame::new(1000, 0, vec![0; 60_000]).encode());
    eventually("the queue is full", || {
        grpc.wait(grpc.comet().push_msg(to_keys(&[key], 1000, filler.clone()))).expect("PushMsg");
        (gateway.metrics().sum("halley_drops_total", &[]) > 0.0).then_some(())
    });
    client
}

/// Proves defect C14 is not there: a full queue neither fails PushMsg nor keeps later keys from their message.
#[test]
fn c14_a_full_queue_never_stops_the_other_keys() {
    let gateway = Start::new().config("[sockets]\nsend_buffer_bytes = 4096").run();
    let grpc = Grpc::connect(gateway.grpc());
    let mut last = Transport::Tcp.login(&gateway, 0, "last", "", &[1000]);
    let stuck = stuck(&gateway, &grpc, "stuck");
    let message = raw(Frame::new(1000, 0, vec![1; 60_000]).encode());
    for _ in 0..5 {
        grpc.wait(grpc.comet().push_msg(to_keys(&["stuck", "unknown", "last"], 1000, message.clone())))
            .expect("PushMsg");
        assert_eq!(last.receive().body, vec![1; 60_000]);
    }
    drop(stuck);
}

/// Proves defect C4 is not there: a key whose old connection is stuck with a full queue can log in again at once, and
/// the new login is reached.
#[test]
fn c04_a_key_with_a_stuck_connection_can_log_in_again() {
    let gateway = Start::new().config("[sockets]\nsend_buffer_bytes = 4096").run();
    let grpc = Grpc::connect(gateway.grpc());
    let old = stuck(&gateway, &grpc, "again");
    let mut bystander = Transport::Tcp.login(&gateway, 0, "bystander", "", &[1000]);
    let mut new = Transport::Tcp.login(&gateway, 0, "again", "", &[1000]);
    assert_eq!(gateway.push_key("again", 1000, "to the new one"), 1);
    assert_eq!(new.receive().text(), "to the new one");
    assert_eq!(gateway.push_all(1000, "everybody"), 2);
    assert_eq!((bystander.receive().text(), new.receive().text()), ("everybody", "everybody"));
    drop(old);
}

/// Proves defect C5 is not there: a connection that ends while its queue is full leaves nothing behind.
#[test]
fn c05_a_full_queue_is_freed_with_its_connection() {
    let gateway = Start::new().config("[sockets]\nsend_buffer_bytes = 4096").run();
    let grpc = Grpc::connect(gateway.grpc());
    drop(stuck(&gateway, &grpc, "gone"));
    gateway.wait_metric("halley_connections", &[], 0.0);
    gateway.wait_metric("halley_queued_bytes", &[], 0.0);
    assert_eq!(gateway.push_key("gone", 1000, "nobody"), 0);
    let mut again = Transport::Tcp.login(&gateway, 0, "gone", "", &[1000]);
    assert_eq!(gateway.push_key("gone", 1000, "hello"), 1);
    assert_eq!(again.receive().text(), "hello");
}

/// Proves defect C16 is not there: room messages of one caller arrive in the order of its calls.
#[test]
fn c16_room_messages_keep_their_order() {
    let gateway = Start::new().shards(2).run();
    let grpc = Grpc::connect(gateway.grpc());
    let mut clients: Vec<Client> =
        (0..6).map(|n| Transport::BOTH[n % 2].login(&gateway, 0, &format!("k{n}"), "test://order", &[])).collect();
    let mut comet = grpc.comet();
    for number in 0..500 {
        let message = raw(Frame::new(1000, 0, format!("{number}")).encode());
        grpc.wait(comet.broadcast_room(to_room("test://order", message))).expect("BroadcastRoom");
    }
    for client in &mut clients {
        for number in 0..500 {
            assert_eq!(client.receive().text(), number.to_string());
        }
    }
}

/// Proves defect C17 is not there: broadcasts of one caller arrive whole and in order, none is lost, also when many are
/// on their way at once.
#[test]
fn c17_broadcasts_keep_their_order() {
    let gateway = Start::new().shards(2).run();
    let grpc = Grpc::connect(gateway.grpc());
    let mut clients: Vec<Client> =
        (0..6).map(|n| Transport::BOTH[n % 2].login(&gateway, 0, &format!("k{n}"), "", &[1000])).collect();
    let mut comet = grpc.comet();
    for number in 0..500 {
        grpc.wait(comet.broadcast(to_all(1000, raw(Frame::new(1000, 0, format!("{number}")).encode()))))
            .expect("Broadcast");
    }
    for client in &mut clients {
        for number in 0..500 {
            assert_eq!(client.receive().text(), number.to_string());
        }
    }
}

/// A paced broadcast reaches everybody once, and is under way for about the time that its speed tells (J15, C17): with
/// 20 connections at 10 a second, what is pushed right behind it overtakes it for the last ones.
#[test]
fn a_paced_broadcast_reaches_everybody_once() {
    let gateway = Start::new().shards(2).run();
    let mut clients: Vec<Client> =
        (0..20).map(|n| Transport::BOTH[n % 2].login(&gateway, 0, &format!("k{n}"), "", &[1000, 1001])).collect();
    assert_eq!(gateway.post("/goim/push/all?operation=1000&speed=10", b"paced").status, 200);
    gateway.push_all(1001, "overtakes");
    gateway.push_all(1000, "follows");
    let mut overtaken = 0;
    for client in &mut clients {
        let seen = [(); 3].map(|()| client.receive().text().to_owned());
        overtaken += usize::from(seen[0] == "overtakes");
        let place = |text: &str| seen.iter().position(|it| it == text).unwrap_or_else(|| panic!("{text} in {seen:?}"));
        assert!(place("paced") < place("follows"), "broadcasts of one op keep their order: {seen:?}");
        place("overtakes");
    }
    assert!(overtaken > 0, "a broadcast of another op does not wait for a paced one");
    gateway.push_all(1000, "end");
    for client in &mut clients {
        assert_eq!(client.receive().text(), "end", "none came twice");
    }
}

/// Malformed gRPC from a job never ends the gateway, and a stuck job never keeps clients from anything.
#[test]
fn garbage_on_the_grpc_port_is_no_harm() {
    let gateway = Gateway::start();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff"] {
        TcpClient::connect(gateway.grpc()).send_bytes(garbage);
    }
    let mut client = Transport::Tcp.login(&gateway, 0, "k", "", &[1000]);
    let grpc = Grpc::connect(gateway.grpc());
    grpc.wait(grpc.comet().push_msg(to_keys(&["k"], 1000, raw(hex(golden::T1))))).expect("PushMsg");
    assert_eq!(client.receive().text(), r#"{"test":1}"#);
    drop(gateway);
    assert_eq!(client.expect_end(), End::Socket);
}
