//! Answers that are made below every route. A peer gets one before its request is whole, or for what no route may be
//! asked. Owns their bytes, and the shape of an error for programs and people.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

use crate::access::{Denied, Kind};
use crate::plain::Plain;

/// Characters that are repeated of what a library says about a query; the query itself may hold 64 KiB.
const WHY_CHARACTERS_MAX: usize = 300;

/// The header did not come within its time.
pub const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// There is no memory for a header of this size now.
pub const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
/// Somebody else needs the connection's place.
pub const NO_PLACE: &[u8] = NO_ROOM;

/// An error as `{"error": {"code": …, "message": …}}`: a code for programs, a sentence for people.
pub fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let text = serde_json::json!({ "error": { "code": code, "message": message } }).to_string();
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// As [`error`], for what may be tried again in a second.
pub fn try_later(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let mut response = error(status, code, message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// What somebody is told who may not. Waiting helps whoever showed too many wrong tokens.
pub fn denied(denied: &Denied) -> Response<Body> {
    let (kind, message) = (denied.kind(), denied.to_string());
    let mut response = match kind {
        Kind::Unauthenticated => error(kind.status(), "unauthorized", &message),
        Kind::Forbidden => error(kind.status(), "forbidden", &message),
        Kind::TooMany => try_later(kind.status(), "busy", &message),
    };
    challenge(kind, &mut response);
    response
}

/// Say in the answer to somebody who may not how to show who he is, if that could help (RFC 9110 §11.6.1).
pub fn challenge<B>(kind: Kind, response: &mut Response<B>) {
    if kind == Kind::Unauthenticated {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
}

/// What is said about a query that a route of ours does not take: a name that is not known, or one that comes twice.
pub fn wrong_query(wrong: &QueryRejection) -> String {
    let mut why: &dyn std::error::Error = wrong;
    while let Some(source) = why.source() {
        why = source;
    }
    let why: String = Plain(why).to_string().chars().take(WHY_CHARACTERS_MAX).collect();
    format!("the query is wrong: {why}")
}
