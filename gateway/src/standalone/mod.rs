//! Standalone mode: a dispatcher inside the gateway's process. The only part that knows both. Owns the dispatcher's
//! life, from its settings to its last push; decides nothing about pushes.
//!
//! | file | owns |
//! |---|---|
//! | `gateway` | the gateway as the dispatcher sees it; next step on the way out: `feed::intake` |
//! | `settings` | what the configuration means for the dispatcher |
//! | `node_info` | what is said about this node, once its addresses are bound |
//! | `doors` | the routes and calls that both sides serve together |

mod doors;
mod gateway;
mod node_info;
mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use halley_dispatcher::assemble::{self, Dispatcher, SharedCounts};
use halley_dispatcher::bus::Depth;
use halley_dispatcher::bus::kafka;
use halley_dispatcher::bus::kafka::producer::Driver;
use halley_dispatcher::consume::Why;
use halley_dispatcher::consume::share::Gateways;
use halley_dispatcher::consume::stats::{LogStats, Status};
use halley_dispatcher::ingress::Ingress;
use halley_dispatcher::ingress::http::HttpState;
use halley_dispatcher::metrics::{IngressMetrics, LogMetrics, SharedMetrics};
use halley_protocol::push::interest::Interest;
use halley_service::access::rules::AccessRules;
use halley_service::metrics::Collect;
use halley_service::serve::Serving;
use halley_service::serve::grpc::Grpc;
use tokio::sync::watch;

use crate::config::Config;
use crate::control::admin::Admin;
use crate::feed::intake::Intake;

use doors::Doors;
use gateway::{OwnDoor, OwnGateway};
use node_info::node_info;

pub use doors::paths;
pub use node_info::{Bound, server_id};

/// How long pushes that were answered with success may take to reach the gateway's memory when it stops.
const BUS_DRAIN: Duration = Duration::from_secs(5);

/// A log that other processes have too.
pub struct Shared {
    /// How its cluster is reached.
    pub client: kafka::settings::Settings,
    /// Who is here, as feed keeps it.
    pub interest: Arc<Interest>,
}

/// What a reload changes of the log.
#[derive(Clone)]
struct Live {
    gap_shed_ms: Arc<AtomicU64>,
    gateways: Arc<Gateways>,
}

impl Live {
    fn set(&self, config: &Config) {
        self.gap_shed_ms.store(config.kafka.gap_shed_seconds.saturating_mul(1000), Ordering::Relaxed);
        self.gateways.set(config.kafka.gateways);
    }
}

/// The dispatcher of this process, before it runs.
pub struct Standalone {
    dispatcher: Dispatcher<OwnDoor>,
    state: Arc<HttpState>,
    bound: Bound,
    doors: Doors,
    live: Live,
}

/// What others do with the dispatcher while it runs; cheap to clone.
#[derive(Clone)]
pub struct StandaloneHandle {
    ingress: Arc<Ingress>,
    log_stats: Arc<LogStats>,
    shared_counts: Option<SharedCounts>,
    state: Arc<HttpState>,
    bound: Bound,
    live: Live,
}

impl Standalone {
    /// A dispatcher before the gateway behind `intake`, in a process that started then (nanoseconds since the Unix
    /// epoch). Its callers are judged by `access`, and what they send takes from the budget of `serving`. Pushes go
    /// over the `shared` log, or over one of its own.
    pub fn new(
        config: &Config,
        intake: Intake,
        bound: Bound,
        started_ns: i64,
        access: AccessRules,
        serving: &Serving,
        shared: Option<Shared>,
    ) -> Standalone {
        let settings = settings::dispatcher(config, access);
        let live = Live { gap_shed_ms: Arc::default(), gateways: Arc::new(Gateways::new(1)) };
        live.set(config);
        let door = OwnDoor { intake: intake.clone(), gap_shed_ms: Arc::clone(&live.gap_shed_ms) };
        let gateway = Arc::new(OwnGateway(intake));
        let dispatcher = match shared {
            None => assemble::embedded(settings, door, gateway),
            Some(Shared { client, interest }) => {
                let log = settings::shared_log(config, client, interest, Arc::clone(&live.gateways));
                assemble::kafka(settings, log, door, gateway)
            }
        };
        let (ingress, registry) = (dispatcher.ingress.clone(), dispatcher.registry.clone());
        let (node, demo) = (node_info(config, &bound, started_ns), settings::demo(config, &bound));
        let state = HttpState::new(ingress, registry, node, demo, serving.budget().clone());
        Standalone { dispatcher, state, bound, doors: Doors::new(config), live }
    }

