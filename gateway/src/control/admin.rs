//! The admin side over HTTP. Owns its routes, their parameters and the shape of their errors; finds and closes nothing
//! itself (`describe`, `trace_stream` and `metrics` do; `halley_service::observe` has the last two routes). Whatever
//! listener carries it must put the
//! [`halley_service::access::Peer`] into each request.
//!
//! | route | for whom | answer |
//! |---|---|---|
//! | `GET /v1/connections?key=\|mid=\|room=[&limit=]` | admin | who is connected, and how |
//! | `DELETE /v1/connections?key=\|mid=\|room=` | admin | `{"closed": n, "scope": "gateway"}` |
//! | `GET /v1/trace?key=\|mid=` | read | one JSON object a line, or Server-Sent Events if `Accept` names them |
//! | `GET /metrics` | read | Prometheus text |
//! | `GET /healthz` | everybody | 200 `ok` while every thread answers, else 503 `stuck`, at most 1 s old |
//! | `GET /readyz` | everybody | 200 `serving` while the gateway wants traffic, else 503 with one word |
//!
//! Another gateway with the same log knows other connections, so each of the first three answers says whose it speaks
//! of: as `"scope": "gateway"`, the trace as the header `halley-scope`.
//!
//! Errors are `{"error": {"code": …, "message": …}}`: a code for programs, a sentence for people.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use halley_protocol::login::NAME_BYTES_MAX;
use halley_service::access::rules::AccessRules;
use halley_service::access::{Caller, Peer, Role, Scope};
use halley_service::metrics::Metrics;
use halley_service::serve::answers;
use halley_service::serve::asked::hold_back;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::access::{ADMIN, OBSERVE};
use super::describe::{Directory, Failure, SCOPE, SHOWN_DEFAULT, SHOWN_MAX, Whose};
use super::handle::{ControlError, ControlHandle};
use super::trace_stream::{self, Form, TRACES_MAX};
use crate::feed::intake::{Intake, NoAnswer, Select};
use halley_service::health::Health;
use halley_service::lifecycle::Lifecycle;
use halley_service::observe;

/// Of an answer that has no place for a scope among its lines.
const SCOPE_HEADER: HeaderName = HeaderName::from_static("halley-scope");

/// What the routes work with.
#[derive(Debug)]
pub struct Admin {
    directory: Directory,
    metrics: Arc<Metrics>,
    lifecycle: Lifecycle,
    health: Health,
    access: AccessRules,
    traces: Arc<Semaphore>,
}

impl Admin {
    /// The admin side of this gateway.
    pub fn new(
        control: ControlHandle,
        intake: Intake,
        metrics: Metrics,
        lifecycle: Lifecycle,
        health: Health,
        access: AccessRules,
    ) -> Arc<Admin> {
        Arc::new(Admin {
            directory: Directory { control, intake },
            metrics: Arc::new(metrics),
            lifecycle,
            health,
            access,
            traces: Arc::new(Semaphore::new(TRACES_MAX)),
        })
    }

    /// Traces that may still begin now.
    pub fn traces_free(&self) -> usize {
        self.traces.available_permits()
    }
}

/// Kinds of routes, each of which a listener may leave out. Those that tell how the gateway is are always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Connections.
    pub admin: bool,
    /// Metrics and traces.
    pub observe: bool,
}

/// Every path, whether a listener serves it or not.
pub const PATHS: [&str; 5] = ["/healthz", "/readyz", "/v1/connections", "/v1/trace", "/metrics"];

/// The routes alone, to be merged with others. Sets no fallback.
pub fn routes(admin: Arc<Admin>, groups: Groups) -> Router {
    let mut router = Router::new();
    if groups.admin {
        router = router.merge(guarded(&admin, ADMIN, Router::new().route("/v1/connections", get(list).delete(close))));
    }
    if groups.observe {
        let observing =
            Router::new().route("/v1/trace", get(trace)).merge(observe::metrics(Arc::clone(&admin.metrics)));
        router = router.merge(guarded(&admin, OBSERVE, observing));
    }
    let life = observe::life(admin.lifecycle.clone(), admin.health.clone());
    router.with_state(admin).merge(life).method_not_allowed_fallback(wrong_method)
}

