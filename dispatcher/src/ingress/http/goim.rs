//! The routes of goim's logic (goim §5). Owns their parameters, envelopes, codes and texts, to the byte where clients
//! can see it; decides nothing about pushes or rooms itself. Parameters stand only in the query, the body is the
//! message.
//!
//! What differs from goim, on purpose:
//! - L10: a negative `limit` is a 400 with a message instead of a panic.
//! - L14: `online/top` takes a room for one of a type when its key begins with `type://`, and what follows is its id,
//!   whole. goim compares a bare prefix (`li` matches `live://…`, `live` matches `lives://…`) and cuts the id at the
//!   first slash, so it shows rooms of other types and several rooms under one id. Keys without `://` belong to no
//!   type.
//! - `online/top` shows 1,000 rooms at most, whatever `limit` says beyond that.
//! - Who may not push or ask is told so: HTTP 401, 403 or 429 with code -401, -403 or -429.
//! - Bodies and lists over their bounds get code -400 with a message.
//! - Code -504 says that a push may appear once or not at all; with every other one nothing of it appears.
//! - Over a log that other gateways read too, who is online is code -501 unless `scope=gateway` asks for this one's
//!   part, which the answer then names.

use std::collections::BTreeMap;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use halley_protocol::push::{Push, Target};
use halley_service::access::Denied;
use halley_service::serve::answers::challenge;
use halley_service::serve::body::BodyError;
use serde::Serialize;

use super::answers::{json, to_json};
use super::query::{BindError, Binder, Query};
use super::renderings::NoRoom;
use super::state::{HttpState, State};
use crate::gateways::NoAnswer;
use crate::ingress::access::{PUSH, QUESTIONS};
use crate::ingress::{CountScope, PushError};

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

const OK: i32 = 0;
const REQUEST_ERROR: i32 = -400;
const SERVER_ERROR: i32 = -500;
const NOT_IMPLEMENTED: i32 = -501;
const IN_DOUBT: i32 = -504;

/// The scope that may be asked for.
const GATEWAY: &str = "gateway";

/// Rooms that `online/top` shows at most.
const TOP_MAX: usize = 1000;

/// What every answer looks like; `data` is left out when there is none.
#[derive(Serialize)]
struct Envelope<'a, T> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
    /// Whose numbers these are, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
}

fn answer(code: i32, message: &str) -> Response {
    json(StatusCode::OK, JSON, &Envelope::<()> { code, message, data: None, scope: None })
}

fn data(data: impl Serialize) -> Response {
    scoped(None, data)
}

fn scoped(scope: Option<&'static str>, data: impl Serialize) -> Response {
    json(StatusCode::OK, JSON, &Envelope { code: OK, message: "", data: Some(data), scope })
}

/// Whose numbers a question is about, as its answer names it.
fn scope(state: &HttpState, query: &Query) -> Result<Option<&'static str>, PushError> {
    let (over, named) = match query.first("scope") {
        Some(GATEWAY) => (CountScope::Gateway, Some(GATEWAY)),
        _ => (CountScope::Cluster, None),
    };
    state.ingress.check_scope(over).map(|()| named)
}

/// goim's binder sends its errors with status 400 and the content type of plain text.
fn bind_error(error: &BindError) -> Response {
    let message = &error.to_string();
    json(StatusCode::BAD_REQUEST, TEXT, &Envelope::<()> { code: REQUEST_ERROR, message, data: None, scope: None })
}

/// The code is the status, below 0.
fn denied(denied: &Denied) -> Response {
    let kind = denied.kind();
    let code = -i32::from(kind.status().as_u16());
    let mut response =
        json(kind.status(), JSON, &Envelope::<()> { code, message: &denied.to_string(), data: None, scope: None });
    challenge(kind, &mut response);
    response
}

fn push_error(error: &PushError) -> Response {
    let code = match error {
        PushError::Invalid(_) | PushError::TooLarge { .. } => REQUEST_ERROR,
        PushError::Full | PushError::Unavailable(_) | PushError::Stopping => SERVER_ERROR,
        PushError::Unknown(_) => IN_DOUBT,
        PushError::OnlyHere => NOT_IMPLEMENTED,
    };
    answer(code, &error.to_string())
}

