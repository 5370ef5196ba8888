//! Standalone mode: a dispatcher inside the gateway's process. The only file that knows both. Owns the translation between
//! the dispatcher's seam and feed's intake, the routers that both sides serve together, and the dispatcher's settings; decides
//! nothing about pushes. Next step on the way out: `feed::intake`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use halley_dispatcher::assemble::{self, Dispatcher, Settings};
use halley_dispatcher::bus::embedded::BusLimits;
use halley_dispatcher::consume::Drained;
use halley_dispatcher::discovery::node::{Backoff, NodeInfo};
use halley_dispatcher::gateways::{Gateway, GatewayGone, Matched, NoAnswer, Totals};
use halley_dispatcher::ingress::Ingress;
use halley_dispatcher::ingress::admit::Limits;
use halley_dispatcher::ingress::grpc;
use halley_dispatcher::ingress::http::{self, DemoInfo, HttpState};
use halley_dispatcher::registry::Registry;
use halley_dispatcher::stats::{Kind, Outcome, Stats};
use halley_protocol::login::NAME_BYTES_MAX;
use halley_protocol::push::Delivery;
use halley_service::access::rules::AccessRules;
use halley_service::serve::Serving;
use halley_service::serve::grpc::Grpc;
use tonic::service::Routes;

use crate::comet;
use crate::config::Config;
use crate::config::value::{Auth, HttpRoutes};
use crate::control::admin::{self, Admin};
use crate::control::metrics::{Collect, Exposition, Kind as MetricKind};
use crate::feed::intake::{self, Intake, Request as FeedRequest};

/// How long pushes that were answered with success may take to reach the gateway's memory when it stops.
const BUS_DRAIN: Duration = Duration::from_secs(5);
/// How long a gRPC call may take, from its header to its answer. A stuck shard holds pushes back: who called hears that it is not
/// known what came of it.
const CALL_TIME: Duration = Duration::from_secs(30);

/// The gateway of this process, as the dispatcher sees it.
struct OwnGateway(Intake);

#[async_trait::async_trait]
impl Gateway for OwnGateway {
    async fn deliver(&self, deliveries: Vec<Delivery>) -> Result<Vec<Matched>, GatewayGone> {
        self.0.deliver(deliveries).await.map_err(|_| GatewayGone)
    }

    async fn rooms(&self) -> Result<Vec<(String, u32)>, NoAnswer> {
        let rooms = self.0.ask(|reply| FeedRequest::Rooms { reply }).await.map_err(no_answer)?;
        Ok(Arc::unwrap_or_clone(rooms))
    }

    async fn counts(&self, rooms: Vec<String>) -> Result<Vec<u32>, NoAnswer> {
        self.0.ask(|reply| FeedRequest::RoomCounts { rooms, reply }).await.map_err(no_answer)
    }

    async fn totals(&self) -> Result<Totals, NoAnswer> {
        let totals = self.0.ask(|reply| FeedRequest::Totals { reply }).await.map_err(no_answer)?;
        Ok(Totals { connections: totals.connections, addresses: totals.addresses })
    }
}

fn no_answer(why: intake::NoAnswer) -> NoAnswer {
    match why {
        intake::NoAnswer::Stopping => NoAnswer::Gone,
        intake::NoAnswer::TimedOut => NoAnswer::TimedOut,
    }
}

/// The rooms as jobs are told them.
struct AllRooms(Arc<dyn Registry>);

#[tonic::async_trait]
impl comet::Rooms for AllRooms {
    async fn rooms(&self) -> Result<Arc<[(String, u32)]>, String> {
        self.0.rooms().await.map_err(|why| why.to_string())
    }
}

/// What the dispatcher says about addresses, once they are bound.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// First TCP listener.
    pub tcp: Option<SocketAddr>,
    /// First WebSocket listener.
    pub ws: Option<SocketAddr>,
    /// First WebSocket listener with TLS.
    pub wss: Option<SocketAddr>,
    /// First gRPC listener.
    pub grpc: Option<SocketAddr>,
}

/// The dispatcher of this process, before it runs.
pub struct Standalone {
    dispatcher: Dispatcher,
    state: Arc<HttpState>,
    bound: Bound,
    http: http::Groups,
    admin: admin::Groups,
    push_keys_max: usize,
}

