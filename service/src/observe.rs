//! What monitoring asks over HTTP. Owns the routes and their answers; the rest of the admin side is the program's, and
//! so is who may ask for metrics.
//!
//! | route | answer |
//! |---|---|
//! | `GET /healthz` | 200 `ok` while every thread answers, else 503 `stuck`, at most 1 s old |
//! | `GET /readyz` | 200 `serving` while the program wants traffic, else 503 with one word |
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
                let phase = lifecycle.phase();
                async move { readiness(phase) }
            }),
        )
}

async fn liveness(health: &Health) -> Response {
    if health.stuck_threads(Instant::now()).await.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "stuck\n").into_response()
}

fn readiness(phase: Phase) -> Response {
    let status = if phase == Phase::Serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", phase.label())).into_response()
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
        assert_eq!(phases.map(|phase| readiness(phase).status().as_u16()), [503, 200, 503]);
    }
}
