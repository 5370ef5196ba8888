//! The ingress before a log that other gateways read too: what every route answers for every end of a push, and what it
//! says of numbers that it does not know.

mod support;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use halley_dispatcher::bus::{Depth, Position, Producer, PublishError, Record};
use halley_dispatcher::ingress::admit::Limits;
use halley_dispatcher::ingress::http::{DemoInfo, Groups, HttpState, router};
use halley_dispatcher::ingress::{Ingress, grpc};
use halley_dispatcher::receipts::Receipts;
use halley_dispatcher::registry::embedded::EmbeddedRegistry;
use halley_dispatcher::stats::{Kind, Outcome, Stats};
use halley_protocol::proto::push::push_client::PushClient;
use halley_protocol::proto::push::push_request::Target as RequestTarget;
use halley_protocol::proto::push::{CountScope, Mids, PushRequest, Room};
use halley_protocol::push::{PushRecord, Target};
use halley_service::access::rules::AccessRules;
use halley_service::serve::budget::Budget;
use halley_service::serve::grpc::Grpc;
use halley_service::serve::stats::ListenerStats;
use halley_service::serve::{Application, ServeLimits, Serving, serve};
use support::{FakeGateway, call, node, push_call};
use tonic::Code;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};

/// A log of four partitions that does as it is told. A key's partition is its length.
#[derive(Default)]
struct FakeLog {
    fails: Mutex<Option<PublishError>>,
    published: Mutex<Vec<Vec<Record>>>,
}

#[async_trait::async_trait]
impl Producer for FakeLog {
    fn partition_of(&self, key: &[u8]) -> Result<i32, PublishError> {
        Ok(i32::try_from(key.len() % 4).unwrap())
    }