    /// For those who stop it, change its settings or show its counters.
    pub fn handle(&self) -> StandaloneHandle {
        let (ingress, state) = (self.dispatcher.ingress.clone(), self.state.clone());
        let (log_stats, shared_counts) = (self.dispatcher.log_stats.clone(), self.dispatcher.shared.clone());
        StandaloneHandle {
            ingress,
            log_stats,
            shared_counts,
            state,
            bound: self.bound.clone(),
            live: self.live.clone(),
        }
    }

    /// Its HTTP routes and the admin ones, as far as they are wanted.
    pub fn router(&self, admin: Arc<Admin>) -> Router {
        self.doors.routes(self.state.clone(), admin)
    }

    /// Its gRPC service, and goim's for jobs, which reaches the gateway behind `intake`.
    pub fn calls(&self, intake: Intake) -> Grpc {
        self.doors.calls(&self.dispatcher, intake)
    }

    /// What has to run for pushes to be written, where the log is shared.
    pub fn take_publish(&mut self) -> Option<Driver> {
        self.dispatcher.publish.take()
    }

    /// How reading goes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.dispatcher.log_stats.watch()
    }

    /// Carry pushes to the gateway: from a log of its own until [`StandaloneHandle::stop`], and what is on it then, for
    /// a while; from a shared one until `stop` resolves.
    ///
    /// # Errors
    /// What is missing of a shared log that could not be begun in time.
    pub async fn consume(self, stop: impl Future<Output = ()> + Send) -> Result<(), String> {
        let (ended, left) = self.dispatcher.carry.run(BUS_DRAIN, stop).await;
        let gateway_gone = ended.why == Why::GatewayGone;
        if let Why::NotStarted(missing) = ended.why {
            return Err(missing);
        }
        match left {
            Some(Depth { records, bytes }) if records > 0 => tracing::warn!(
                records,
                bytes,
                gateway_gone,
                "pushes that were accepted did not reach the gateway any more"
            ),
            // After a drain nobody is here whom the rest of a shared log concerns.
            None if gateway_gone && ended.undelivered > 0 => {
                let records = ended.undelivered;
                tracing::warn!(records, "pushes on the log did not reach the clients of this gateway any more");
            }
            _ => {}
        }
        Ok(())
    }
}

impl StandaloneHandle {
    /// Take no further push; those taken are still delivered.
    pub fn stop(&self) {
        self.ingress.stop();
    }

    /// Pushes that were taken and have not come to an end on the bus: of a shared log, those whose callers still wait.
    pub fn waiting(&self) -> usize {
        self.ingress.bus().depth().records
    }

    /// Take over what may change without a restart.
    pub fn reload(&self, config: &Config, started_ns: i64) {
        self.state.set_node(node_info(config, &self.bound, started_ns));
        self.live.set(config);
    }

    /// What `/metrics` shows of its ingress.
    pub fn metrics(&self) -> impl Collect + use<> {
        IngressMetrics(self.ingress.clone())
    }

    /// What `/metrics` shows of its log.
    pub fn log_metrics(&self) -> impl Collect + use<> {
        LogMetrics(self.log_stats.clone())
    }

    /// What `/metrics` shows of brokers, where the log is theirs.
    pub fn shared_metrics(&self) -> impl Collect + use<> {
        SharedMetrics(self.shared_counts.clone())
    }
}
