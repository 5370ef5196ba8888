//! The listener as jobs see it: goim's bytes, goim's errors, goim's habits, over loopback sockets and real HTTP/2.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use halley_protocol::proto::goim_comet::comet_client::CometClient;
use halley_protocol::proto::goim_comet::comet_server::Comet;
use halley_protocol::proto::goim_comet::{BroadcastReq, BroadcastRoomReq, PushMsgReq, RoomsReq};
use halley_protocol::proto::goim_protocol::Proto;
use halley_service::access::Access;
use halley_service::access::rules::AccessRules;
use halley_service::access::tokens::Token;
use halley_service::serve::budget::Budget;
use halley_service::serve::grpc::Grpc;
use halley_service::serve::stats::ListenerStats;
use halley_service::serve::{Application, ServeLimits, Serving, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::client::Grpc as Client;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::*;
use crate::feed::intake;

/// Keys that the tests' listener takes in one push.
const KEYS_MAX: usize = 250_000;
const CALL_TIME: std::time::Duration = std::time::Duration::from_secs(30);
/// How long a whole test may take; only a failing one does.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// T1 of goim §9: op 1000, `{"test":1}`.
const T1: &[u8] = b"\0\0\0\x1a\0\x10\0\x01\0\0\x03\xe8\0\0\0\0{\"test\":1}";

/// Pushes that came through the door, shown.
type Seen = Rc<RefCell<Vec<String>>>;

/// Serve on a loopback port with somebody behind the door who takes every push, answers with two rooms, and notes
/// what came; run a test against it.
fn against<F: Future>(test: impl FnOnce(SocketAddr, Seen) -> F) -> F::Output {
    against_rules(AccessRules::new(Access::default().lenient_for(COMET)), test)
}

/// As [`against`], for callers whom these rules let in.
fn against_rules<F: Future>(rules: AccessRules, test: impl FnOnce(SocketAddr, Seen) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (intake, requests) = Intake::new();
        let seen = Seen::default();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let calls = Grpc::new(Routes::new(service(intake, Arc::new(Two), None)), methods(KEYS_MAX), rules, CALL_TIME);
        let serving = Serving::new(Budget::new(64 << 20));
        let (limits, stats) = (ServeLimits::grpc(16), ListenerStats::new("grpc"));
        let served = serve(listener, Application::Grpc(calls), limits, serving, stats, async { drop(stopped.await) });
        let test = async {
            let result = test(address, Rc::clone(&seen)).await;
            drop(stop);
            result
        };
        let all = async { tokio::join!(served, test, note(requests, &seen)) };
        let ((), result, ()) = tokio::time::timeout(PATIENCE, all).await.expect("it is over in time");
        result
    })
}

/// Two rooms.
struct Two;

#[tonic::async_trait]
impl Rooms for Two {
    async fn rooms(&self) -> Result<Arc<[(String, u32)]>, NoAnswer> {
        Ok(Arc::from([("live://1000".to_owned(), 3)]))
    }
}

async fn note(mut requests: mpsc::Receiver<intake::Request>, seen: &Seen) {
    while let Some(request) = requests.recv().await {
        match request {
            intake::Request::Deliver { deliveries, reply } => {
                seen.borrow_mut().extend(deliveries.iter().map(show));
                let accepted = deliveries.iter().map(|_| None).collect();
                let _ = reply.send(accepted);
            }
            other => panic!("jobs do not ask for {other:?}"),
        }
    }
}

fn show(push: &Delivery) -> String {
    let target = match &push.target {
        Target::Keys(keys) => format!("keys {}", keys.join(",")),
        Target::Mids(mids) => format!("mids {mids:?}"),
        Target::Room(room) => format!("room {room}"),
        Target::All { speed } => format!("all {speed}/s"),
    };
    let body = match push.body.as_ref().expect("jobs never ask for a dry run") {
        Body::Raw(frames) if **frames == *T1 => "raw T1".to_owned(),
        Body::Raw(frames) => format!("raw of {}", frames.len()),
        Body::Plain { version, op, seq, body } => format!("plain {version} {op} {seq} of {}", body.len()),
        Body::Message(_) => "message".to_owned(),
        Body::Framed(_) => "framed".to_owned(),
    };
    assert!(!push.count, "nobody could read it");
    // Rooms do not ask for accepts.
    if matches!(push.target, Target::Room(_)) {
        format!("{target}: {body}")
    } else {
        format!("{target} op {}: {body}", push.op)
    }
}