/// The routes on a listener of their own.
pub fn router(admin: Arc<Admin>) -> Router {
    routes(admin, Groups { admin: true, observe: true }).fallback(not_found)
}

/// Routes for who may.
fn guarded(admin: &Arc<Admin>, scope: Scope, routes: Router<Arc<Admin>>) -> Router<Arc<Admin>> {
    let admin = Arc::clone(admin);
    routes.route_layer(from_fn(move |request, next| check(Arc::clone(&admin), scope, request, next)))
}

/// An answer that is not what the caller wanted.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::BAD_REQUEST, code: "bad_request", message: message.into() }
    }

    fn unavailable(code: &'static str, message: String) -> Refusal {
        Refusal { status: StatusCode::SERVICE_UNAVAILABLE, code, message }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        answers::error(self.status, self.code, &self.message)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        match failure {
            Failure::Stopping => Refusal::unavailable("stopping", NoAnswer::Stopping.to_string()),
            Failure::FeedStuck => Refusal::unavailable("stuck", NoAnswer::TimedOut.to_string()),
            Failure::Control(error @ ControlError::TimedOut) => Refusal::unavailable("stuck", error.to_string()),
            Failure::Control(error) => Refusal::unavailable("busy", error.to_string()),
        }
    }
}

/// Let in who may; handlers find out by what right, and from where.
async fn check(admin: Arc<Admin>, scope: Scope, mut request: Request, next: Next) -> Response {
    let caller = Caller::of(&request);
    let peer = caller.peer;
    let denied = match admin.access.check(&caller, scope) {
        Ok(role) => {
            request.extensions_mut().insert(Who { role, peer });
            return next.run(request).await;
        }
        Err(denied) => hold_back(&admin.access, request.extensions(), peer, denied).await,
    };
    answers::denied(&denied)
}

/// Who was let in.
#[derive(Clone, Copy, Debug)]
struct Who {
    role: Role,
    peer: Peer,
}

async fn not_found() -> Refusal {
    let message =
        "no such route; the admin side has /v1/connections, /v1/trace, /metrics, /healthz and /readyz".to_owned();
    Refusal { status: StatusCode::NOT_FOUND, code: "not_found", message }
}

async fn wrong_method() -> Refusal {
    let message = "this route does not know that method".to_owned();
    Refusal { status: StatusCode::METHOD_NOT_ALLOWED, code: "method_not_allowed", message }
}

/// What `GET /v1/connections` may be asked. Any other name is refused, so that a typing error closes nobody else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    key: Option<String>,
    mid: Option<String>,
    room: Option<String>,
    limit: Option<String>,
}

/// As [`ListQuery`], for `DELETE`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseQuery {
    key: Option<String>,
    mid: Option<String>,
    room: Option<String>,
}

/// As [`ListQuery`], for `GET /v1/trace`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceQuery {
    key: Option<String>,
    mid: Option<String>,
}

/// The query of a request as it comes, or what is wrong with it.
type Given<T> = Result<Query<T>, QueryRejection>;

fn asked<T>(given: Given<T>) -> Result<T, Refusal> {
    given.map(|Query(query)| query).map_err(|wrong| Refusal::bad_request(answers::wrong_query(&wrong)))
}

/// The one of key, mid and room that is given.
fn whose(key: Option<String>, mid: Option<String>, room: Option<String>) -> Result<Whose, Refusal> {
    match (key, mid, room) {
        (None, None, Some(room)) => Ok(Whose::Room(name("room", room)?)),
        (key @ Some(_), None, None) => login(key, None).map(Whose::Login),
        (None, mid @ Some(_), None) => login(None, mid).map(Whose::Login),
        _ => Err(Refusal::bad_request("give exactly one of key, mid and room")),
    }
}

