//! The doors that the dispatcher and the admin side share: HTTP routes and gRPC calls. Owns which of them are there;
//! opens no listener (`node::services` does), and handles nothing itself.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use halley_dispatcher::assemble::Dispatcher;
use halley_dispatcher::gateways;
use halley_dispatcher::ingress::grpc;
use halley_dispatcher::ingress::http::{self, HttpState};
use halley_dispatcher::registry::Registry;
use halley_service::serve::grpc::Grpc;
use tonic::service::Routes;

use crate::comet;
use crate::config::Config;
use crate::config::words::HttpRoutes;
use crate::control::admin::{self, Admin};
use crate::feed::intake::{Intake, NoAnswer};

use super::settings::to_usize;

/// How long a gRPC call may take, from its header to its answer. A stuck shard holds pushes back: who called hears that
/// it is not known what came of it.
const CALL_TIME: Duration = Duration::from_secs(30);

/// Why jobs may not push (rule G4 of the log): each push would come twice, once from the log and once from them.
const READS_THE_LOG: &str = "this gateway reads pushes from the log (kafka.brokers), so jobs must not push to it: stop \
                             them, or take kafka.brokers out";

/// Which routes are served, and the bound on what jobs call.
pub(super) struct Doors {
    http: http::Groups,
    admin: admin::Groups,
    push_keys_max: usize,
    refusal: Option<&'static str>,
}

/// Every path that the doors may serve.
pub fn paths() -> Vec<&'static str> {
    http::paths().into_iter().chain(admin::PATHS).collect()
}

impl Doors {
    /// As configured.
    pub(super) fn new(config: &Config) -> Doors {
        let served = |routes| config.general.http_routes.contains(&routes);
        let (push, read) = (served(HttpRoutes::Push), served(HttpRoutes::Read));
        Doors {
            http: http::Groups { push, questions: read, nodes: true, demo: served(HttpRoutes::Demo) },
            admin: admin::Groups { admin: served(HttpRoutes::Admin), observe: read },
            push_keys_max: to_usize(config.ingress.push_keys_max.into()),
            refusal: config.kafka.is_used().then_some(READS_THE_LOG),
        }
    }

    /// The dispatcher's HTTP routes and the admin ones.
    pub(super) fn routes(&self, state: Arc<HttpState>, admin: Arc<Admin>) -> Router {
        http::router(state, self.http).merge(admin::routes(admin, self.admin))
    }

    /// The dispatcher's gRPC service, and goim's for jobs, which reaches the gateway behind `intake`.
    pub(super) fn calls<D>(&self, dispatcher: &Dispatcher<D>, intake: Intake) -> Grpc {
        let ingress = &dispatcher.ingress;
        let rooms = Arc::new(AllRooms(dispatcher.registry.clone()));
        let services =
            Routes::new(grpc::service(ingress.clone())).add_service(comet::service(intake, rooms, self.refusal));
        let methods = [grpc::methods(*ingress.limits()), comet::methods(self.push_keys_max)].concat();
        Grpc::new(services, methods, ingress.access().clone(), CALL_TIME)
    }
}

/// The rooms as jobs are told them.
struct AllRooms(Arc<dyn Registry>);

#[tonic::async_trait]
impl comet::Rooms for AllRooms {
    async fn rooms(&self) -> Result<Arc<[(String, u32)]>, NoAnswer> {
        self.0.rooms().await.map_err(|why| match why {
            gateways::NoAnswer::Gone => NoAnswer::Stopping,
            gateways::NoAnswer::TimedOut => NoAnswer::TimedOut,
        })
    }
}
