//! What the tests of this crate share: a gateway that only remembers, a dispatcher before it, and requests without
//! sockets.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use halley_dispatcher::assemble::{Dispatcher, Settings, embedded};
use halley_dispatcher::bus::Depth;
use halley_dispatcher::consume::Ended;
use halley_dispatcher::discovery::node::NodeInfo;
use halley_dispatcher::gateways::{Door, Gateway, GatewayGone, Handover, Matched, NoAnswer, Place, Totals};
use halley_dispatcher::ingress::Ingress;
use halley_dispatcher::ingress::access::{PUSH, QUESTIONS};
use halley_dispatcher::ingress::http::{DemoInfo, Groups, HttpState, router};
use halley_protocol::goim::HEADER_BYTES;
use halley_protocol::payload::Payload;
use halley_protocol::push::{Body as PushBody, Delivery, Target};
use halley_service::access::tokens::Token;
use halley_service::access::{Access, Peer};
use halley_service::serve::budget::Budget;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

/// A gateway that accepts everything, remembers it in order, and matches the same number of connections every time.
pub struct FakeGateway {
    pub delivered: Mutex<Vec<Delivery>>,
    pub largest_batch: AtomicUsize,
    pub rooms: Mutex<Vec<(String, u32)>>,
    pub totals: Mutex<Totals>,
    pub matched: u64,
    pub gone: AtomicBool,
    /// Questions about who is online go without an answer.
    pub silent: AtomicBool,
    /// Each delivery takes a permit and gives it back: without any, it waits.
    pub may_deliver: Semaphore,
}

impl FakeGateway {
    pub fn new() -> Arc<FakeGateway> {
        FakeGateway::with_permits(1)
    }

    /// One that accepts nothing until permits are added.
    pub fn stuck() -> Arc<FakeGateway> {
        FakeGateway::with_permits(0)
    }

    fn with_permits(permits: usize) -> Arc<FakeGateway> {
        Arc::new(FakeGateway {
            delivered: Mutex::default(),
            largest_batch: AtomicUsize::new(0),
            rooms: Mutex::default(),
            totals: Mutex::default(),
            matched: 3,
            gone: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            may_deliver: Semaphore::new(permits),
        })
    }

    pub fn set_rooms(&self, rooms: &[(&str, u32)]) {
        *self.rooms.lock().unwrap() = rooms.iter().map(|(room, count)| ((*room).into(), *count)).collect();
    }

    pub fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.delivered.lock().unwrap())
    }

    fn answer(&self) -> Result<(), NoAnswer> {
        match self.silent.load(Ordering::SeqCst) {
            true => Err(NoAnswer::TimedOut),
            false => self.check().map_err(|GatewayGone| NoAnswer::Gone),
        }
    }

    fn check(&self) -> Result<(), GatewayGone> {
        if self.gone.load(Ordering::SeqCst) { Err(GatewayGone) } else { Ok(()) }
    }
}

/// The way in for what is read from the log.
pub struct FakeDoor(pub Arc<FakeGateway>);

/// Room for one handover.
pub struct FakePlace(Arc<FakeGateway>);

impl Door for FakeDoor {
    type Place = FakePlace;

    async fn reserve(&self) -> Result<FakePlace, GatewayGone> {
        self.0.check()?;
        let _permit = self.0.may_deliver.acquire().await.unwrap();
        self.0.check()?;
        Ok(FakePlace(self.0.clone()))
    }
}

impl Place for FakePlace {
    fn admit(self, handover: Handover) -> oneshot::Receiver<Vec<Matched>> {
        let FakePlace(gateway) = self;
        let (reply, answer) = oneshot::channel();
        match handover {
            Handover::Gap(gap) => panic!("the log of one process has no {gap:?}"),
            Handover::Deliver(deliveries) => {
                gateway.largest_batch.fetch_max(deliveries.len(), Ordering::SeqCst);
                let accepted = deliveries.iter().map(|delivery| {
                    delivery.count.then(|| {
                        let (sender, receiver) = oneshot::channel();
                        sender.send(gateway.matched).unwrap();
                        receiver
                    })
                });
                let accepted = accepted.collect();
                // Every push has its time, which no test can foretell.
                let timeless = deliveries.into_iter().map(|delivery| {
                    assert_ne!(delivery.written_ms, 0, "{delivery:?}");
                    Delivery { written_ms: 0, ..delivery }
                });
                gateway.delivered.lock().unwrap().extend(timeless);
                // The consumer may have ended meanwhile.
                let _ = reply.send(accepted);
            }
        }
        answer
    }
}

#[async_trait::async_trait]
impl Gateway for FakeGateway {
    async fn matched(&self, target: Target, op: i32) -> Result<u64, NoAnswer> {
        self.check().map_err(|GatewayGone| NoAnswer::Gone)?;
        let _permit = self.may_deliver.acquire().await.unwrap();
        self.check().map_err(|GatewayGone| NoAnswer::Gone)?;
        self.delivered.lock().unwrap().push(Delivery { target, op, body: None, count: true, written_ms: 0 });
        Ok(self.matched)
    }