/// The one of key and mid that is given.
fn login(key: Option<String>, mid: Option<String>) -> Result<Select, Refusal> {
    match (key, mid) {
        (Some(key), None) => Ok(Select::Key(name("key", key)?)),
        (None, Some(mid)) => match mid.parse() {
            Ok(mid) if mid > 0 => Ok(Select::Mid(mid)),
            _ => Err(Refusal::bad_request("mid must be a whole number above 0")),
        },
        _ => Err(Refusal::bad_request("give either key or mid")),
    }
}

/// How many connections to show.
fn shown(limit: Option<&str>) -> Result<u32, Refusal> {
    match limit.map(str::parse) {
        None => Ok(SHOWN_DEFAULT),
        Some(Ok(limit @ 1..=SHOWN_MAX)) => Ok(limit),
        Some(_) => Err(Refusal::bad_request(format!("limit must be from 1 to {SHOWN_MAX}"))),
    }
}

/// A key or a room that somebody may have.
fn name(what: &str, name: String) -> Result<String, Refusal> {
    match name.len() {
        0 => Err(Refusal::bad_request(format!("{what} must not be empty"))),
        1..=NAME_BYTES_MAX => Ok(name),
        _ => Err(Refusal::bad_request(format!("{what} must have at most {NAME_BYTES_MAX} bytes"))),
    }
}

async fn list(State(admin): State<Arc<Admin>>, given: Given<ListQuery>) -> Result<Response, Refusal> {
    let ListQuery { key, mid, room, limit } = asked(given)?;
    let listing = admin.directory.list(whose(key, mid, room)?, shown(limit.as_deref())?).await?;
    Ok(axum::Json(listing).into_response())
}

async fn close(
    State(admin): State<Arc<Admin>>,
    Extension(Who { role, peer }): Extension<Who>,
    given: Given<CloseQuery>,
) -> Result<Response, Refusal> {
    let CloseQuery { key, mid, room } = asked(given)?;
    let whose = whose(key, mid, room)?;
    match admin.directory.close(whose.clone()).await {
        Ok(closed) => {
            tracing::info!(%whose, closed, %role, %peer, "an operator closed connections");
            Ok(axum::Json(json!({ "closed": closed, "scope": SCOPE })).into_response())
        }
        Err((closed, failure)) => {
            tracing::warn!(%whose, closed, %role, %peer, "an operator closed connections, perhaps not all");
            let mut refusal = Refusal::from(failure);
            refusal.message = match (failure, whose) {
                // The directory has been asked, and does it when it goes on.
                (Failure::FeedStuck, Whose::Login(_)) => format!("{}; they may still be closed", refusal.message),
                _ => format!("{}; {closed} connections were closed before", refusal.message),
            };
            Err(refusal)
        }
    }
}

async fn trace(
    State(admin): State<Arc<Admin>>,
    Extension(Who { role, peer }): Extension<Who>,
    headers: HeaderMap,
    given: Given<TraceQuery>,
) -> Result<Response, Refusal> {
    let TraceQuery { key, mid } = asked(given)?;
    let select = login(key, mid)?;
    let Ok(permit) = Arc::clone(&admin.traces).try_acquire_owned() else {
        let message = format!("{TRACES_MAX} traces run already: end one first");
        return Err(Refusal { status: StatusCode::TOO_MANY_REQUESTS, code: "busy", message });
    };
    let form = Form::from_accept(headers.get(ACCEPT).and_then(|value| value.to_str().ok()));
    tracing::info!(whose = %Whose::Login(select.clone()), %role, %peer, "a trace begins");
    let lines = trace_stream::begin(admin.directory.clone(), admin.lifecycle.clone(), select, form, permit);
    let lines = lines.await.map_err(|why| Refusal::from(Failure::from(why)))?;
    let body = Body::from_stream(ReceiverStream::new(lines).map(Ok::<_, std::convert::Infallible>));
    let headers = [(CONTENT_TYPE, form.content_type()), (CACHE_CONTROL, "no-store"), (SCOPE_HEADER, SCOPE)];
    Ok((headers, body).into_response())
}