fn body_error(error: BodyError) -> Response {
    match error {
        BodyError::TooLarge { bytes_max } => {
            answer(REQUEST_ERROR, &format!("the message is too long, at most {bytes_max} bytes are allowed"))
        }
        BodyError::Broken => answer(REQUEST_ERROR, "the message did not arrive whole"),
        BodyError::Busy => answer(SERVER_ERROR, "too many messages are being read, try again in a moment"),
    }
}

fn no_answer(why: NoAnswer) -> Response {
    answer(SERVER_ERROR, &why.to_string())
}

/// What the parameters of a push route ask for.
enum Bound {
    /// A push.
    Push { target: Target, op: i32 },
    /// Nobody is named, which goim takes for success.
    Nobody,
    /// Nobody is named, which goim's key lookup does not survive.
    NoKeys,
}

async fn push(state: &HttpState, request: Request, bind: fn(&Query) -> Result<Bound, BindError>) -> Response {
    let (head, body) = request.into_parts();
    if let Err(refusal) = state.check_access(&head, PUSH).await {
        return denied(&refusal);
    }
    let body = state.body(&head, body, state.ingress.limits().body_bytes_max).await;
    let (target, op) = match bind(&Query::parse(head.uri.query())) {
        Err(error) => return bind_error(&error),
        Ok(Bound::NoKeys) => return answer(REQUEST_ERROR, ""),
        Ok(Bound::Nobody) => return answer(OK, ""),
        Ok(Bound::Push { target, op }) => (target, op),
    };
    match body {
        Err(error) => body_error(error),
        Ok(body) => match state.ingress.push(Push { target, op, body: body.bytes }).await {
            Ok(_) => answer(OK, ""),
            Err(error) => push_error(&error),
        },
    }
}

/// `POST /goim/push/keys`.
pub(super) async fn push_keys(state: State, request: Request) -> Response {
    push(&state, request, |query| {
        let mut bind = Binder::new(query);
        let op = bind.int32("operation")?;
        let mut keys = bind.strings("keys");
        if keys.is_empty() {
            return Ok(Bound::NoKeys);
        }
        // Nobody has the empty key.
        keys.retain(|key| !key.is_empty());
        Ok(if keys.is_empty() { Bound::Nobody } else { Bound::Push { target: Target::Keys(keys), op } })
    })
    .await
}

/// `POST /goim/push/mids`.
pub(super) async fn push_mids(state: State, request: Request) -> Response {
    push(&state, request, |query| {
        let mut bind = Binder::new(query);
        let op = bind.int32("operation")?;
        let mids = bind.int64s("mids")?;
        Ok(if mids.is_empty() { Bound::Nobody } else { Bound::Push { target: Target::Mids(mids), op } })
    })
    .await
}

/// `POST /goim/push/room`.
pub(super) async fn push_room(state: State, request: Request) -> Response {
    push(&state, request, |query| {
        let mut bind = Binder::new(query);
        let op = bind.int32("operation")?;
        let (kind, room) = (bind.string("type"), bind.string("room"));
        bind.require(op != 0, "Op", "required");
        bind.require(!kind.is_empty(), "Type", "required");
        bind.require(!room.is_empty(), "Room", "required");
        bind.finish()?;
        Ok(Bound::Push { target: Target::Room(format!("{kind}://{room}")), op })
    })
    .await
}

/// `POST /goim/push/all`.
pub(super) async fn push_all(state: State, request: Request) -> Response {
    push(&state, request, |query| {
        let mut bind = Binder::new(query);
        let op = bind.int32("operation")?;
        let speed = bind.int32("speed")?;
        bind.require(op != 0, "Op", "required");
        bind.finish()?;
        // goim paces only above 0.
        Ok(Bound::Push { target: Target::All { speed: u32::try_from(speed).unwrap_or(0) }, op })
    })
    .await
}

#[derive(Serialize)]
struct Top<'a> {
    room_id: &'a str,
    count: u32,
}

/// The head of a question, if its sender may ask.
async fn asked(state: &HttpState, request: Request) -> Result<Parts, Response> {
    let (head, _) = request.into_parts();
    state.check_access(&head, QUESTIONS).await.map_err(|refusal| denied(&refusal))?;
    Ok(head)
}

