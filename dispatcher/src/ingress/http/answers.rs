//! The bytes of answers. Owns their JSON and the headers that all of them have; knows no route and no envelope.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// A JSON answer that no cache keeps.
pub(super) fn json(status: StatusCode, content_type: &'static str, body: &impl serde::Serialize) -> Response {
    ready(status, content_type, to_json(body))
}

/// The bytes of a JSON answer.
pub(super) fn to_json(body: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("our answers have string keys and finite numbers")
}

/// A finished answer that no cache keeps.
pub(super) fn ready(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.into()).into_response()
}