async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await.expect("it listens")
}

/// Messages as they are on the wire.
#[derive(Clone, Copy, Default)]
struct Verbatim;

impl Codec for Verbatim {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Verbatim;
    type Decoder = Verbatim;

    fn encoder(&mut self) -> Verbatim {
        Verbatim
    }

    fn decoder(&mut self) -> Verbatim {
        Verbatim
    }
}

impl Encoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining())))
    }
}

async fn call(channel: Channel, method: &str, message: &str) -> Result<Bytes, Status> {
    let digits = message.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    let bytes = digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex digits")).collect::<Vec<_>>();
    let mut grpc = Client::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::try_from(format!("/goim.comet.Comet/{method}")).expect("a path");
    grpc.unary(Request::new(bytes.into()), path, Verbatim).await.map(tonic::Response::into_inner)
}

/// G1 to G4 of goim §9: what a stock job sends and gets, byte for byte.
#[test]
fn the_bytes_of_a_stock_job_are_understood() {
    const G1: &str = "0a026b310a026b32122008011009221a0000001a00100001000003e8000000007b2274657374223a317d18e807";
    const G2: &str = "08e807122008011009221a0000001a00100001000003e8000000007b2274657374223a317d1810";
    const G3: &str = "0a0b6c6976653a2f2f31303030122008011009221a0000001a00100001000003e8000000007b2274657374223a317d";
    const G4: &[u8] = b"\x0a\x0f\x0a\x0blive://1000\x10\x01";
    against(async |address, seen| {
        let channel = channel(address).await;
        for (method, message, answer) in
            [("PushMsg", G1, &b""[..]), ("Broadcast", G2, b""), ("BroadcastRoom", G3, b""), ("Rooms", "", G4)]
        {
            assert_eq!(call(channel.clone(), method, message).await.expect(method), answer, "{method}");
        }
        let expected = ["keys k1,k2 op 1000: raw T1", "all 16/s op 1000: raw T1", "room live://1000: raw T1"];
        assert_eq!(*seen.borrow(), expected);
    });
}

fn raw(body: &'static [u8]) -> Option<Proto> {
    Some(Proto { ver: 1, op: 9, seq: 0, body: Bytes::from_static(body) })
}

#[test]
fn what_goim_refuses_is_refused_in_its_words() {
    against(async |address, seen| {
        let client = CometClient::new(channel(address).await);
        let push = async |keys: &[&str], proto| {
            let keys = keys.iter().map(|&key| key.to_owned()).collect();
            client.clone().push_msg(PushMsgReq { keys, proto, proto_op: 1000 }).await.map(drop)
        };
        let broadcast =
            async |proto, speed| client.clone().broadcast(BroadcastReq { proto_op: 7, proto, speed }).await.map(drop);
        let room = async |room: &str, proto| {
            client.clone().broadcast_room(BroadcastRoomReq { room_id: room.to_owned(), proto }).await.map(drop)
        };
        let refused = |code, text: &str, result: Result<(), Status>| {
            let status = result.expect_err(text);
            assert_eq!((status.code(), status.message()), (code, text));
        };
        refused(Code::Unknown, "rpc pushmsg arg error", push(&[], raw(T1)).await);
        refused(Code::Unknown, "rpc pushmsg arg error", push(&["k"], None).await);
        refused(Code::Unknown, "rpc broadcast arg error", broadcast(None, 1).await);
        refused(Code::Unknown, "rpc broadcast  room arg error", room("", raw(T1)).await);
        refused(Code::Unknown, "rpc broadcast  room arg error", room("r", None).await);

        // What goim would pass on, and its clients trip over.
        let none = "the body of a raw push (op 9) holds no frame";
        refused(Code::InvalidArgument, none, room("r", raw(b"")).await);
        for bad in [&T1[..25], &T1[..7], b"\0\0\0\x0f\0\x10\0\x01\0\0\x03\xe8\0\0\0\0"] {
            for result in [push(&["k"], raw(bad)).await, broadcast(raw(bad), 0).await, room("r", raw(bad)).await] {
                let status = result.expect_err("not whole frames");
                assert_eq!(status.code(), Code::InvalidArgument);
                assert!(status.message().contains("must be whole frames"), "{}", status.message());
            }
        }
        assert_eq!(*seen.borrow(), [""; 0], "nothing of it went on");

        // What goim takes: a plain frame, an empty body, a negative speed (no pacing), one raw body of any op.
        let plain = Proto { ver: -1, op: 4, seq: -1, body: Bytes::new() };
        push(&["k", ""], Some(plain)).await.expect("a plain frame");
        broadcast(raw(T1), -5).await.expect("a negative speed");
        room("no such room", raw(T1)).await.expect("an unknown room");
        let expected = ["keys k, op 1000: plain -1 4 -1 of 0", "all 0/s op 7: raw T1", "room no such room: raw T1"];
        assert_eq!(*seen.borrow(), expected);
    });
}