/// What others do with the dispatcher while it runs; cheap to clone.
#[derive(Clone)]
pub struct StandaloneHandle {
    ingress: Arc<Ingress>,
    state: Arc<HttpState>,
    bound: Bound,
}

impl Standalone {
    /// A dispatcher before the gateway behind `intake`, in a process that started then (nanoseconds since the Unix epoch). Its
    /// callers are judged by `access`, and what they send takes from the budget of `serving`.
    pub fn new(
        config: &Config,
        intake: Intake,
        bound: Bound,
        started_ns: i64,
        access: AccessRules,
        serving: &Serving,
    ) -> Standalone {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let settings = Settings {
            limits: Limits {
                body_bytes_max: to_usize(config.ingress.body_bytes_max.into()),
                targets_max: to_usize(config.ingress.recipients_max.into()),
                name_bytes_max: NAME_BYTES_MAX,
            },
            access,
            bus: BusLimits {
                records_max: to_usize(config.ingress.bus_records_max.into()),
                bytes_max: to_usize(config.ingress.bus_bytes_max),
            },
            first_offset: i64::try_from(since_epoch.as_micros()).unwrap_or_default(),
            server_id: server_id(config),
        };
        let dispatcher = assemble::embedded(settings, vec![Arc::new(OwnGateway(intake))]);
        let demo = DemoInfo {
            websocket: bound.ws,
            websocket_tls: bound.wss,
            jwt: config.general.auth == Auth::Jwt,
            ..DemoInfo::default()
        };
        let node = node_info(config, &bound, started_ns);
        let (ingress, registry) = (dispatcher.ingress.clone(), dispatcher.registry.clone());
        let state = HttpState::new(ingress, registry, node, demo, serving.budget().clone());
        let served = |routes| config.general.http_routes.contains(&routes);
        let (push, read) = (served(HttpRoutes::Push), served(HttpRoutes::Read));
        let http = http::Groups { push, questions: read, demo: served(HttpRoutes::Demo) };
        let admin = admin::Groups { admin: served(HttpRoutes::Admin), observe: read };
        let push_keys_max = to_usize(config.ingress.push_keys_max.into());
        Standalone { dispatcher, state, bound, http, admin, push_keys_max }
    }

    /// For those who stop it, change its settings or show its counters.
    pub fn handle(&self) -> StandaloneHandle {
        let (ingress, state) = (self.dispatcher.ingress.clone(), self.state.clone());
        StandaloneHandle { ingress, state, bound: self.bound.clone() }
    }

    /// Its HTTP routes and the admin ones, as far as they are wanted.
    pub fn router(&self, admin: Arc<Admin>) -> Router {
        http::router(self.state.clone(), self.http).merge(admin::routes(admin, self.admin))
    }

    /// Its gRPC service, and goim's for jobs, which reaches the gateway behind `intake`.
    pub fn calls(&self, intake: Intake) -> Grpc {
        let ingress = &self.dispatcher.ingress;
        let rooms = Arc::new(AllRooms(self.dispatcher.registry.clone()));
        let services = Routes::new(grpc::service(ingress.clone())).add_service(comet::service(intake, rooms));
        let methods = [grpc::methods(*ingress.limits()), comet::methods(self.push_keys_max)].concat();
        Grpc::new(services, methods, ingress.access().clone(), CALL_TIME)
    }

    /// Carry pushes from the bus to the gateway until [`StandaloneHandle::stop`], and what is on the bus then, for a while.
    pub async fn consume(self) {
        let Drained { undelivered, gateway_gone } = self.dispatcher.consume.run(BUS_DRAIN).await;
        if undelivered.records > 0 {
            let (records, bytes) = (undelivered.records, undelivered.bytes);
            tracing::warn!(
                records,
                bytes,
                gateway_gone,
                "pushes that were accepted did not reach the gateway any more"
            );
        }
    }
}

impl StandaloneHandle {
    /// Take no further push; those taken are still delivered.
    pub fn stop(&self) {
        self.ingress.stop();
    }

