//! How clients find a gateway: the node's description and the two answers made of it (goim §5, `nodes/weighted` and
//! `nodes/instances`; the instance is what goim registers, §6.5). Owns those shapes. Chooses nothing yet, since one
//! node is all there is. As in goim, an offline node is left out, and clients then get the default domain.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::gateways::Totals;

/// What the operator says about this node and its clients.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeInfo {
    /// Unique among all nodes; the host name by default.
    pub server_id: String,
    /// Region, such as `sh`.
    pub region: String,
    /// Zone, such as `sh001`.
    pub zone: String,
    /// Deployment environment, such as `prod`.
    pub env: String,
    /// Version of the running program.
    pub version: String,
    /// Where other servers reach its gRPC, `grpc://host:port`.
    pub grpc_addr: String,
    /// Public addresses given to clients that are no browsers.
    pub addrs: Vec<String>,
    /// Balancer weight: a node of weight 2 is meant for twice the clients of one of weight 1.
    pub weight: u64,
    /// Keep new clients away: the node is left out of what they are told.
    pub offline: bool,
    /// When it started, in nanoseconds since the Unix epoch.
    pub started_ns: i64,
    /// What clients connect to when no node fits.
    pub default_domain: String,
    /// Appended to the server id for browsers: `.example.org`.
    pub host_domain: String,
    /// Port of the TCP listener, 0 = none.
    pub tcp_port: u16,
    /// Port of the WebSocket listener, 0 = none.
    pub ws_port: u16,
    /// Port of the WebSocket listener with TLS, 0 = none.
    pub wss_port: u16,
    /// How often clients beat, in seconds.
    pub heartbeat_s: u32,
    /// Beats that may be missing before a client is taken for gone.
    pub heartbeat_max: u32,
    /// How clients reconnect; only relayed.
    pub backoff: Backoff,
}

impl Default for NodeInfo {
    /// goim's example numbers; no names.
    fn default() -> Self {
        NodeInfo {
            server_id: String::new(),
            region: String::new(),
            zone: String::new(),
            env: String::new(),
            version: env!("CARGO_PKG_VERSION").into(),
            grpc_addr: String::new(),
            addrs: Vec::new(),
            weight: 1,
            offline: false,
            started_ns: 0,
            default_domain: String::new(),
            host_domain: String::new(),
            tcp_port: 3101,
            ws_port: 3102,
            wss_port: 0,
            heartbeat_s: 240,
            heartbeat_max: 2,
            backoff: Backoff { max_delay: 300, base_delay: 3, factor: 1.8, jitter: 0.3 },
        }
    }
}

/// How clients reconnect. Zeros are left out in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Backoff {
    /// Longest delay, in seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_delay: u32,
    /// First delay, in seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub base_delay: u32,
    /// Factor by which the delay grows with each attempt.
    #[serde(skip_serializing_if = "is_zero_f32", serialize_with = "go_f32")]
    pub factor: f32,
    /// Share of the delay that is random: 0.3 is 30 %.
    #[serde(skip_serializing_if = "is_zero_f32", serialize_with = "go_f32")]
    pub jitter: f32,
}

/// Data of `/goim/nodes/weighted`. Zero and empty fields are left out.
#[derive(Debug, Serialize)]
pub struct Weighted {
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    #[serde(skip_serializing_if = "is_zero")]
    tcp_port: u32,
    #[serde(skip_serializing_if = "is_zero")]
    ws_port: u32,
    #[serde(skip_serializing_if = "is_zero")]
    wss_port: u32,
    #[serde(skip_serializing_if = "is_zero")]
    heartbeat: u32,
    nodes: Vec<String>,
    backoff: Backoff,
    #[serde(skip_serializing_if = "is_zero")]
    heartbeat_max: u32,
}

/// One entry of `/goim/nodes/instances`, the instance as discovery knows it (goim §6.1, §6.5).
#[derive(Debug, Serialize)]
pub struct Instance {
    region: String,
    zone: String,
    env: String,
    appid: &'static str,
    hostname: String,
    addrs: Vec<String>,
    version: String,
    latest_timestamp: i64,
    metadata: BTreeMap<&'static str, String>,
}

impl NodeInfo {
    /// Where a client should connect. Browsers (`platform` "web") get host names, everybody else the public addresses;
    /// the default domain stands in when there are none.
    pub fn weighted(&self, platform: &str) -> Weighted {
        let mut nodes = match (self.offline, platform) {
            (true, _) => Vec::new(),
            (false, "web") => vec![format!("{}{}", self.server_id, self.host_domain)],
            (false, _) => self.addrs.clone(),
        };
        if nodes.is_empty() {
            nodes.push(self.default_domain.clone());
        }
        Weighted {
            domain: self.default_domain.clone(),
            tcp_port: self.tcp_port.into(),
            ws_port: self.ws_port.into(),
            wss_port: self.wss_port.into(),
            heartbeat: self.heartbeat_s,
            nodes,
            backoff: self.backoff,
            heartbeat_max: self.heartbeat_max,
        }
    }