#[test]
fn gzip_is_taken_and_answered() {
    against(async |address, seen| {
        let plain = CometClient::new(channel(address).await);
        let mut client =
            plain.clone().send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
        let room = || BroadcastRoomReq { room_id: "r".to_owned(), proto: raw(T1) };
        client.broadcast_room(room()).await.expect("gzip is understood");
        let answer = client.rooms(RoomsReq {}).await.expect("an answer in gzip is readable");
        assert_eq!(answer.metadata().get("grpc-encoding").map(|value| value.as_bytes()), Some(&b"gzip"[..]));
        assert_eq!(answer.into_inner().rooms.len(), 1);
        let answer = plain.clone().rooms(RoomsReq {}).await.expect("answered");
        assert_eq!(answer.metadata().get("grpc-encoding"), None, "who does not ask for gzip gets none");
        assert_eq!(seen.borrow().len(), 1);
    });
}

#[test]
fn messages_beyond_goims_four_mebibytes_are_taken() {
    against(async |address, seen| {
        let mut client = CometClient::new(channel(address).await);
        let room = |bytes: usize| {
            let body = vec![b'x'; bytes].into();
            BroadcastRoomReq { room_id: "r".to_owned(), proto: Some(Proto { ver: 1, op: 1000, seq: 0, body }) }
        };
        client.broadcast_room(room(10 << 20)).await.expect("ten mebibytes");
        let status = client.broadcast_room(room(MESSAGE_BYTES_MAX)).await.expect_err("more than the bound");
        assert_eq!(status.code(), Code::OutOfRange);
        assert_eq!(*seen.borrow(), [format!("room r: plain 1 1000 0 of {}", 10 << 20)]);
    });
}

/// G4: a gateway that reads the log takes no push from jobs, whatever it is for, and says why; the rooms it tells.
#[test]
fn g4_a_gateway_that_reads_the_log_takes_no_push() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (intake, mut requests) = Intake::new();
        let comet = CometService { intake, rooms: Arc::new(Two), refusal: Some("it reads the log") };
        let keys = |count: usize| (0..count).map(|number| format!("k{number}")).collect();
        for count in [1, KEYS_PER_PIECE + 1] {
            let push = PushMsgReq { keys: keys(count), proto: raw(T1), proto_op: 1000 };
            let status = comet.push_msg(Request::new(push)).await.expect_err("refused");
            assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "it reads the log"));
        }
        let all = BroadcastReq { proto_op: 1000, proto: raw(T1), speed: 0 };
        assert_eq!(comet.broadcast(Request::new(all)).await.expect_err("refused").code(), Code::FailedPrecondition);
        let room = BroadcastRoomReq { room_id: "live://1000".to_owned(), proto: raw(T1) };
        let refused = comet.broadcast_room(Request::new(room)).await.expect_err("refused");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(Comet::rooms(&comet, Request::new(RoomsReq {})).await.is_ok());
        assert!(requests.try_recv().is_err(), "nothing came through the door");
    });
}

#[test]
fn calls_end_with_unavailable_when_feed_is_gone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (intake, requests) = Intake::new();
        drop(requests);
        let push = PushMsgReq { keys: vec!["k".to_owned()], proto: raw(T1), proto_op: 1000 };
        let status = CometService { intake, rooms: Arc::new(Two), refusal: None }.push_msg(Request::new(push)).await;
        let status = status.expect_err("nobody is behind the door");
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "the gateway is stopping"));
    });
}

/// One HTTP/2 frame (RFC 9113 §4.1).
async fn read_frame(stream: &mut TcpStream) -> (u8, u8, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.expect("a frame");
    let [l0, l1, l2, kind, flags, ..] = head;
    let mut body = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
    stream.read_exact(&mut body).await.expect("its payload");
    (kind, flags, body)
}