    /// Take over what may change without a restart.
    pub fn reload(&self, config: &Config, started_ns: i64) {
        self.state.set_node(node_info(config, &self.bound, started_ns));
    }

    /// What `/metrics` shows of it.
    pub fn metrics(&self) -> impl Collect + use<> {
        IngressMetrics(self.ingress.clone())
    }
}

/// The configured id, or the host name.
pub fn server_id(config: &Config) -> String {
    match config.node.server_id.as_str() {
        "" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        id => id.to_owned(),
    }
}

fn node_info(config: &Config, bound: &Bound, started_ns: i64) -> NodeInfo {
    let node = &config.node;
    let server_id = server_id(config);
    let port = |configured: u16, bound: Option<SocketAddr>| match configured {
        0 => bound.map_or(0, |address| address.port()),
        port => port,
    };
    let named = |address: &SocketAddr| !address.ip().is_unspecified();
    let addrs = match node.addrs.as_slice() {
        [] => bound.tcp.filter(named).map(|address| address.ip().to_string()).into_iter().collect(),
        addrs => addrs.to_vec(),
    };
    let grpc_addr = match (node.grpc_addr.as_str(), bound.grpc) {
        ("", None) => String::new(),
        ("", Some(address)) if named(&address) => format!("grpc://{address}"),
        ("", Some(address)) => format!("grpc://{server_id}:{}", address.port()),
        (address, _) => format!("grpc://{address}"),
    };
    let or_id = |text: &str| if text.is_empty() { server_id.clone() } else { text.to_owned() };
    NodeInfo {
        region: node.region.clone(),
        zone: node.zone.clone(),
        env: node.env.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        grpc_addr,
        addrs,
        weight: node.weight.into(),
        offline: node.offline,
        started_ns,
        default_domain: or_id(&node.default_domain),
        host_domain: node.host_domain.clone(),
        tcp_port: port(node.tcp_port, bound.tcp),
        ws_port: port(node.ws_port, bound.ws),
        wss_port: port(node.wss_port, bound.wss),
        heartbeat_s: node.heartbeat_seconds,
        heartbeat_max: node.heartbeat_max,
        backoff: Backoff {
            max_delay: node.backoff_max_seconds,
            base_delay: node.backoff_base_seconds,
            factor: node.backoff_factor,
            jitter: node.backoff_jitter,
        },
        server_id,
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The dispatcher's counters under their metric names.
struct IngressMetrics(Arc<Ingress>);

impl Collect for IngressMetrics {
    fn collect(&self, out: &mut Exposition) {
        let stats: &Stats = self.0.stats();
        let depth = self.0.bus().depth();
        let name = "halley_ingress_pushes_total";
        let mut family = out.family(name, MetricKind::Counter, "Push requests by kind of target and how they ended.");
        for kind in Kind::ALL {
            for outcome in Outcome::ALL {
                family.sample(&[("kind", &kind.label()), ("outcome", &outcome.label())], stats.pushes(kind, outcome));
            }
        }
        let plain: [(&'static str, MetricKind, &str, u64); 7] = [
            (
                "halley_ingress_accepted_bytes_total",
                MetricKind::Counter,
                "Message bytes of accepted pushes.",
                stats.accepted_bytes(),
            ),
            (
                "halley_ingress_matched_total",
                MetricKind::Counter,
                "Connections matched by the pushes that asked for their number.",
                stats.matched(),
            ),
            ("halley_bus_records", MetricKind::Gauge, "Pushes waiting on the bus.", to_u64(depth.records)),
            ("halley_bus_bytes", MetricKind::Gauge, "Bytes waiting on the bus.", to_u64(depth.bytes)),
            (
                "halley_bus_delivered_total",
                MetricKind::Counter,
                "Pushes handed from the bus to the gateway.",
                stats.delivered_records(),
            ),
            ("halley_bus_batches_total", MetricKind::Counter, "Hand-overs they took.", stats.delivered_batches()),
            ("halley_bus_skipped_total", MetricKind::Counter, "Records that were no push.", stats.skipped_records()),
        ];
        for (name, kind, help, value) in plain {
            out.family(name, kind, help).sample(&[], value);
        }
    }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
