//! Our own routes, for people and scripts: `POST /v1/push` and `GET /v1/online`. Owns their answers and errors, which
//! are JSON with a code for programs and a sentence for people; [`request`] reads what is asked for.

mod request;

use axum::extract::{Query, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::response::Response;
use halley_protocol::push::Push;
use halley_service::serve::answers::{denied, error, try_later, wrong_query};
use halley_service::serve::body::BodyError;
use serde::{Deserialize, Serialize};

use super::answers::{json, to_json};
use super::renderings::NoRoom;
use super::state::State;
use crate::gateways::NoAnswer;
use crate::ingress::access::{PUSH, QUESTIONS};
use crate::ingress::admit::{Invalid, Limits};
use crate::ingress::{CountScope, PushError, Pushed};
use request::{AskedScope, PushRequest};

const JSON: &str = "application/json";

/// What JSON may add to a message: base64 takes four bytes for three, targets and names the rest.
const REQUEST_OVERHEAD_BYTES: usize = 512 * 1024;

/// Rooms listed when the request does not say how many.
const ONLINE_ROOMS_DEFAULT: usize = 10;

/// Rooms listed at most.
const ONLINE_ROOMS_MAX: usize = 1000;

fn push_error(failed: &PushError) -> Response {
    let message = failed.to_string();
    match failed {
        PushError::Invalid(Invalid::BodyTooLarge { .. }) => error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &message),
        PushError::Invalid(_) => error(StatusCode::BAD_REQUEST, "bad_request", &message),
        PushError::TooLarge { .. } => error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &message),
        PushError::Full => try_later(StatusCode::TOO_MANY_REQUESTS, "bus_full", &message),
        PushError::Unavailable(_) => try_later(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &message),
        PushError::Unknown(_) => error(StatusCode::GATEWAY_TIMEOUT, "unknown", &message),
        PushError::OnlyHere => error(StatusCode::NOT_IMPLEMENTED, "only_here", &message),
        PushError::Stopping => stopping(),
    }
}

fn stopping() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "stopping", &PushError::Stopping.to_string())
}

fn body_error(failed: BodyError) -> Response {
    match failed {
        BodyError::TooLarge { bytes_max } => {
            let message = format!("the request is too long, at most {bytes_max} bytes are allowed");
            error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &message)
        }
        BodyError::Broken => error(StatusCode::BAD_REQUEST, "bad_request", "the request did not arrive whole"),
        BodyError::Busy => {
            try_later(StatusCode::TOO_MANY_REQUESTS, "busy", "too many requests are being read, try again in a moment")
        }
    }
}

/// Whether the body is declared as JSON. Asking for it also keeps foreign pages out: a browser sends them a preflight
/// request before it sends this content type for them, and we answer none.
fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// An accepted push. `matched` is left out when it is not known.
#[derive(Serialize)]
struct PushAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<AskedScope>,
}

/// `POST /v1/push`.
pub(super) async fn push(state: State, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if let Err(refusal) = state.check_access(&head, PUSH).await {
        return denied(&refusal);
    }
    if !is_json(&head.headers) {
        let message = "send JSON with the header 'Content-Type: application/json'";
        return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message);
    }
    let bytes_max = state.ingress.limits().body_bytes_max.saturating_mul(2).saturating_add(REQUEST_OVERHEAD_BYTES);
    let body = match state.body(&head, body, bytes_max).await {
        Ok(body) => body,
        Err(failed) => return body_error(failed),
    };
    let PushRequest { target, op, body, dry_run, scope } = match PushRequest::parse(&body.bytes) {
        Ok(request) => request,
        Err(failed) => return error(StatusCode::BAD_REQUEST, "bad_request", &failed.sentence()),
    };
    if let Err(invalid) = Limits::check_own(&target, op) {
        return push_error(&invalid.into());
    }
    let push = Push { target, op, body };
    let outcome = if dry_run {
        let counted = state.ingress.dry_run(push, over(scope)).await;
        counted.map(|matched| PushAnswer { id: None, matched, scope })
    } else {
        let pushed = state.ingress.push_counted(push).await;
        pushed.map(|Pushed { id, matched }| PushAnswer { id: Some(id.to_string()), matched, scope: None })
    };
    match outcome {
        Ok(answer) => json(StatusCode::OK, JSON, &answer),
        Err(failed) => push_error(&failed),
    }
}

fn over(scope: Option<AskedScope>) -> CountScope {
    match scope {
        None => CountScope::Cluster,
        Some(AskedScope::Gateway) => CountScope::Gateway,
    }
}

/// What `GET /v1/online` may be asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnlineQuery {
    limit: Option<String>,
    scope: Option<AskedScope>,
}

impl OnlineQuery {
    /// Rooms to list; left out, empty and 0 mean the default. `None` when it is no such number.
    fn limit(&self) -> Option<usize> {
        match self.limit.as_deref().unwrap_or_default() {
            "" => Some(ONLINE_ROOMS_DEFAULT),
            text => match text.parse().ok()? {
                0 => Some(ONLINE_ROOMS_DEFAULT),
                limit => Some(limit).filter(|limit| *limit <= ONLINE_ROOMS_MAX),
            },
        }
    }
}

#[derive(Serialize)]
struct Online<'a> {
    connections: u64,
    addresses: u64,
    rooms: usize,
    top: Vec<OnlineRoom<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<AskedScope>,
}

#[derive(Serialize)]
struct OnlineRoom<'a> {
    room: &'a str,
    count: u32,
}

/// `GET /v1/online`: totals and the largest rooms, of every type.
pub(super) async fn online(state: State, request: Request) -> Response {
    let (head, _) = request.into_parts();
    if let Err(refusal) = state.check_access(&head, QUESTIONS).await {
        return denied(&refusal);
    }
    let (limit, scope) = match Query::<OnlineQuery>::try_from_uri(&head.uri) {
        Ok(Query(query)) => (query.limit(), query.scope),
        Err(wrong) => return error(StatusCode::BAD_REQUEST, "bad_request", &wrong_query(&wrong)),
    };
    let Some(limit) = limit else {
        let message = format!("limit is a number from 1 to {ONLINE_ROOMS_MAX}");
        return error(StatusCode::BAD_REQUEST, "bad_request", &message);
    };
    if let Err(only_here) = state.ingress.check_scope(over(scope)) {
        return push_error(&only_here);
    }
    let (totals, rooms) = match tokio::try_join!(state.registry.totals(), state.registry.rooms()) {
        Ok(answers) => answers,
        Err(NoAnswer::Gone) => return stopping(),
        Err(why @ NoAnswer::TimedOut) => return try_later(StatusCode::SERVICE_UNAVAILABLE, "stuck", &why.to_string()),
    };
    let (connections, addresses) = (totals.connections, totals.addresses);
    let render = |rooms: &[(String, u32)]| {
        let top = rooms.iter().take(limit).map(|(room, count)| OnlineRoom { room, count: *count }).collect();
        to_json(&Online { connections, addresses, rooms: rooms.len(), top, scope })
    };
    let question = format!("online {limit} {connections} {addresses} {}", scope.is_some());
    let answered = state.renderings.answer(&rooms, question, JSON, &state.share(&head), render);
    answered.unwrap_or_else(|NoRoom| {
        let message = "too many long answers are being read, try again in a moment";
        try_later(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    })
}
