//! Every setting: its name, type, default, bounds and meaning, once. Owns nothing else; the reference file, `--help`,
//! the environment variables and the errors are made of this list. Next step: `load` fills it, `check` looks at it as a
//! whole, `convert` makes run-time types of it.

#![allow(
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    reason = "the texts go to the reference file too, where [tls] names a section"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use halley_dispatcher::config::Kafka;
use halley_service::config::value::address::ListenAddress;
use halley_service::config::value::text::Secret;
use halley_service::log::LogFormat;
use halley_service::settings;

use super::origin::{HostName, Origin};
use super::words::{Auth, HttpRoutes, Insecure, WebSocketProfile};
use crate::feed::directory::LimitPolicy;
use crate::limits::SlowConsumer;

/// An address that only this machine reaches.
fn local(port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]
}

/// As whom we speak to a person.
pub const PROGRAM: &str = "halley-gateway";

settings! {
    /// Where the gateway listens and how big it is. An address is an IP address with a port: 127.0.0.1:3101,
    /// [::1]:3101; 0.0.0.0 means every IPv4 address, [::] every IPv6 and IPv4 address of this machine, and port 0 a
    /// free one.
    "" general: General {
        /// Clients that speak goim's frames over TCP.
        restart tcp_listen: Vec<SocketAddr> = local(3101);
        /// Clients that speak goim's frames in WebSocket messages, at the path /sub.
        restart ws_listen: Vec<SocketAddr> = local(3102);
        /// As tcp_listen, inside TLS; needs [tls].
        restart tls_listen: Vec<SocketAddr> = Vec::new();
        /// As ws_listen, inside TLS; needs [tls]. goim's port for it is 3103.
        restart wss_listen: Vec<SocketAddr> = Vec::new();
        /// Pushing over HTTP (/goim/push/..., /v1/push), counts, the demo page, and what admin_listen serves.
        restart http_listen: Vec<SocketAddr> = local(3111);
        /// What http_listen serves: "push" is pushing, "read" counts, metrics and traces, "admin" looking at
        /// connections and ending them, "demo" the demo page. /healthz, /readyz and /goim/nodes/weighted are always
        /// there.
        restart http_routes: Vec<HttpRoutes> =
            vec![HttpRoutes::Push, HttpRoutes::Read, HttpRoutes::Admin, HttpRoutes::Demo];
        /// gRPC: goim's Comet service, for jobs, and the Push service.
        restart grpc_listen: Vec<SocketAddr> = local(3109);
        /// The admin side alone: /metrics, /healthz, /readyz, /v1/connections, /v1/trace. An address, or unix:/path for
        /// a socket file that only this user may open; a relative path begins in the working directory.
        restart admin_listen: Vec<ListenAddress> = Vec::new();
        /// How logins are decided: "open" believes goim's unsigned JSON token, "jwt" checks a signed one, see [jwt].
        restart auth: Auth = Auth::Open;
        /// Bearer tokens that allow everything: looking at connections and ending them, and what the others below
        /// allow. Each has at least 16 characters, letters, digits and - . _ ~ + / =; several may be given, so that
        /// they can be rotated. As soon as any token is set here or below, every request over TCP that is not open to
        /// all shows one, from this machine too; a unix: socket of admin_listen needs none. Without any, what needs one
        /// is for this machine: requests from 127.0.0.1 or ::1 that bear no mark of a proxy. Tokens and files of them
        /// that a variable or a flag gives and that are empty are refused.
        live admin_token: Vec<Secret> = Vec::new();
        /// File with tokens that allow everything, one a line, no comments. Read again on SIGHUP, as the files below.
        live admin_token_file: PathBuf = PathBuf::new();
        /// Bearer tokens that allow pushing, over HTTP and with the Push service, and what read_token allows.
        live push_token: Vec<Secret> = Vec::new();
        /// File with more tokens that allow pushing, one a line.
        live push_token_file: PathBuf = PathBuf::new();
        /// Bearer tokens that allow reading: counts (/goim/online/..., /v1/online, /goim/nodes/instances), metrics,
        /// traces.
        live read_token: Vec<Secret> = Vec::new();
        /// File with more tokens that allow reading, one a line.
        live read_token_file: PathBuf = PathBuf::new();
        /// Bearer tokens that goim's Comet service asks for, in the metadata "authorization". Jobs of goim send none:
        /// without one here whoever reaches grpc_listen may push through it, so keep that on loopback or in a private
        /// network.
        live comet_token: Vec<Secret> = Vec::new();
        /// File with more tokens that allow jobs to use goim's Comet service, one a line.
        live comet_token_file: PathBuf = PathBuf::new();
        /// Dangers that you accept, by name: "open_auth" lets other machines reach clients' listeners without signed
        /// tokens, "open_ingress" lets them push without a token, "plain_grpc" lets them reach gRPC, which has no TLS,
        /// "plain_http" lets tokens come over HTTP, which has none either.
        restart insecure: Vec<Insecure> = Vec::new();
        /// Threads that serve clients, each with a ring of its own. 0 = one for every CPU this process may use.
        restart shards: u32 = 0, in 0..=256;
        /// Keep each of these threads on a CPU of its own. Without effect where a CPU quota limits the process.
        restart pin_shards: bool = true;
        /// Client connections at once, all shards together. 0 = as many as the limit on open files allows, which counts
        /// per shard, and at most 1,000,000.
        restart max_connections: u32 = 0, in 0..=16_000_000;
        /// How strictly WebSocket clients are read: "goim" takes unmasked frames, does not look for UTF-8 in text and
        /// upgrades HTTP/1.0, requests without Host and keys of any form, as goim's clients may need it; "strict"
        /// follows RFC 6455.
        live websocket_profile: WebSocketProfile = WebSocketProfile::Goim;
        /// Values of the Origin header from which browsers may connect, as browsers write them: scheme and host, the
        /// port if it is not the scheme's own, and no more, such as "https://app.example.org"; apps send their own,
        /// such as "capacitor://localhost", and pages without an origin "null". No wildcard is known. Empty = all.
        live origins: Vec<Origin> = Vec::new();
        /// How long SIGTERM takes to send clients away, spread evenly, in seconds. 0 = at once. Until the process exits
        /// it is as a rule up to 5 s more, up to 30 s more if the bus is full or a shard is stuck: leave a service
        /// manager room for it.
        live drain_seconds: u32 = 10, in 0..=3600;
        /// File that gets the bound addresses as JSON once every listener accepts, for its owner to read (mode 0600),
        /// and that goes away with the process. It is locked (flock) as long as a gateway serves by it. A file that is
        /// there and that no gateway has written is left alone, and nothing starts. Empty = none.
        restart ready_file: PathBuf = PathBuf::new();
    }

    /// Bounds on clients. Rates are token buckets: so many a second on average, so many at once; 0 a second = no limit.
    "limits" limits: Limits {
        /// Connections of one key at once.
        live max_connections_per_key: u32 = 1, in 1..=1024;
        /// Which one goes when a key has too many: "close_oldest" or "reject_new".
        live when_key_full: LimitPolicy = LimitPolicy::CloseOldest;
        /// Connections of one user (mid) at once. 0 = no limit.
        live max_connections_per_mid: u32 = 0, in 0..=65_536;
        /// Which one goes when a user has too many: "close_oldest" or "reject_new".
        live when_mid_full: LimitPolicy = LimitPolicy::CloseOldest;
        /// Connections of one source address (IPv4 address or IPv6 /64) at once. 0 = no limit: many phones may share
        /// one address.
        live max_connections_per_address: u32 = 0, in 0..=16_000_000;
        /// Connections of one shard that have not logged in yet. Beyond it one of the 64 oldest ends: the oldest that
        /// has not said a word, or else the oldest.
        live max_pending_handshakes: u32 = 16_384, in 1..=16_000_000;
        /// Time for TLS, upgrade and login together, in milliseconds.
        live handshake_timeout_ms: u64 = 8_000, in 250..=600_000;
        /// Bytes of one WebSocket upgrade request, headers included.
        live upgrade_bytes_max: u32 = 8 * 1024, in 512..=65_536;
        /// Bytes of one WebSocket message from a client. A goim frame has at most 4112.
        live message_bytes_max: u32 = 8 * 1024, in 4112..=1_048_576;
        /// Connections that one shard accepts a second.
        live accepts_per_second: u32 = 0;
        /// As above, at once.
        live accepts_burst: u32 = 1_000, in 1..=16_000_000;
        /// Frames a second from one client after its login.
        live frames_per_second: u32 = 500;
        /// As above, at once.
        live frames_burst: u32 = 2_000, in 1..=1_000_000_000;
        /// Bytes a second from one client after its login.
        live bytes_per_second: u32 = 1024 * 1024;
        /// As above, at once.
        live bytes_burst: u32 = 8 * 1024 * 1024, in 8_192..=1_000_000_000;
        /// Room changes a second of one client.
        live room_changes_per_second: u32 = 50;
        /// As above, at once.
        live room_changes_burst: u32 = 500, in 1..=1_000_000_000;
    }

    /// What waits for clients that read slowly.
    "queues" queues: Queues {
        /// Bytes of pushes that may wait for one connection.
        live queue_bytes_max: u32 = 64 * 1024, in 1_024..=1_073_741_824;
        /// Bytes of pushes that may wait in one shard, all its connections together.
        live shard_queue_bytes_max: u64 = 256 * 1024 * 1024, in 65_536..=1_099_511_627_776;
        /// What happens beyond either: "drop_newest" drops the new push, as goim does, "drop_oldest" makes room for it,
        /// "close" ends the connection.
        live slow_consumer: SlowConsumer = SlowConsumer::DropNewest;
    }

    /// Options of clients' sockets.
    "sockets" sockets: Sockets {
        /// Connections that may wait to be accepted, per listener and shard. The kernel cuts it to net.core.somaxconn.
        restart backlog: u32 = 4096, in 1..=65_535;
        /// Send small messages at once (TCP_NODELAY).
        restart nodelay: bool = true;
        /// Probe silent connections after this many seconds (SO_KEEPALIVE). 0 = never; heartbeats find dead clients
        /// too.
        restart keepalive_seconds: u32 = 0, in 0..=32_767;
        /// Seconds between probes.
        restart keepalive_interval_seconds: u32 = 15, in 1..=32_767;
        /// Probes without answer after which a connection is dead.
        restart keepalive_probes: u32 = 4, in 1..=127;
        /// Milliseconds that sent data may stay unacknowledged before the connection is dead (TCP_USER_TIMEOUT).
        /// 0 = the kernel's rule.
        restart user_timeout_ms: u32 = 0, in 0..=3_600_000;
        /// Bytes of the socket's send buffer (SO_SNDBUF; the kernel doubles it). 0 = the kernel's tuning.
        restart send_buffer_bytes: u32 = 0, in 0..=67_108_864;
        /// Bytes of the socket's receive buffer (SO_RCVBUF; the kernel doubles it). 0 = the kernel's tuning.
        restart receive_buffer_bytes: u32 = 0, in 0..=67_108_864;
        /// IPv6 listeners do not take IPv4 connections (IPV6_V6ONLY).
        restart ipv6_only: bool = false;
    }

    /// Signed tokens, for auth = "jwt": HS256 with a secret; RS256, ES256, EdDSA with public keys. A claim name that
    /// begins with / is a path into nested claims: "/user/id". A token in which such a path leads through something
    /// else than an object is refused, and so is one whose rooms, ops, aud, iss, exp or nbf is null.
    "jwt" jwt: Jwt {
        /// The secret of HS256, at least 32 bytes. What is public is none: a public key, a certificate or a JWKS
        /// document, here or in secret_file, is refused.
        live secret: Secret = Secret::default();
        /// File with the secret of HS256. Empty = none.
        live secret_file: PathBuf = PathBuf::new();
        /// Files with public keys, PEM or JWKS. They are read again on SIGHUP. Keys of a JWKS that cannot be used are
        /// left out, which is said; one that is too weak (RSA below 2048 bits, a secret below 32 bytes, a public key
        /// with its private part) refuses the whole file.
        live key_files: Vec<PathBuf> = Vec::new();
        /// Accepted values of iss. Empty = it is not looked at.
        live issuers: Vec<String> = Vec::new();
        /// Accepted values of aud, "*" for any. Empty = tokens that have an aud are refused.
        live audiences: Vec<String> = Vec::new();
        /// How far clocks may differ, in seconds.
        live leeway_seconds: u64 = 30, in 0..=3_600;
        /// Claims that must be there. Without "exp" in it, tokens without end are let in.
        live required: Vec<String> = vec!["exp".to_owned()];
        /// Claim with the user (mid), a whole number. Absent = 0, nobody: pushes to users do not reach the connection.
        /// Name it in required to refuse such tokens.
        live claim_mid: String = "mid".to_owned();
        /// Claim with the connection key. Absent = a key is made.
        live claim_key: String = "key".to_owned();
        /// Claim with the room to join at login. It must be among those that claim_rooms allows, or the login is
        /// refused.
        live claim_room: String = "room_id".to_owned();
        /// Claim with the operations wanted at login. They must be among those that claim_ops allows, or the login is
        /// refused.
        live claim_accepts: String = "accepts".to_owned();
        /// Claim with patterns of the rooms that may be joined, at login and later. Absent = every room; null is
        /// refused.
        live claim_rooms: String = "rooms".to_owned();
        /// Claim with the operations that may be wanted, at login and later. Absent = every one; null is refused.
        live claim_ops: String = "ops".to_owned();
    }

    /// Certificates for tls_listen and wss_listen. Several serve several host names (SNI).
    "tls" tls: Tls {
        /// PEM files with a certificate and its chain each.
        live certificate_files: Vec<PathBuf> = Vec::new();
        /// PEM files with their private keys, in the same order.
        live key_files: Vec<PathBuf> = Vec::new();
    }

    /// What clients and other servers are told about this node, as in goim.
    "node" node: Node {
        /// Name of this node, unique among all. Empty = the host name.
        restart server_id: String = String::new();
        /// Region it stands in.
        restart region: String = "sh".to_owned();
        /// Zone it stands in.
        restart zone: String = "sh001".to_owned();
        /// Deployment environment.
        restart env: String = "dev".to_owned();
        /// Share of new clients it should get.
        restart weight: u32 = 10, in 1..=1_000_000;
        /// Keep new clients away.
        restart offline: bool = false;
        /// Public addresses of this node, given to clients that are not browsers.
        restart addrs: Vec<String> = Vec::new();
        /// gRPC address that other servers are told, host:port. Empty = the first of grpc_listen.
        restart grpc_addr: String = String::new();
        /// Name that clients are told when no node fits.
        restart default_domain: String = String::new();
        /// What is appended to server_id for browsers: ".example.org".
        restart host_domain: String = String::new();
        /// TCP port that clients are told. 0 = that of the first tcp_listen.
        restart tcp_port: u16 = 0;
        /// WebSocket port that clients are told. 0 = that of the first ws_listen.
        restart ws_port: u16 = 0;
        /// WebSocket port with TLS that clients are told. 0 = that of the first wss_listen.
        restart wss_port: u16 = 0;
        /// How often clients send a heartbeat, in seconds.
        live heartbeat_seconds: u32 = 240, in 1..=86_400;
        /// Heartbeat periods after which a silent client is gone.
        live heartbeat_max: u32 = 2, in 1..=100;
        /// Longest wait of clients before they reconnect, in seconds. This and the next three are only passed on to
        /// clients.
        restart backoff_max_seconds: u32 = 300;
        /// Their first wait, in seconds.
        restart backoff_base_seconds: u32 = 3;
        /// Growth of the wait from try to try.
        restart backoff_factor: f32 = 1.8, in 0.0..=1000.0;
        /// Share of the wait that is random.
        restart backoff_jitter: f32 = 0.3, in 0.0..=1.0;
    }

    /// Taking pushes.
    "ingress" ingress: Ingress {
        /// Bytes of one message.
        restart body_bytes_max: u32 = 1_000_000, in 1..=16_777_216;
        /// Keys or users that one push may name.
        restart recipients_max: u32 = 10_000, in 1..=1_000_000;
        /// Keys that one call of goim's Comet service may name. A job of goim puts all keys of a push into one.
        restart push_keys_max: u32 = 250_000, in 1_000..=4_000_000;
        /// Bytes that requests may hold in memory at once, over HTTP and gRPC: bodies as they arrive, headers beyond 16
        /// KiB, long answers until they are read. One address holds half of it at most, and so do headers and answers
        /// together.
        restart bodies_bytes_max: u64 = 64 * 1024 * 1024, in 65_536..=1_099_511_627_776;
        /// Connections to each of http_listen at once. Idle ones make room for new ones, longest idle first.
        restart http_connections_max: u32 = 4_096, in 16..=1_000_000;
        /// Of them, those of one address (IPv4 address or IPv6 /64). 0 = half.
        restart http_connections_per_address: u32 = 0, in 0..=1_000_000;
        /// Connections to each of grpc_listen at once; half of them from one address at most.
        restart grpc_connections_max: u32 = 1_024, in 16..=1_000_000;
        /// Host names, without port, by which programs on this machine may ask without a token: the demo page under
        /// another name than an IP address or localhost, for one. Behind a proxy set tokens instead: everybody comes by
        /// that name.
        live page_hosts: Vec<HostName> = Vec::new();
        /// Pushes that may wait on the embedded bus. Beyond it callers are told to come back later.
        restart bus_records_max: u32 = 65_536, in 1..=16_777_216;
        /// Bytes that may wait on the embedded bus; at least body_bytes_max and 4096.
        restart bus_bytes_max: u64 = 64 * 1024 * 1024, in 65_536..=1_099_511_627_776;
    }

    /// What the gateway writes about itself, to standard error.
    "log" log: Log {
        /// "error", "warn", "info", "debug" or "trace", also per part: "info,halley_gateway::control=debug".
        live level: String = "info".to_owned();
        /// "text" for people, "json" for programs.
        restart format: LogFormat = LogFormat::Text;
    }

    shared kafka: Kafka;
}

/// What stands before the first section of the reference file.
pub const REFERENCE_HEAD: &str = "\
# Halley gateway: every setting with its default. Remove the # before a setting to change it.
#
# Settings come from four places, later ones win:
#   1. the defaults below
#   2. a file like this one: --config FILE, or HALLEY_CONFIG=FILE, or halley.toml in the working directory
#   3. environment variables: HALLEY_ and the name in capitals, a section before two underscores:
#      HALLEY_TCP_LISTEN=127.0.0.1:3101  HALLEY_NODE__REGION=sh  (lists separated by commas)
#   4. flags: --tcp-listen 127.0.0.1:3101 for settings before the first section, --set node.region=sh for any
#
# Bytes and times also take a unit, in quotes: \"64KiB\", \"10s\".
#
# `halley-gateway check-config` says everything that is wrong with a configuration, and what else should be known of it.
# Settings marked (reload) change on SIGHUP.
";
