//! The ingress over HTTP. Owns the route table and what all routes share: state, fallback, the reading of callers. The routes
//! of goim are in `goim`, our own in `v1`, the demo page in `page`; sockets, connections and the bounds on both belong to
//! [`halley_service::serve`].

mod goim;
mod openapi;
mod page;
mod query;
mod renderings;
mod v1;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use halley_service::access::{Caller, Denied, Scope};
use halley_service::serve::answers;
use halley_service::serve::asked::{Asked, hold_back};
use halley_service::serve::body::{self, BodyError, WholeBody};
use halley_service::serve::budget::{Budget, Share};

use super::Ingress;
use super::access::QUESTIONS;
use crate::discovery::node::NodeInfo;
use crate::registry::Registry;
use renderings::Renderings;

pub use page::DemoInfo;

/// What the routes work with.
pub struct HttpState {
    ingress: Arc<Ingress>,
    registry: Arc<dyn Registry>,
    node: ArcSwap<NodeInfo>,
    demo: DemoInfo,
    budget: Budget,
    renderings: Renderings,
}

/// Kinds of routes, each of which a listener may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Pushing.
    pub push: bool,
    /// Who is online.
    pub questions: bool,
    /// The demo page.
    pub demo: bool,
}

impl Groups {
    /// All of them.
    pub const ALL: Groups = Groups { push: true, questions: true, demo: true };
}

/// What a route belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Push,
    Questions,
    Demo,
    /// What clients ask, and what describes the rest: always there.
    Open,
}

impl HttpState {
    /// The state of one router. Ports in `node` and `demo` are the bound ones; requests take from `budget`.
    pub fn new(
        ingress: Arc<Ingress>,
        registry: Arc<dyn Registry>,
        node: NodeInfo,
        demo: DemoInfo,
        budget: Budget,
    ) -> Arc<HttpState> {
        let (node, renderings) = (ArcSwap::from_pointee(node), Renderings::default());
        Arc::new(HttpState { ingress, registry, node, demo, budget, renderings })
    }

    /// What is said about this node from now on.
    pub fn set_node(&self, node: NodeInfo) {
        self.node.store(Arc::new(node));
    }

    /// Whether the sender of this request may. The answer to a wrong token is held back here.
    async fn check_access(&self, request: &Parts, scope: Scope) -> Result<(), Denied> {
        let (access, caller) = (self.ingress.access(), Caller::of_parts(request));
        match access.check(&caller, scope) {
            Ok(_) => {
                if scope == QUESTIONS {
                    Asked::of(&request.extensions).inspect(|asked| asked.is_question());
                }
                Ok(())
            }
            Err(denied) => Err(hold_back(access, &request.extensions, caller.peer, denied).await),
        }
    }

    /// What the sender of this request may hold.
    fn share(&self, request: &Parts) -> Share {
        let noted = request.extensions.get::<Share>().cloned();
        noted.unwrap_or_else(|| self.budget.share(Caller::of_parts(request).peer.block()))
    }

    /// The body of a request, of at most `bytes_max`.
    async fn body(&self, request: &Parts, body: Body, bytes_max: usize) -> Result<WholeBody, BodyError> {
        body::read(&request.headers, body, bytes_max, &self.share(request)).await
    }
}

type State = axum::extract::State<Arc<HttpState>>;

/// Every route: method, path, what it belongs to, handler.
fn routes() -> Vec<(Method, &'static str, Group, MethodRouter<Arc<HttpState>>)> {
    use Group::{Demo, Open, Push, Questions};
    vec![
        (Method::POST, "/goim/push/keys", Push, post(goim::push_keys)),
        (Method::POST, "/goim/push/mids", Push, post(goim::push_mids)),
        (Method::POST, "/goim/push/room", Push, post(goim::push_room)),
        (Method::POST, "/goim/push/all", Push, post(goim::push_all)),
        (Method::GET, "/goim/online/top", Questions, get(goim::online_top)),
        (Method::GET, "/goim/online/room", Questions, get(goim::online_room)),
        (Method::GET, "/goim/online/total", Questions, get(goim::online_total)),
        (Method::GET, "/goim/nodes/weighted", Open, get(goim::nodes_weighted)),
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

/// The router with the routes of these groups, and the fallback for everything unknown; merge others that have none. Requests
/// should carry a [`halley_service::access::Peer`] as an extension, else they are nobody's.
pub fn router(state: Arc<HttpState>, groups: Groups) -> Router {
    let mut router = Router::new();
    for (_, path, group, handler) in routes() {
        let wanted = match group {
            Group::Push => groups.push,
            Group::Questions => groups.questions,
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
        return answers::error(StatusCode::NOT_FOUND, "not_found", "no such route, see /openapi.json");
    }
    goim_not_found()
}

/// Known paths asked with the wrong method: goim does not tell them from unknown ones.
async fn wrong_method(uri: Uri) -> Response {
    if uri.path().starts_with("/v1/") {
        return answers::error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "wrong method, see /openapi.json");
    }
    goim_not_found()
}

fn goim_not_found() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], "404 page not found").into_response()
}

/// A JSON answer that no cache keeps.
fn json(status: StatusCode, content_type: &'static str, body: &impl serde::Serialize) -> Response {
    ready(status, content_type, to_json(body))
}

/// The bytes of a JSON answer.
fn to_json(body: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("our answers have string keys and finite numbers")
}

/// A finished answer that no cache keeps.
fn ready(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.into()).into_response()
}
