//! The listener as jobs see it: goim's bytes, goim's errors, goim's habits, over loopback sockets and real HTTP/2.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use futures_util::StreamExt;
use halley_protocol::proto::goim_comet::comet_client::CometClient;
use halley_protocol::proto::goim_comet::comet_server::Comet;
use halley_protocol::proto::goim_comet::{BroadcastReq, BroadcastRoomReq, PushMsgReq, RoomsReq};
use halley_protocol::proto::goim_protocol::Proto;
use halley_protocol::proto::push::push_client::PushClient;
use halley_protocol::proto::push::{PushReply, PushRequest, push_server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::incoming::PREFACE_TIME;
use super::*;
use crate::feed::intake::{self, Body, Target};

/// T1 of goim §9: op 1000, `{"test":1}`.
const T1: &[u8] = b"\0\0\0\x1a\0\x10\0\x01\0\0\x03\xe8\0\0\0\0{\"test\":1}";

/// Pushes that came through the door, shown.
type Seen = Rc<RefCell<Vec<String>>>;

/// Serve on a loopback port with somebody behind the door who takes every push, answers with two rooms, and notes
/// what came; run a test against it.
fn against<F: Future>(test: impl FnOnce(SocketAddr, Seen) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (intake, requests) = Intake::new();
        let seen = Seen::default();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = serve(vec![listener], intake, None, Arc::default(), async { drop(stopped.await) });
        let test = async {
            let result = test(address, Rc::clone(&seen)).await;
            drop(stop);
            result
        };
        let (served, result, ()) = tokio::join!(served, test, note(requests, &seen));
        served.expect("served to the end");
        result
    })
}

async fn note(mut requests: mpsc::Receiver<intake::Request>, seen: &Seen) {
    while let Some(request) = requests.recv().await {
        match request {
            intake::Request::Deliver { pushes, reply } => {
                seen.borrow_mut().extend(pushes.iter().map(show));
                let accepted = pushes.iter().map(|_| intake::Accepted { matched: None }).collect();
                let _ = reply.send(accepted);
            }
            intake::Request::Rooms { reply } => {
                let _ = reply.send(Arc::new(vec![("live://1000".to_owned(), 3)]));
            }
            other => panic!("jobs do not ask for {other:?}"),
        }
    }
}

fn show(push: &intake::Push) -> String {
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
        Body::Message { .. } => "message".to_owned(),
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
    let mut grpc = Grpc::new(channel);
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

#[test]
fn calls_end_with_unavailable_when_feed_is_gone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (intake, requests) = Intake::new();
        drop(requests);
        let push = PushMsgReq { keys: vec!["k".to_owned()], proto: raw(T1), proto_op: 1000 };
        let status = CometService::new(intake).push_msg(Request::new(push)).await;
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

/// goim's clients ping every ten seconds without a call, which grpc-go's servers punish by GOAWAY. Here a thousand pings in
/// a row are answered, and the connection still takes calls.
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

/// The bound on connections makes one more wait, not fail.
#[test]
fn a_connection_beyond_the_bound_is_served_when_another_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let stats = Arc::<FeedStats>::default();
        let mut accepted = Box::pin(incoming(listener, Places::new(1, Arc::clone(&stats))));
        let _clients = (TcpStream::connect(address).await, TcpStream::connect(address).await);
        let Some(Ok(first)) = accepted.next().await else { panic!("it never ends") };
        tokio::select! {
            biased;
            _ = accepted.next() => panic!("the bound was passed"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(stats.read().grpc_connections, 1);
        drop(first);
        assert_eq!(stats.read().grpc_connections, 0);
        assert!(accepted.next().await.is_some());
    });
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Who says nothing, or too little, gives the place back in time; who has said the preface may be silent for longer.
#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_say_the_preface_is_closed() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (intake, _requests) = Intake::new();
    let stats = Arc::<FeedStats>::default();
    let served = serve(vec![listener], intake, None, Arc::clone(&stats), std::future::pending());
    let test = async {
        let connect = async |words: &[u8]| {
            let mut client = TcpStream::connect(address).await.expect("it listens");
            client.write_all(words).await.expect("sent");
            client
        };
        let ended = async |mut client: TcpStream| {
            let mut rest = Vec::new();
            let end = client.read_to_end(&mut rest);
            tokio::time::timeout(2 * PREFACE_TIME, end).await.is_ok()
        };
        let silent = connect(b"").await;
        let short = connect(&PREFACE[..PREFACE.len() - 1]).await;
        let speaking = connect(&[PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat()).await;
        assert_eq!(tokio::join!(ended(silent), ended(short), ended(speaking)), (true, true, false));
    };
    tokio::select! {
        _ = served => panic!("nobody told it to stop"),
        () = test => {}
    }
}

/// A preface that comes in pieces, but in time, is passed on whole.
#[tokio::test(start_paused = true)]
async fn a_slow_preface_is_passed_on_whole() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
    let mut accepted = Box::pin(incoming(listener, Places::new(1, Arc::default())));
    let Some(Ok(mut first)) = accepted.next().await else { panic!("it never ends") };
    let (mut read, late) = (vec![0; PREFACE.len()], b"late");
    let write = async {
        for piece in PREFACE.chunks(6) {
            tokio::time::sleep(PREFACE_TIME / 5).await;
            client.write_all(piece).await.expect("sent");
        }
        tokio::time::sleep(2 * PREFACE_TIME).await;
        client.write_all(late).await.expect("sent");
    };
    let reading = async {
        first.read_exact(&mut read).await.expect("in time");
        let mut rest = [0; 4];
        first.read_exact(&mut rest).await.expect("nothing more is awaited");
        assert_eq!(&rest, late);
    };
    tokio::join!(write, reading);
    assert_eq!(read, PREFACE);
}