    /// The instances; `None` when the only one is offline (goim then answers `null`).
    pub fn instances(&self, totals: Totals) -> Option<Vec<Instance>> {
        if self.offline {
            return None;
        }
        let metadata = BTreeMap::from([
            ("addrs", self.addrs.join(",")),
            ("conn_count", totals.connections.to_string()),
            ("ip_count", totals.addresses.to_string()),
            ("offline", self.offline.to_string()),
            ("weight", self.weight.to_string()),
        ]);
        Some(vec![Instance {
            region: self.region.clone(),
            zone: self.zone.clone(),
            env: self.env.clone(),
            appid: "goim.comet",
            hostname: self.server_id.clone(),
            addrs: vec![self.grpc_addr.clone()],
            version: self.version.clone(),
            latest_timestamp: self.started_ns,
            metadata,
        }])
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_zero_f32(number: &f32) -> bool {
    *number == 0.0
}

/// As Go writes a float32: the shortest form, whole numbers without a fraction.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn go_f32<S: Serializer>(number: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() < 1e9 {
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 1e9")]
        return serializer.serialize_i64(*number as i64);
    }
    serializer.serialize_f32(*number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeInfo {
        NodeInfo {
            server_id: "comet1".into(),
            host_domain: ".goim.io".into(),
            default_domain: "conn.goim.io".into(),
            addrs: vec!["203.0.113.7".into(), "203.0.113.8".into()],
            wss_port: 3103,
            ..NodeInfo::default()
        }
    }

    fn json(value: impl Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }

    /// The very bytes of goim §5.
    #[test]
    fn weighted_for_browsers_is_goims_answer() {
        let expected = concat!(
            r#"{"domain":"conn.goim.io","tcp_port":3101,"ws_port":3102,"wss_port":3103,"heartbeat":240,"#,
            r#""nodes":["comet1.goim.io"],"backoff":{"max_delay":300,"base_delay":3,"factor":1.8,"#,
            r#""jitter":0.3},"heartbeat_max":2}"#,
        );
        assert_eq!(json(node().weighted("web")), expected);
    }

    #[test]
    fn weighted_for_others_gives_addresses_and_falls_back_to_the_domain() {
        assert_eq!(node().weighted("android").nodes, ["203.0.113.7", "203.0.113.8"]);
        assert_eq!(NodeInfo { addrs: Vec::new(), ..node() }.weighted("").nodes, ["conn.goim.io"]);
        assert_eq!(NodeInfo { offline: true, ..node() }.weighted("web").nodes, ["conn.goim.io"]);
    }

    #[test]
    fn zero_and_empty_fields_are_left_out() {
        let backoff = Backoff { max_delay: 0, base_delay: 0, factor: 2.0, jitter: 0.0 };
        let node = NodeInfo {
            default_domain: String::new(),
            tcp_port: 0,
            ws_port: 0,
            wss_port: 0,
            heartbeat_s: 0,
            heartbeat_max: 0,
            backoff,
            ..node()
        };
        assert_eq!(json(node.weighted("web")), r#"{"nodes":["comet1.goim.io"],"backoff":{"factor":2}}"#);
    }

    #[test]
    fn instances_carry_the_metadata_that_logic_reads() {
        let node = NodeInfo {
            region: "sh".into(),
            zone: "sh001".into(),
            env: "dev".into(),
            version: "1".into(),
            grpc_addr: "grpc://127.0.0.1:3109".into(),
            weight: 10,
            started_ns: 5,
            ..node()
        };
        let instances = node.instances(Totals { connections: 3, addresses: 2 }).unwrap();
        let expected = concat!(
            r#"[{"region":"sh","zone":"sh001","env":"dev","appid":"goim.comet","hostname":"comet1","#,
            r#""addrs":["grpc://127.0.0.1:3109"],"version":"1","latest_timestamp":5,"#,
            r#""metadata":{"addrs":"203.0.113.7,203.0.113.8","conn_count":"3","ip_count":"2","#,
            r#""offline":"false","weight":"10"}}]"#,
        );
        assert_eq!(json(instances), expected);
        assert!(NodeInfo { offline: true, ..node }.instances(Totals::default()).is_none());
    }
}
