//! `halley.push.v1.Push` over loopback: targets, answers, status codes, access.

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use halley_dispatcher::assemble::Settings;
use halley_dispatcher::bus::embedded::BusLimits;
use halley_dispatcher::ingress::admit::Limits;
use halley_dispatcher::ingress::grpc;
use halley_protocol::proto::push::push_client::PushClient;
use halley_protocol::proto::push::push_request::Target;
use halley_protocol::proto::push::{All, Keys, Mids, PushRequest, Room};
use halley_protocol::push::{Delivery, Target as Wanted};
use halley_service::serve::budget::Budget;
use halley_service::serve::grpc::Grpc;
use halley_service::serve::stats::ListenerStats;
use halley_service::serve::{Application, ServeLimits, Serving, serve};
use support::{FakeGateway, Stand, framed, keys, message, room, token};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

/// Serves the stand's ingress on a port of its own until the test ends.
async fn client(stand: &Stand) -> PushClient<Channel> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let ingress = stand.ingress.clone();
    let methods = grpc::methods(*ingress.limits());
    let access = ingress.access().clone();
    let calls = Grpc::new(Routes::new(grpc::service(ingress)), methods, access, Duration::from_secs(30));
    let serving = Serving::new(Budget::new(64 << 20));
    let (limits, stats) = (ServeLimits::grpc(16), ListenerStats::new("grpc"));
    tokio::spawn(serve(listener, Application::Grpc(calls), limits, serving, stats, std::future::pending()));
    PushClient::new(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
}

fn request(target: Target) -> PushRequest {
    PushRequest { target: Some(target), op: 1000, body: "hi".into(), ..PushRequest::default() }
}

fn to_room(key: &str, kind: &str, id: &str) -> PushRequest {
    request(Target::Room(Room { key: key.into(), r#type: kind.into(), id: id.into() }))
}

#[tokio::test]
async fn every_target_is_delivered_and_answered() {
    let stand = Stand::new();
    let mut client = client(&stand).await;
    for (number, (request, expected)) in [
        (request(Target::Keys(Keys { keys: vec!["a".into(), "b".into()] })), keys(&["a", "b"])),
        (request(Target::Mids(Mids { mids: vec![1, i64::MAX] })), Wanted::Mids(vec![1, i64::MAX])),
        (request(Target::All(All { speed: 7 })), Wanted::All { speed: 7 }),
        (to_room("live://1", "", ""), room("live://1")),
        (to_room("", "live", "1"), room("live://1")),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = client.push(request).await.unwrap().into_inner();
        assert_eq!((reply.id, reply.matched), (format!("0-{number}"), Some(3)));
        let delivery = Delivery { target: expected, op: 1000, body: framed(1000, "hi"), count: true, written_ms: 0 };
        assert_eq!(stand.delivered().await, [delivery]);
    }
    let reply = client.push(PushRequest { dry_run: true, ..to_room("live://1", "", "") }).await.unwrap().into_inner();
    assert_eq!((reply.id.as_str(), reply.matched), ("", Some(3)));
    assert_eq!(stand.gateway.take()[0].body, None, "a dry run sends nothing");
}

#[tokio::test]
async fn mistakes_are_invalid_arguments() {
    let limits = Limits { body_bytes_max: 2, ..Limits::default() };
    let stand = Stand::with(Settings { limits, ..Settings::default() }, FakeGateway::new());
    let mut client = client(&stand).await;
    for (request, part) in [
        (PushRequest { target: None, ..to_room("r", "", "") }, "name a target"),
        (PushRequest { op: 0, ..to_room("r", "", "") }, "op must not be 0"),
        (PushRequest { body: "123".into(), ..to_room("r", "", "") }, "3 bytes, at most 2"),
        (PushRequest { op: 9, dry_run: true, ..to_room("r", "", "") }, "must be whole goim frames"),
        (to_room("", "", ""), "name the room"),
        (to_room("", "live", ""), "name the room"),
        (to_room("r", "live", "1"), "name the room"),
        (request(Target::Keys(Keys::default())), "at least one key"),
        (request(Target::Keys(Keys { keys: vec![String::new()] })), "must not be empty"),
        (request(Target::Mids(Mids { mids: vec![0] })), "above 0"),
        (request(Target::All(All { speed: u32::MAX })), "speed is at most"),
        (PushRequest { op: 9, ..to_room("r", "", "") }, "must be whole goim frames"),
    ] {
        let status = client.push(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{part}");
        assert!(status.message().contains(part), "{}", status.message());
    }
    assert_eq!(stand.delivered().await, []);
}

#[tokio::test]
async fn a_full_bus_is_exhausted_and_a_stopping_gateway_unavailable() {
    let bus = BusLimits { records_max: 0, ..BusLimits::default() };
    let stand = Stand::with(Settings { bus, ..Settings::default() }, FakeGateway::new());
    let mut client = client(&stand).await;
    let full = client.push(to_room("r", "", "")).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted);
    stand.ingress.stop();
    let stopping = client.push(to_room("r", "", "")).await.unwrap_err();
    assert_eq!(stopping.code(), Code::Unavailable);
}

/// The peer of a loopback connection is known, so it may push without a token; with one configured, nobody may without.
#[tokio::test]
async fn the_token_is_asked_for() {
    let stand = Stand::new();
    let mut client = client(&stand).await;
    stand.ingress.access().replace(token("s3cret-0123456789"));
    let with = |token: &str| {
        let mut request = Request::new(to_room("r", "", ""));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    };
    let none = client.push(to_room("r", "", "")).await.unwrap_err();
    assert_eq!(none.code(), Code::Unauthenticated);
    assert_eq!(client.push(with("wrong")).await.unwrap_err().code(), Code::Unauthenticated);
    assert!(client.push(with("s3cret-0123456789")).await.is_ok());
}

/// A raw push (op 9) of whole frames goes through as it is.
#[tokio::test]
async fn a_raw_push_of_whole_frames_is_delivered() {
    let stand = Stand::new();
    let body = b"\0\0\0\x12\0\x10\0\x01\0\0\x03\xe8\0\0\0\0hi".as_slice();
    let raw = PushRequest { op: 9, body: body.into(), ..to_room("r", "", "") };
    client(&stand).await.push(raw).await.unwrap();
    let delivered = stand.delivered().await;
    assert_eq!((delivered[0].op, message(&delivered[0])), (9, Some(body)));
}