fn no_room(NoRoom: NoRoom) -> Response {
    answer(SERVER_ERROR, "too many long answers are being read, try again in a moment")
}

/// `GET /goim/online/top`.
pub(super) async fn online_top(state: State, request: Request) -> Response {
    let head = match asked(&state, request).await {
        Ok(head) => head,
        Err(refusal) => return refusal,
    };
    let query = Query::parse(head.uri.query());
    let bind = || {
        let mut bind = Binder::new(&query);
        let kind = bind.string("type");
        let limit = bind.int64("limit")?;
        bind.require(!kind.is_empty(), "Type", "required");
        bind.require(limit != 0, "Limit", "required");
        bind.require(limit >= 0, "Limit", "min");
        bind.finish()?;
        Ok((format!("{kind}://"), usize::try_from(limit).unwrap_or(usize::MAX).min(TOP_MAX)))
    };
    let (prefix, limit) = match bind() {
        Ok(bound) => bound,
        Err(error) => return bind_error(&error),
    };
    let scope = match scope(&state, &query) {
        Ok(scope) => scope,
        Err(only_here) => return push_error(&only_here),
    };
    let rooms = match state.registry.rooms().await {
        Ok(rooms) => rooms,
        Err(why) => return no_answer(why),
    };
    let render = |rooms: &[(String, u32)]| {
        let of_type =
            rooms.iter().filter_map(|(room, count)| Some(Top { room_id: room.strip_prefix(&prefix)?, count: *count }));
        let top: Vec<Top<'_>> = of_type.take(limit).collect();
        to_json(&Envelope { code: OK, message: "", data: Some(top), scope })
    };
    let question = format!("top {limit} {} {prefix}", scope.is_some());
    state.renderings.answer(&rooms, question, JSON, &state.share(&head), render).unwrap_or_else(no_room)
}

/// `GET /goim/online/room`.
pub(super) async fn online_room(state: State, request: Request) -> Response {
    let head = match asked(&state, request).await {
        Ok(head) => head,
        Err(refusal) => return refusal,
    };
    let query = Query::parse(head.uri.query());
    let bind = || {
        let mut bind = Binder::new(&query);
        let (kind, rooms) = (bind.string("type"), bind.strings("rooms"));
        bind.require(!kind.is_empty(), "Type", "required");
        bind.require(!rooms.is_empty(), "Rooms", "required");
        bind.finish()?;
        Ok((format!("{kind}://"), rooms))
    };
    let (prefix, ids) = match bind() {
        Ok(bound) => bound,
        Err(error) => return bind_error(&error),
    };
    let scope = match scope(&state, &query) {
        Ok(scope) => scope,
        Err(only_here) => return push_error(&only_here),
    };
    let rooms = ids.iter().map(|id| format!("{prefix}{id}")).collect();
    match state.registry.counts(rooms).await {
        // Ordered by id, as Go writes maps.
        Ok(counts) => scoped(scope, ids.iter().zip(counts).collect::<BTreeMap<_, _>>()),
        Err(why) => no_answer(why),
    }
}

#[derive(Serialize)]
struct Total {
    conn_count: u64,
    ip_count: u64,
}

/// `GET /goim/online/total`.
pub(super) async fn online_total(state: State, request: Request) -> Response {
    let head = match asked(&state, request).await {
        Ok(head) => head,
        Err(refusal) => return refusal,
    };
    let scope = match scope(&state, &Query::parse(head.uri.query())) {
        Ok(scope) => scope,
        Err(only_here) => return push_error(&only_here),
    };
    match state.registry.totals().await {
        Ok(totals) => scoped(scope, Total { conn_count: totals.connections, ip_count: totals.addresses }),
        Err(why) => no_answer(why),
    }
}

/// `GET /goim/nodes/weighted`.
pub(super) async fn nodes_weighted(state: State, request: Request) -> Response {
    let query = Query::parse(request.uri().query());
    data(state.node.load().weighted(query.first("platform").unwrap_or_default()))
}

/// `GET /goim/nodes/instances`.
pub(super) async fn nodes_instances(state: State, request: Request) -> Response {
    if let Err(refusal) = asked(&state, request).await {
        return refusal;
    }
    match state.registry.totals().await {
        Ok(totals) => data(state.node.load().instances(totals)),
        Err(why) => no_answer(why),
    }
}