/// goim's clients ping every ten seconds without a call, which grpc-go's servers punish by GOAWAY. Here a thousand
/// pings in a row are answered, and the connection still takes calls.
#[test]
fn pings_without_calls_are_answered_and_never_punished() {
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const ACK: u8 = 1;
    against(async |address, _| {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(&[PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat()).await.expect("sent");
        for number in 0..1_000_u64 {
            let mut ping = [0, 0, 8, PING, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            ping[9..].copy_from_slice(&number.to_be_bytes());
            stream.write_all(&ping).await.expect("sent");
            loop {
                match read_frame(&mut stream).await {
                    (PING, ACK, body) => {
                        assert_eq!(body, number.to_be_bytes());
                        break;
                    }
                    (SETTINGS, 0, _) => stream.write_all(&[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0]).await.expect("sent"),
                    (GOAWAY, ..) => panic!("ping {number} was punished"),
                    _ => {}
                }
            }
        }
    });
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// However many keys a push names, none is refused or lost: they come through the door in pieces of one request, in
/// order, each key once.
#[test]
fn a_push_to_many_keys_comes_in_pieces() {
    against(|address, seen| async move {
        let mut job = CometClient::new(channel(address).await);
        let mut keys: Vec<String> = (0..25_000).map(|number| format!("k{number}")).collect();
        keys.extend(["k0", "k24999"].map(str::to_owned));
        let proto = Some(Proto { ver: 1, op: 9, seq: 0, body: Bytes::from_static(T1) });
        job.push_msg(PushMsgReq { keys: keys.clone(), proto_op: 1000, proto }).await.expect("accepted");
        let pieces: Vec<String> = seen.borrow().clone();
        let names = |piece: &String| {
            piece
                .strip_prefix("keys ")
                .and_then(|rest| rest.strip_suffix(" op 1000: raw T1"))
                .expect("a push to keys")
                .split(',')
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let pieces: Vec<Vec<String>> = pieces.iter().map(names).collect();
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [10_000, 10_000, 5_000]);
        assert_eq!(pieces.concat(), keys[..25_000]);
    });
}

/// A job of goim that sends 200,000 keys in one call is served; one that names more than is allowed is told so before
/// any of them is decoded, packed or not.
#[test]
fn the_keys_of_one_call_are_bounded_before_they_are_decoded() {
    against(async |address, seen| {
        let plain = CometClient::new(channel(address).await).max_encoding_message_size(1 << 30);
        let packed = plain.clone().send_compressed(CompressionEncoding::Gzip);
        let push = |count: usize, key: &str| {
            let keys = vec![key.to_owned(); count];
            PushMsgReq {
                keys,
                proto_op: 1000,
                proto: Some(Proto { ver: 1, op: 9, seq: 0, body: Bytes::from_static(T1) }),
            }
        };
        for mut job in [plain.clone(), packed.clone()] {
            job.push_msg(push(200_000, "a-key-of-thirty-six-characters-or-so")).await.expect("as stock jobs do");
            let status = job.push_msg(push(KEYS_MAX + 1, "")).await.expect_err("too many");
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            assert!(status.message().contains("push_keys_max"), "{status}");
        }
        // Eight million empty keys: 16 MB, of which gzip makes 15 KB.
        let status = packed.clone().push_msg(push(8_000_000, "")).await.expect_err("too many");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert_eq!(seen.borrow().len(), 2 * 20, "only the first of each went on, in pieces");
    });
}

/// Where a token for jobs is configured, no call without it is taken, and other calls are not there.
#[test]
fn jobs_show_their_token_where_there_is_one() {
    let token = Token::new("job-0123456789abcdef", "comet_token", &[COMET]).expect("a token");
    let rules = AccessRules::new(Access::new(vec![token]).lenient_for(COMET));
    against_rules(rules, async |address, seen| {
        let mut job = CometClient::new(channel(address).await);
        let room = || Request::new(BroadcastRoomReq { room_id: "r".to_owned(), proto: raw(T1) });
        let with = |token: &str| {
            let mut request = room();
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
            request
        };
        assert_eq!(job.broadcast_room(room()).await.expect_err("no token").code(), Code::Unauthenticated);
        assert_eq!(job.broadcast_room(with("wrong")).await.expect_err("wrong").code(), Code::Unauthenticated);
        job.broadcast_room(with("job-0123456789abcdef")).await.expect("the token");
        assert_eq!(seen.borrow().len(), 1);
        let unknown = call(channel(address).await, "NoSuchMethod", "").await.expect_err("not there");
        assert_eq!(unknown.code(), Code::Unimplemented);
    });
}