    async fn publish(&self, records: Vec<Record>) -> Result<Vec<Position>, PublishError> {
        if let Some(error) = self.fails.lock().unwrap().clone() {
            return Err(error);
        }
        let position = |record: &Record| Position { partition: self.partition_of(&record.key).unwrap(), offset: 50 };
        let positions = records.iter().map(position).collect();
        self.published.lock().unwrap().push(records);
        Ok(positions)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn depth(&self) -> Depth {
        Depth::default()
    }

    fn close(&self) {
        // It holds nothing back.
    }
}

struct Shared {
    log: Arc<FakeLog>,
    ingress: Arc<Ingress>,
    http: Router,
}

fn shared() -> Shared {
    let (log, gateway) = (Arc::new(FakeLog::default()), FakeGateway::new());
    gateway.set_rooms(&[("live://1", 4)]);
    let registry = Arc::new(EmbeddedRegistry::new(gateway.clone()));
    let (receipts, stats) = (Receipts::new(1), Arc::new(Stats::default()));
    let (limits, access) = (Limits::default(), AccessRules::default());
    let ingress = Arc::new(Ingress::new(log.clone(), gateway, receipts, stats, limits, access, String::new()));
    let state = HttpState::new(ingress.clone(), registry, node(), DemoInfo::default(), Budget::new(64 << 20));
    Shared { log, ingress, http: router(state, Groups::ALL) }
}

async fn client(ingress: Arc<Ingress>) -> PushClient<Channel> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let methods = grpc::methods(*ingress.limits());
    let access = ingress.access().clone();
    let calls = Grpc::new(Routes::new(grpc::service(ingress)), methods, access, Duration::from_secs(30));
    let serving = Serving::new(Budget::new(64 << 20));
    let (limits, stats) = (ServeLimits::grpc(16), ListenerStats::new("grpc"));
    tokio::spawn(serve(listener, Application::Grpc(calls), limits, serving, stats, std::future::pending()));
    PushClient::new(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
}

fn to_room() -> PushRequest {
    let room = Room { key: "live://1".into(), ..Room::default() };
    PushRequest { target: Some(RequestTarget::Room(room)), op: 1000, body: "hi".into(), ..PushRequest::default() }
}

/// How each end of a push is told on each kind of route, in words that say whether it may appear.
#[tokio::test]
async fn every_end_has_its_code_on_every_route() {
    let why = || Arc::from("the leader is changing");
    let too_large = PublishError::TooLarge { bytes: 9, bytes_max: Some(5) };
    let ends = [
        (PublishError::Full, 429, "bus_full", true, -500, Code::ResourceExhausted, "full", Outcome::Full),
        (too_large, 413, "too_large", false, -400, Code::InvalidArgument, "9 bytes", Outcome::TooLarge),
        (
            PublishError::Unavailable(why()),
            503,
            "unavailable",
            true,
            -500,
            Code::Unavailable,
            "will not appear, try again in a moment: the leader is changing",
            Outcome::Unavailable,
        ),
        (
            PublishError::Unknown(why()),
            504,
            "unknown",
            false,
            -504,
            Code::DeadlineExceeded,
            "nobody has confirmed the push, do not simply repeat it: the leader is changing",
            Outcome::Unknown,
        ),
        (PublishError::Closed, 503, "stopping", false, -500, Code::Unavailable, "stopping", Outcome::Stopping),
    ];
    let Shared { log, ingress, http } = shared();
    let mut client = client(ingress.clone()).await;
    for (end, status, code, retry, goim_code, grpc_code, part, outcome) in ends {
        *log.fails.lock().unwrap() = Some(end);
        let answer = push_call(r#"{"target":{"room":"live://1"},"op":1000,"text":"hi"}"#).send(&http).await;
        let told = answer.json();
        assert_eq!((answer.status.as_u16(), &told["error"]["code"]), (status, &code.into()), "{told}");
        assert_eq!(answer.header("retry-after").is_empty(), !retry, "{code}");
        assert!(told["error"]["message"].as_str().unwrap().contains(part), "{told}");
        for uri in [
            "/goim/push/keys?operation=1000&keys=a",
            "/goim/push/mids?operation=1000&mids=1",
            "/goim/push/room?operation=1000&type=live&room=1",
            "/goim/push/all?operation=1000",
        ] {
            let answer = call("POST", uri).body("hi").send(&http).await;
            let told = answer.json();
            assert_eq!((answer.status.as_u16(), &told["code"]), (200, &goim_code.into()), "{uri}: {told}");
            assert!(told["message"].as_str().unwrap().contains(part), "{uri}: {told}");
        }
        let refused = client.push(to_room()).await.unwrap_err();
        assert_eq!(refused.code(), grpc_code, "{refused}");
        assert!(refused.message().contains(part), "{refused}");
        assert_eq!(ingress.stats().pushes(Kind::Room, outcome), 3, "{code}");
    }
}

/// P4: one push is one call to the log, with a record for each partition of its names; the id is the first name's
/// place; nobody waits for a number of matches, and no record asks for one.
#[tokio::test]
async fn p4_a_push_to_many_is_one_call_with_a_record_a_partition() {
    let Shared { log, ingress, http } = shared();
    let answer = push_call(r#"{"target":{"keys":["ccc","a","bbb","dd","e"]},"op":1000,"text":"hi"}"#).send(&http).await;
    assert_eq!(answer.json(), serde_json::json!({"id": "3-50"}));
    let mids = Mids { mids: vec![5, 1000, 7] };
    let mids = PushRequest { target: Some(RequestTarget::Mids(mids)), ..to_room() };
    let reply = client(ingress).await.push(mids).await.unwrap().into_inner();
    assert_eq!((&*reply.id, reply.matched), ("1-50", None));
    let published = std::mem::take(&mut *log.published.lock().unwrap());
    let read = |records: &Vec<Record>| -> Vec<(String, Target, String, u64)> {
        let read = records.iter().map(|record| (record, PushRecord::decode(&record.value).unwrap()));
        let text = |record: &Record| String::from_utf8(record.key.to_vec()).unwrap();
        read.map(|(record, read)| (text(record), read.push.target, read.server, read.receipt)).collect()
    };
    let keys = |names: &[&str]| support::keys(names);
    let none = String::new;
    assert_eq!(
        read(&published[0]),
        [
            ("ccc".into(), keys(&["ccc", "bbb"]), none(), 0),
            ("a".into(), keys(&["a", "e"]), none(), 0),
            ("dd".into(), keys(&["dd"]), none(), 0),
        ]
    );
    let expected =
        [("5".into(), Target::Mids(vec![5, 7]), none(), 0), ("1000".into(), Target::Mids(vec![1000]), none(), 0)];
    assert_eq!(read(&published[1]), expected);
}

/// G3: what only this gateway knows is never shown as the cluster's, and is shown as its own where that is asked for.
#[tokio::test]
async fn g3_numbers_of_this_gateway_are_named_or_refused() {
    let Shared { log, ingress, http } = shared();
    let dry = |scope: &str| format!(r#"{{"target":{{"room":"live://1"}},"op":1000,"dry_run":true{scope}}}"#);
    let refused = push_call(&dry("")).send(&http).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (501, &"only_here".into()));
    let counted = push_call(&dry(r#","scope":"gateway""#)).send(&http).await;
    assert_eq!(counted.json(), serde_json::json!({"matched": 3, "scope": "gateway"}));
    let wrong = push_call(&dry(r#","scope":"world""#)).send(&http).await;
    assert_eq!(wrong.status.as_u16(), 400);

    let refused = call("GET", "/v1/online").send(&http).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (501, &"only_here".into()));
    let online = call("GET", "/v1/online?scope=gateway&limit=1").send(&http).await.json();
    assert_eq!((&online["scope"], &online["rooms"]), (&"gateway".into(), &1.into()));

    for uri in ["online/top?type=live&limit=5", "online/room?type=live&rooms=1", "online/total?"] {
        let refused = call("GET", &format!("/goim/{uri}")).send(&http).await;
        let told = refused.json();
        assert_eq!((refused.status.as_u16(), &told["code"]), (200, &(-501).into()), "{told}");
        assert!(told["message"].as_str().unwrap().contains("scope"), "{told}");
        let own = call("GET", &format!("/goim/{uri}&scope=gateway")).send(&http).await.json();
        assert_eq!((&own["code"], &own["scope"]), (&0.into(), &"gateway".into()), "{own}");
        assert!(!own["data"].is_null(), "{own}");
    }

    let mut client = client(ingress).await;
    let dry = PushRequest { dry_run: true, ..to_room() };
    assert_eq!(client.push(dry.clone()).await.unwrap_err().code(), Code::Unimplemented);
    let own = PushRequest { scope: CountScope::Gateway.into(), ..dry.clone() };
    let counted = client.push(own).await.unwrap().into_inner();
    assert_eq!((counted.matched, counted.scope()), (Some(3), CountScope::Gateway));
    assert_eq!(client.push(PushRequest { scope: 7, ..dry }).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(log.published.lock().unwrap().is_empty(), "a dry run touches no log");
}
