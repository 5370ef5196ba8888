//! What the HTTP routes share: the dispatcher behind them, and what each asks of a request before its own work. Owns
//! who may ask, and how much of a body and of the budget a request may take; knows no route. Next: the ingress, the
//! registry.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::http::request::Parts;
use halley_service::access::{Caller, Denied, Scope};
use halley_service::serve::asked::{Asked, hold_back};
use halley_service::serve::body::{self, BodyError, WholeBody};
use halley_service::serve::budget::{Budget, Share};

use super::renderings::Renderings;
use crate::discovery::node::NodeInfo;
use crate::ingress::Ingress;
use crate::ingress::access::QUESTIONS;
use crate::registry::Registry;

/// What the routes work with.
pub struct HttpState {
    pub(super) ingress: Arc<Ingress>,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) node: ArcSwap<NodeInfo>,
    pub(super) demo: DemoInfo,
    budget: Budget,
    pub(super) renderings: Renderings,
}

/// What the demo page needs to know of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DemoInfo {
    /// Bound address of the WebSocket listener, if there is one. An unspecified IP stands for "the host the page came
    /// from".
    pub websocket: Option<SocketAddr>,
    /// Bound address of the WebSocket listener with TLS, used when the page itself came over TLS.
    pub websocket_tls: Option<SocketAddr>,
    /// Path of the upgrade request; empty means `/sub`.
    pub websocket_path: String,
    /// The token that clients log in with is a JWT, not goim's open JSON.
    pub jwt: bool,
    /// How often the page beats, in seconds; 0 means 30.
    pub heartbeat_s: u32,
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

    /// The state of a process that is no node: no client connects to it, so there is nothing to tell of it.
    pub fn of_no_node(ingress: Arc<Ingress>, registry: Arc<dyn Registry>, budget: Budget) -> Arc<HttpState> {
        HttpState::new(ingress, registry, NodeInfo::default(), DemoInfo::default(), budget)
    }

    /// What is said about this node from now on.
    pub fn set_node(&self, node: NodeInfo) {
        self.node.store(Arc::new(node));
    }

    /// Whether the sender of this request may. The answer to a wrong token is held back here.
    pub(super) async fn check_access(&self, request: &Parts, scope: Scope) -> Result<(), Denied> {
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
    pub(super) fn share(&self, request: &Parts) -> Share {
        let noted = request.extensions.get::<Share>().cloned();
        noted.unwrap_or_else(|| self.budget.share(Caller::of_parts(request).peer.block()))
    }

    /// The body of a request, of at most `bytes_max`.
    pub(super) async fn body(&self, request: &Parts, body: Body, bytes_max: usize) -> Result<WholeBody, BodyError> {
        body::read(&request.headers, body, bytes_max, &self.share(request)).await
    }
}

/// What handlers take.
pub(super) type State = axum::extract::State<Arc<HttpState>>;