/// An answer for the push API, from whoever implements it.
struct Echo;

#[tonic::async_trait]
impl push_server::Push for Echo {
    async fn push(&self, request: Request<PushRequest>) -> Result<tonic::Response<PushReply>, Status> {
        // Who calls matters to it: without a token it serves the own machine only.
        let caller = request.remote_addr().ok_or_else(|| Status::internal("no caller"))?;
        Ok(tonic::Response::new(PushReply { id: caller.ip().to_string(), matched: None }))
    }
}

#[test]
fn the_push_api_is_served_beside_comet() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (intake, requests) = Intake::new();
        let push = Some(Routes::new(push_server::PushServer::new(Echo)));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = serve(vec![listener], intake, push, Arc::default(), async { drop(stopped.await) });
        let seen = Seen::default();
        let test = async {
            let channel = channel(address).await;
            let answer = PushClient::new(channel.clone()).push(PushRequest::default()).await.expect("served");
            assert_eq!(answer.into_inner().id, "127.0.0.1");
            assert!(CometClient::new(channel).rooms(RoomsReq {}).await.is_ok());
            drop(stop);
        };
        let (served, (), ()) = tokio::join!(served, test, note(requests, &seen));
        served.expect("served to the end");
    });
}

#[test]
fn serving_ends_when_told_and_finishes_calls() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listeners = vec![
            TcpListener::bind(("127.0.0.1", 0)).await.expect("a port"),
            TcpListener::bind(("127.0.0.1", 0)).await.expect("a port"),
        ];
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().expect("bound")).collect();
        let (intake, mut requests) = Intake::new();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = serve(listeners, intake, None, Arc::default(), async { drop(stopped.await) });
        let test = async {
            let (first, second) = (channel(addresses[0]).await, channel(addresses[1]).await);
            let (mut first, mut second) = (CometClient::new(first), CometClient::new(second));
            let behind = async {
                // The first call is under way when the stop comes; it is answered afterwards.
                let Some(intake::Request::Rooms { reply }) = requests.recv().await else { panic!("asked for rooms") };
                drop(stop);
                tokio::task::yield_now().await;
                let _ = reply.send(Arc::default());
            };
            let (answer, ()) = tokio::join!(first.rooms(RoomsReq {}), behind);
            answer.expect("finished");
            // The listeners are closed by the time the connection has been told to go.
            while second.rooms(RoomsReq {}).await.is_ok() {}
        };
        let (served, ()) = tokio::join!(served, test);
        served.expect("ended without an error");
        for address in addresses {
            assert!(TcpStream::connect(address).await.is_err(), "still listens");
        }
    });
}

/// However many keys a push names, none is refused or lost: they come through the door in pieces of one request, in order, each key
/// once.
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
