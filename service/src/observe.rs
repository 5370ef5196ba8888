//! What monitoring asks over HTTP. Owns the routes and their answers; the rest of the admin side is the program's, and
//! so is who may ask for metrics.
//!
//! | route | answer |
//! |---|---|
//! | `GET /healthz` | 200 `ok` while every thread answers, else 503 `stuck`, at most 1 s old |
//! | `GET /readyz` | 200 `serving` while it wants traffic, else 503 with its state, and a line of what it lacks |
//! | `GET /metrics` | Prometheus text |

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::health::Health;
use crate::lifecycle::{Lifecycle, Phase};
use crate::metrics::{self, Metrics};

/// Whether the program lives, and whether it wants traffic: for everybody.
pub fn life(lifecycle: Lifecycle, health: Health) -> Router {
    Router::new()
        .route(
            "/healthz",
            get(move || {
                let health = health.clone();
                async move { liveness(&health).await }
            }),
        )
        .route(
            "/readyz",
            get(move || {
                let (phase, lack) = (lifecycle.phase(), lifecycle.lacks());
                async move { readiness(phase, lack.as_deref()) }
            }),
        )
}

async fn liveness(health: &Health) -> Response {
    if health.stuck_threads(Instant::now()).await.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "stuck\n").into_response()
}

/// The phase in its word; what is lacking stands in a line of its own.
fn readiness(phase: Phase, lack: Option<&str>) -> Response {
    let ready = phase == Phase::Serving && lack.is_none();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let lack = lack.filter(|_| phase != Phase::Draining).map(|lack| format!("{lack}\n")).unwrap_or_default();
    let word = if phase == Phase::Serving && !ready { "not ready" } else { phase.label() };
    (status, format!("{word}\n{lack}")).into_response()
}

/// All metrics of the program; who may ask for them is the program's affair.
pub fn metrics<S: Clone + Send + Sync + 'static>(metrics: Arc<Metrics>) -> Router<S> {
    let show = move || {
        let text = metrics.text();
        async move { ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text) }
    };
    Router::new().route("/metrics", get(show))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_serves_is_ready() {
        let phases = [Phase::Starting, Phase::Serving, Phase::Draining];
        assert_eq!(phases.map(|phase| readiness(phase, None).status().as_u16()), [503, 200, 503]);
    }

    /// Whoever lacks something is not ready, though it serves, and says what; when it has it again it is.
    #[tokio::test]
    async fn who_lacks_something_is_not_ready_and_says_what() {
        let lifecycle = Lifecycle::default();
        lifecycle.enter(Phase::Serving);
        let router = life(lifecycle.clone(), Health::default());
        let ask = || async {
            let request = http::Request::get("/readyz").body(axum::body::Body::empty()).expect("a request");
            let answer = tower::ServiceExt::oneshot(router.clone(), request).await.expect("an answer");
            let status = answer.status().as_u16();
            let body = axum::body::to_bytes(answer.into_body(), 1024).await.expect("a body");
            (status, String::from_utf8(body.to_vec()).expect("text"))
        };
        lifecycle.lack(Some("broker 3 is missing"));
        assert_eq!(ask().await, (503, "not ready\nbroker 3 is missing\n".to_owned()));
        lifecycle.lack(None);
        assert_eq!(ask().await, (200, "serving\n".to_owned()));
    }
}
