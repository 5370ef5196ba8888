//! What the program serves, and where: pushing, and what tells how it is. Owns which routes are there, and what is said
//! of those that a gateway has and this does not: nobody here knows who is online.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::any;
use halley_service::access::Caller;
use halley_service::access::rules::AccessRules;
use halley_service::health::Health;
use halley_service::lifecycle::Lifecycle;
use halley_service::metrics::Metrics;
use halley_service::observe;
use halley_service::serve::answers;
use halley_service::serve::asked::hold_back;
use halley_service::serve::grpc::Grpc;
use tonic::service::Routes;

use super::access::OBSERVE;
use crate::ingress::http::{self, Groups, HttpState};
use crate::ingress::{Ingress, grpc};

/// How long a gRPC call may take, from its header to its answer: longer than a push may wait for the brokers.
const CALL_TIME: Duration = Duration::from_secs(30);

/// Routes of gateways that tell who is online, or where.
const UNKNOWN_HERE: [&str; 6] = [
    "/goim/online/top",
    "/goim/online/room",
    "/goim/online/total",
    "/goim/nodes/weighted",
    "/goim/nodes/instances",
    "/v1/online",
];

/// Paths of the admin side.
pub(super) const ADMIN_PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Every path.
pub(super) fn paths() -> Vec<&'static str> {
    http::paths().into_iter().chain(ADMIN_PATHS).collect()
}

/// How the process is, shared by all doors.
#[derive(Clone)]
pub(super) struct Observed {
    /// What is counted.
    pub(super) metrics: Arc<Metrics>,
    /// What it goes through.
    pub(super) lifecycle: Lifecycle,
    /// Whether its threads live.
    pub(super) health: Health,
    /// Who may ask.
    pub(super) access: AccessRules,
}

/// Pushing over HTTP, and what the admin side has.
pub(super) fn routes(state: Arc<HttpState>, observed: Observed) -> Router {
    let mut router = http::router(state, Groups { push: true, questions: false, nodes: false, demo: false });
    for path in UNKNOWN_HERE {
        router = router.route(path, any(unknown_here));
    }
    router.merge(admin_routes(observed))
}

/// The admin side alone.
pub(super) fn admin_router(observed: Observed) -> Router {
    admin_routes(observed).fallback(not_found)
}

/// Pushing over gRPC.
pub(super) fn calls(ingress: &Arc<Ingress>) -> Grpc {
    let services = Routes::new(grpc::service(ingress.clone()));
    Grpc::new(services, grpc::methods(*ingress.limits()), ingress.access().clone(), CALL_TIME)
}

fn admin_routes(observed: Observed) -> Router {
    let Observed { metrics, lifecycle, health, access } = observed;
    let guarded =
        observe::metrics(metrics).route_layer(from_fn(move |request, next| check(access.clone(), request, next)));
    guarded.merge(observe::life(lifecycle, health))
}

/// Let in who may read metrics.
async fn check(access: AccessRules, request: Request, next: Next) -> Response {
    let caller = Caller::of(&request);
    let peer = caller.peer;
    match access.check(&caller, OBSERVE) {
        Ok(_) => next.run(request).await,
        Err(denied) => answers::denied(&hold_back(&access, request.extensions(), peer, denied).await),
    }
}

async fn unknown_here() -> Response {
    let message = "a dispatcher does not know who is connected: ask a gateway, which tells of its own connections";
    answers::error(StatusCode::NOT_IMPLEMENTED, "not_here", message)
}

async fn not_found() -> Response {
    let message = "no such route; the admin side has /metrics, /healthz and /readyz";
    answers::error(StatusCode::NOT_FOUND, "not_found", message)
}
