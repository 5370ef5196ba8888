//! The ingress over HTTP. Owns the route table and what is said where there is no route. What all routes share is in
//! `state`, the routes of goim in `goim`, our own in `v1`, the demo page in `page`; sockets, connections and the bounds
//! on both belong to [`halley_service::serve`].

mod answers;
mod goim;
mod openapi;
mod page;
mod query;
mod renderings;
mod state;
mod v1;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use halley_service::serve::answers::error;

pub use state::{DemoInfo, HttpState};

/// Kinds of routes, each of which a listener may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Pushing, `POST` of `/goim/push/*` and `/v1/push`.
    pub push: bool,
    /// Who is online: `/goim/online/*`, `/goim/nodes/instances` and `/v1/online`.
    pub questions: bool,
    /// How clients find a node: `/goim/nodes/weighted`.
    pub nodes: bool,
    /// The demo page and what it loads.
    pub demo: bool,
}

impl Groups {
    /// Every route, as a listener has that serves operators and senders alike.
    pub const ALL: Groups = Groups { push: true, questions: true, nodes: true, demo: true };
}

/// What a route belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Push,
    Questions,
    Nodes,
    Demo,
    /// What describes the rest: always there.
    Open,
}

/// Every route: method, path, what it belongs to, handler.
fn routes() -> Vec<(Method, &'static str, Group, MethodRouter<Arc<HttpState>>)> {
    use Group::{Demo, Nodes, Open, Push, Questions};
    vec![
        (Method::POST, "/goim/push/keys", Push, post(goim::push_keys)),
        (Method::POST, "/goim/push/mids", Push, post(goim::push_mids)),
        (Method::POST, "/goim/push/room", Push, post(goim::push_room)),
        (Method::POST, "/goim/push/all", Push, post(goim::push_all)),
        (Method::GET, "/goim/online/top", Questions, get(goim::online_top)),
        (Method::GET, "/goim/online/room", Questions, get(goim::online_room)),
        (Method::GET, "/goim/online/total", Questions, get(goim::online_total)),
        (Method::GET, "/goim/nodes/weighted", Nodes, get(goim::nodes_weighted)),
        (Method::GET, "/goim/nodes/instances", Questions, get(goim::nodes_instances)),
        (Method::POST, "/v1/push", Push, post(v1::push)),
        (Method::GET, "/v1/online", Questions, get(v1::online)),
        (Method::GET, "/v1/demo.json", Demo, get(page::info)),
        (Method::GET, "/openapi.json", Open, get(openapi::document)),
        (Method::GET, "/", Demo, get(page::html)),
        (Method::GET, "/demo/app.js", Demo, get(page::script)),
        (Method::GET, "/demo/style.css", Demo, get(page::style)),
    ]
}

/// Every path, whether a listener serves it or not.
pub fn paths() -> Vec<&'static str> {
    routes().into_iter().map(|(_, path, ..)| path).collect()
}

/// The router with the routes of these groups, and the fallback for everything unknown; merge others that have none.
/// Requests should carry a [`halley_service::access::Peer`] as an extension, else they are nobody's.
pub fn router(state: Arc<HttpState>, groups: Groups) -> Router {
    let mut router = Router::new();
    for (_, path, group, handler) in routes() {
        let wanted = match group {
            Group::Push => groups.push,
            Group::Questions => groups.questions,
            Group::Nodes => groups.nodes,
            Group::Demo => groups.demo,
            Group::Open => true,
        };
        if wanted {
            router = router.route(path, handler);
        }
    }
    router.fallback(not_found).method_not_allowed_fallback(wrong_method).with_state(state)
}

/// Paths that nobody serves: goim's answer, except under `/v1`.
async fn not_found(uri: Uri) -> Response {
    if uri.path().starts_with("/v1/") {
        return error(StatusCode::NOT_FOUND, "not_found", "no such route, see /openapi.json");
    }
    goim_not_found()
}

/// Known paths asked with the wrong method: goim does not tell them from unknown ones.
async fn wrong_method(uri: Uri) -> Response {
    if uri.path().starts_with("/v1/") {
        return error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "wrong method, see /openapi.json");
    }
    goim_not_found()
}

fn goim_not_found() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], "404 page not found").into_response()
}
