//! What is said about this node, to clients that look for one and to other servers. Owns what takes the place of
//! settings that are left out: the host's name, and the addresses that are bound. The dispatcher shows it
//! (`discovery::node`).

use std::net::SocketAddr;

use halley_dispatcher::discovery::node::{Backoff, NodeInfo};

use crate::config::Config;

/// What the dispatcher says about addresses, once they are bound.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// First TCP listener.
    pub tcp: Option<SocketAddr>,
    /// First WebSocket listener.
    pub ws: Option<SocketAddr>,
    /// First WebSocket listener with TLS.
    pub wss: Option<SocketAddr>,
    /// First gRPC listener.
    pub grpc: Option<SocketAddr>,
}

/// The configured id, or the host name.
pub fn server_id(config: &Config) -> String {
    match config.node.server_id.as_str() {
        "" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        id => id.to_owned(),
    }
}

/// As configured, for a process that started then (nanoseconds since the Unix epoch).
pub(super) fn node_info(config: &Config, bound: &Bound, started_ns: i64) -> NodeInfo {
    let node = &config.node;
    let server_id = server_id(config);
    let port = |configured: u16, bound: Option<SocketAddr>| match configured {
        0 => bound.map_or(0, |address| address.port()),
        port => port,
    };
    let named = |address: &SocketAddr| !address.ip().is_unspecified();
    let addrs = match node.addrs.as_slice() {
        [] => bound.tcp.filter(named).map(|address| address.ip().to_string()).into_iter().collect(),
        addrs => addrs.to_vec(),
    };
    let grpc_addr = match (node.grpc_addr.as_str(), bound.grpc) {
        ("", None) => String::new(),
        ("", Some(address)) if named(&address) => format!("grpc://{address}"),
        ("", Some(address)) => format!("grpc://{server_id}:{}", address.port()),
        (address, _) => format!("grpc://{address}"),
    };
    let or_id = |text: &str| if text.is_empty() { server_id.clone() } else { text.to_owned() };
    NodeInfo {
        region: node.region.clone(),
        zone: node.zone.clone(),
        env: node.env.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        grpc_addr,
        addrs,
        weight: node.weight.into(),
        offline: node.offline,
        started_ns,
        default_domain: or_id(&node.default_domain),
        host_domain: node.host_domain.clone(),
        tcp_port: port(node.tcp_port, bound.tcp),
        ws_port: port(node.ws_port, bound.ws),
        wss_port: port(node.wss_port, bound.wss),
        heartbeat_s: node.heartbeat_seconds,
        heartbeat_max: node.heartbeat_max,
        backoff: Backoff {
            max_delay: node.backoff_max_seconds,
            base_delay: node.backoff_base_seconds,
            factor: node.backoff_factor,
            jitter: node.backoff_jitter,
        },
        server_id,
    }
}
