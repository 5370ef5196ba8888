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
use std::time::Duration;

use axum::Router;
use halley_dispatcher::assemble::{self, Dispatcher};
use halley_dispatcher::consume::Why;
use halley_dispatcher::consume::stats::LogStats;
use halley_dispatcher::ingress::Ingress;
use halley_dispatcher::ingress::http::HttpState;
use halley_dispatcher::metrics::{IngressMetrics, LogMetrics};
use halley_service::access::rules::AccessRules;
use halley_service::metrics::Collect;
use halley_service::serve::Serving;
use halley_service::serve::grpc::Grpc;

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

/// Those who missed pushes are closed over so many milliseconds.
const GAP_SHED_MS: u64 = 300_000;

/// The dispatcher of this process, before it runs.
pub struct Standalone {
    dispatcher: Dispatcher<OwnDoor>,
    state: Arc<HttpState>,
    bound: Bound,
    doors: Doors,
}

/// What others do with the dispatcher while it runs; cheap to clone.
#[derive(Clone)]
pub struct StandaloneHandle {
    ingress: Arc<Ingress>,
    log_stats: Arc<LogStats>,
    state: Arc<HttpState>,
    bound: Bound,
}

impl Standalone {
    /// A dispatcher before the gateway behind `intake`, in a process that started then (nanoseconds since the Unix
    /// epoch). Its callers are judged by `access`, and what they send takes from the budget of `serving`.
    pub fn new(
        config: &Config,
        intake: Intake,
        bound: Bound,
        started_ns: i64,
        access: AccessRules,
        serving: &Serving,
    ) -> Standalone {
        let settings = settings::dispatcher(config, access);
        let dispatcher = assemble::embedded(
            settings,
            OwnDoor { intake: intake.clone(), gap_shed_ms: GAP_SHED_MS },
            Arc::new(OwnGateway(intake)),
        );
        let (ingress, registry) = (dispatcher.ingress.clone(), dispatcher.registry.clone());
        let (node, demo) = (node_info(config, &bound, started_ns), settings::demo(config, &bound));
        let state = HttpState::new(ingress, registry, node, demo, serving.budget().clone());
        Standalone { dispatcher, state, bound, doors: Doors::new(config) }
    }

    /// For those who stop it, change its settings or show its counters.
    pub fn handle(&self) -> StandaloneHandle {
        let (ingress, state) = (self.dispatcher.ingress.clone(), self.state.clone());
        let log_stats = self.dispatcher.log_stats.clone();
        StandaloneHandle { ingress, log_stats, state, bound: self.bound.clone() }
    }

    /// Its HTTP routes and the admin ones, as far as they are wanted.
    pub fn router(&self, admin: Arc<Admin>) -> Router {
        self.doors.routes(self.state.clone(), admin)
    }

    /// Its gRPC service, and goim's for jobs, which reaches the gateway behind `intake`.
    pub fn calls(&self, intake: Intake) -> Grpc {
        self.doors.calls(&self.dispatcher, intake)
    }

    /// Carry pushes from the bus to the gateway until [`StandaloneHandle::stop`], and what is on the bus then, for a
    /// while.
    pub async fn consume(self) {
        let (ended, left) = self.dispatcher.carry.run(BUS_DRAIN).await;
        if left.records > 0 {
            let (records, bytes, gateway_gone) = (left.records, left.bytes, ended.why == Why::GatewayGone);
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

    /// What `/metrics` shows of its ingress.
    pub fn metrics(&self) -> impl Collect + use<> {
        IngressMetrics(self.ingress.clone())
    }

    /// What `/metrics` shows of its log.
    pub fn log_metrics(&self) -> impl Collect + use<> {
        LogMetrics(self.log_stats.clone())
    }
}
