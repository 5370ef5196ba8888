//! The ingress over HTTP. Owns the route table and what all routes share: state, fallback, the reading of callers. The routes
//! of goim are in `goim`, our own in `v1`, the demo page in `page`; sockets belong to [`serve`] or to whoever merges
//! this router with others.

mod body;
mod goim;
mod openapi;
mod page;
mod query;
pub mod serve;
mod v1;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, FORWARDED, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::Ingress;
use super::access::{Caller, Denied, Peer};
use crate::registry::Registry;
use crate::registry::nodes::NodeInfo;
use body::Bodies;

pub use page::DemoInfo;

/// What the routes work with.
pub struct HttpState {
    ingress: Arc<Ingress>,
    registry: Arc<dyn Registry>,
    node: ArcSwap<NodeInfo>,
    demo: DemoInfo,
    bodies: Bodies,
}

impl HttpState {
    /// The state of one router. Ports in `node` and `demo` are the bound ones.
    pub fn new(ingress: Arc<Ingress>, registry: Arc<dyn Registry>, node: NodeInfo, demo: DemoInfo) -> Arc<HttpState> {
        let bodies = Bodies::new(ingress.limits().bodies_bytes_max, Arc::clone(ingress.stats()));
        Arc::new(HttpState { ingress, registry, node: ArcSwap::from_pointee(node), demo, bodies })
    }

    /// What is said about this node from now on.
    pub fn set_node(&self, node: NodeInfo) {
        self.node.store(Arc::new(node));
    }

    /// Whether the sender of this request may push.
    fn check_access(&self, request: &Parts) -> Result<(), Denied> {
        let value = |name| request.headers.get(name).map(header::HeaderValue::as_bytes);
        self.ingress.check_access(&Caller {
            peer: peer(request),
            authorization: value(AUTHORIZATION),
            origin: value(ORIGIN),
            host: value(HOST),
            forwarded: request.headers.contains_key(FORWARDED) || request.headers.contains_key("x-forwarded-for"),
        })
    }
}

/// Who sent a request: what [`serve`] or another listener noted in its extensions.
fn peer(request: &Parts) -> Peer {
    if let Some(peer) = request.extensions.get::<Peer>() {
        return *peer;
    }
    match request.extensions.get::<ConnectInfo<SocketAddr>>() {
        Some(ConnectInfo(address)) => Peer::Tcp(*address),
        None => Peer::Unknown,
    }
}

type State = axum::extract::State<Arc<HttpState>>;

/// Every route: method, path, handler.
fn routes() -> Vec<(Method, &'static str, MethodRouter<Arc<HttpState>>)> {
    vec![
        (Method::POST, "/goim/push/keys", post(goim::push_keys)),
        (Method::POST, "/goim/push/mids", post(goim::push_mids)),
        (Method::POST, "/goim/push/room", post(goim::push_room)),
        (Method::POST, "/goim/push/all", post(goim::push_all)),
        (Method::GET, "/goim/online/top", get(goim::online_top)),
        (Method::GET, "/goim/online/room", get(goim::online_room)),
        (Method::GET, "/goim/online/total", get(goim::online_total)),
        (Method::GET, "/goim/nodes/weighted", get(goim::nodes_weighted)),
        (Method::GET, "/goim/nodes/instances", get(goim::nodes_instances)),
        (Method::POST, "/v1/push", post(v1::push)),
        (Method::GET, "/v1/online", get(v1::online)),
        (Method::GET, "/v1/demo.json", get(page::info)),
        (Method::GET, "/openapi.json", get(openapi::document)),
        (Method::GET, "/", get(page::html)),
        (Method::GET, "/demo/app.js", get(page::script)),
        (Method::GET, "/demo/style.css", get(page::style)),
    ]
}

/// The router, with the fallback for everything unknown; merge others that have none. Requests should carry
/// [`Peer`] or `ConnectInfo<SocketAddr>` as an extension, else nobody may push without a token.
pub fn router(state: Arc<HttpState>) -> Router {
    let mut router = Router::new();
    for (_, path, handler) in routes() {
        router = router.route(path, handler);
    }
    router.fallback(not_found).method_not_allowed_fallback(wrong_method).with_state(state)
}

/// Paths that nobody serves: goim's answer, except under `/v1`.
async fn not_found(uri: Uri) -> Response {
    if uri.path().starts_with("/v1/") {
        return v1::error(StatusCode::NOT_FOUND, "not_found", "no such route, see /openapi.json");
    }
    goim_not_found()
}

/// Known paths asked with the wrong method: goim does not tell them from unknown ones.
async fn wrong_method(uri: Uri) -> Response {
    if uri.path().starts_with("/v1/") {
        return v1::error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "wrong method, see /openapi.json");
    }
    goim_not_found()
}

fn goim_not_found() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], "404 page not found").into_response()
}

/// A JSON answer that no cache keeps.
fn json(status: StatusCode, content_type: &'static str, body: &impl serde::Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("our answers have string keys and finite numbers");
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}