    async fn rooms(&self) -> Result<Vec<(String, u32)>, NoAnswer> {
        self.answer()?;
        Ok(self.rooms.lock().unwrap().clone())
    }

    async fn counts(&self, rooms: Vec<String>) -> Result<Vec<u32>, NoAnswer> {
        self.answer()?;
        let known = self.rooms.lock().unwrap();
        let count = |room: &String| known.iter().find(|(name, _)| name == room).map_or(0, |(_, count)| *count);
        Ok(rooms.iter().map(count).collect())
    }

    async fn totals(&self) -> Result<Totals, NoAnswer> {
        self.answer()?;
        Ok(*self.totals.lock().unwrap())
    }
}

/// A running dispatcher with its router.
pub struct Stand {
    pub ingress: Arc<Ingress>,
    pub gateway: Arc<FakeGateway>,
    pub http: Router,
    /// Ends with how it ended, and what is left on the bus.
    pub consumer: JoinHandle<(Ended, Option<Depth>)>,
}

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const DRAIN_WITHIN: Duration = Duration::from_secs(3);

impl Stand {
    pub fn new() -> Stand {
        Stand::with(Settings::default(), FakeGateway::new())
    }

    pub fn with(settings: Settings, gateway: Arc<FakeGateway>) -> Stand {
        let settings = Settings { server_id: "comet1".into(), ..settings };
        let dispatcher = embedded(settings, FakeDoor(gateway.clone()), gateway.clone());
        let Dispatcher { ingress, registry, carry, .. } = dispatcher;
        let demo = DemoInfo { websocket: Some("0.0.0.0:3102".parse().unwrap()), ..DemoInfo::default() };
        let state = HttpState::new(ingress.clone(), registry, node(), demo, Budget::new(64 << 20));
        let http = router(state, Groups::ALL);
        Stand { ingress, gateway, http, consumer: tokio::spawn(carry.run(DRAIN_WITHIN, std::future::pending())) }
    }

    pub async fn get(&self, uri: &str) -> Answer {
        call("GET", uri).send(&self.http).await
    }

    pub async fn post(&self, uri: &str, body: impl Into<Body>) -> Answer {
        call("POST", uri).body(body).send(&self.http).await
    }

    pub async fn push(&self, json: &str) -> Answer {
        push_call(json).send(&self.http).await
    }

    /// Everything delivered so far, once the bus is empty.
    pub async fn delivered(&self) -> Vec<Delivery> {
        let deadline = Instant::now() + PATIENCE;
        while self.ingress.bus().depth().records > 0 {
            assert!(Instant::now() < deadline, "the bus does not become empty");
            tokio::task::yield_now().await;
        }
        self.gateway.take()
    }
}

pub fn node() -> NodeInfo {
    NodeInfo {
        server_id: "comet1".into(),
        host_domain: ".goim.io".into(),
        default_domain: "conn.goim.io".into(),
        addrs: vec!["203.0.113.7".into()],
        wss_port: 3103,
        weight: 10,
        ..NodeInfo::default()
    }
}

/// A push over `/v1`.
pub fn push_call(json: &str) -> Call {
    call("POST", "/v1/push").header("content-type", "application/json").body(json.to_owned())
}

/// The rules with one token, for all.
pub fn token(text: &str) -> Access {
    Access::new(vec![Token::new(text, "push_token", &[PUSH, QUESTIONS]).unwrap()])
}

/// A request, from this machine and under its address unless said otherwise.
pub struct Call {
    request: Request<Body>,
}

pub fn call(method: &str, uri: &str) -> Call {
    let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
    Call { request }.peer(Some("127.0.0.1:40000")).header("host", "127.0.0.1:3111")
}

impl Call {
    pub fn peer(mut self, peer: Option<&str>) -> Call {
        let peer = peer.map_or(Peer::Unknown, |peer| Peer::Tcp(peer.parse::<SocketAddr>().unwrap()));
        self.request.extensions_mut().insert(peer);
        self
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Call {
        self.request.headers_mut().insert(name, value.parse().unwrap());
        self
    }

    pub fn body(mut self, body: impl Into<Body>) -> Call {
        *self.request.body_mut() = body.into();
        self
    }

    pub async fn send(self, router: &Router) -> Answer {
        let response = router.clone().oneshot(self.request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Status, content type and body at once, for whole comparisons.
    pub fn parts(&self) -> (u16, &str, &str) {
        (self.status.as_u16(), self.header("content-type"), &self.body)
    }
}

/// A message as the gateway gets it.
pub fn framed(op: i32, message: &str) -> Option<PushBody> {
    Some(PushBody::Framed(Arc::new(Payload::message(op, message.as_bytes()))))
}

/// The message of a delivery; `None` of a dry run.
pub fn message(delivery: &Delivery) -> Option<&[u8]> {
    match delivery.body.as_ref()? {
        PushBody::Framed(payload) => Some(&payload.bytes(false)[HEADER_BYTES..]),
        other => panic!("the dispatcher frames everything: {other:?}"),
    }
}

pub fn keys(keys: &[&str]) -> Target {
    Target::Keys(keys.iter().map(|key| (*key).into()).collect())
}

pub fn room(room: &str) -> Target {
    Target::Room(room.into())
}
