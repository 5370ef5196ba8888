//! The demo page at `/`. Owns its embedded files, the headers that confine it, and `/v1/demo.json`, which tells it
//! where the gateway listens; the page itself is in `demo/`. It asks nothing of any other host.

use std::net::SocketAddr;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::answers::json;
use super::state::{DemoInfo, State};
use crate::ingress::access::PUSH;

const HTML: &str = include_str!("../../demo/index.html");
const SCRIPT: &str = include_str!("../../demo/app.js");
const STYLE: &str = include_str!("../../demo/style.css");

#[derive(Serialize)]
struct Info<'a> {
    ws: Option<Endpoint>,
    wss: Option<Endpoint>,
    path: &'a str,
    jwt: bool,
    push_token: bool,
    heartbeat_s: u32,
    server_id: &'a str,
    version: &'a str,
}

/// Where to connect; no host means the host that the page came from.
#[derive(Serialize)]
struct Endpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    port: u16,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        let host = match address {
            address if address.ip().is_unspecified() => None,
            SocketAddr::V4(v4) => Some(v4.ip().to_string()),
            SocketAddr::V6(v6) => Some(format!("[{}]", v6.ip())),
        };
        Endpoint { host, port: address.port() }
    }
}

/// `GET /v1/demo.json`.
pub(super) async fn info(state: State) -> Response {
    let demo = &state.demo;
    let node = state.node.load();
    let info = Info {
        ws: demo.websocket.map(Endpoint::from),
        wss: demo.websocket_tls.map(Endpoint::from),
        path: if demo.websocket_path.is_empty() { "/sub" } else { &demo.websocket_path },
        jwt: demo.jwt,
        push_token: state.ingress.access().needs_token(PUSH),
        heartbeat_s: if demo.heartbeat_s == 0 { 30 } else { demo.heartbeat_s },
        server_id: &node.server_id,
        version: &node.version,
    };
    json(StatusCode::OK, "application/json", &info)
}

/// `GET /`.
pub(super) async fn html(state: State) -> Response {
    let mut response = asset("text/html; charset=utf-8", HTML);
    let policy = HeaderValue::try_from(content_security_policy(&state.demo)).expect("ports and keywords");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// `GET /demo/app.js`.
pub(super) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

/// `GET /demo/style.css`.
pub(super) async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

/// The page may load its own script and style, and talk to its own host and to the gateway's WebSocket ports.
fn content_security_policy(demo: &DemoInfo) -> String {
    let mut connect = String::from("'self'");
    for (scheme, address) in [("ws", demo.websocket), ("wss", demo.websocket_tls)] {
        if let Some(address) = address {
            connect.push_str(&format!(" {scheme}://*:{}", address.port()));
        }
    }
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src {connect}; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    const HEADERS: [(HeaderName, &str); 3] = [
        // The files change with the program only, but there is no name by which a browser could tell.
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    ([(header::CONTENT_TYPE, content_type)], HEADERS, text).into_response()
}
