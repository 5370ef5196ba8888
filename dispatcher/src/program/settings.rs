//! Every setting of the program: its name, type, default, bounds and meaning, once. Owns nothing else; the reference
//! file, `--help`, the environment variables and the errors are made of this list. What they mean together is in
//! `check`. The settings of Kafka are those of every program of ours.

#![allow(
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    reason = "the texts go to the reference file too, where [kafka] names a section"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use halley_service::config::value::address::ListenAddress;
use halley_service::config::value::text::Secret;
use halley_service::log::LogFormat;
use halley_service::{settings, words};

use crate::config::Kafka;

/// An address that only this machine reaches.
fn local(port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]
}

/// A danger that must be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insecure {
    /// Anybody who reaches the HTTP listener may push.
    OpenIngress,
    /// gRPC without TLS outside this machine.
    PlainGrpc,
    /// Tokens over HTTP without TLS outside this machine.
    PlainHttp,
}

words! {
    Insecure { OpenIngress = "open_ingress", PlainGrpc = "plain_grpc", PlainHttp = "plain_http" }
}

settings! {
    /// Where the dispatcher listens and who may push. An address is an IP address with a port: 127.0.0.1:3111,
    /// [::1]:3111; 0.0.0.0 means every IPv4 address, [::] every IPv6 and IPv4 address of this machine, and port 0 a
    /// free one.
    "" general: General {
        /// Pushing over HTTP: /goim/push/..., /v1/push; and what admin_listen serves.
        restart http_listen: Vec<SocketAddr> = local(3111);
        /// Pushing over gRPC: halley.push.v1.Push.
        restart grpc_listen: Vec<SocketAddr> = local(3119);
        /// The admin side alone: /metrics, /healthz, /readyz. An address, or unix:/path for a socket file that only
        /// this user may open; a relative path begins in the working directory.
        restart admin_listen: Vec<ListenAddress> = Vec::new();
        /// Bearer tokens that allow pushing, and what read_token allows. Each has at least 16 characters, letters,
        /// digits and - . _ ~ + / =; several may be given, so that they can be rotated. As soon as any token is set
        /// here or below, every request over TCP shows one, from this machine too; a unix: socket of admin_listen needs
        /// none. Without any, what needs one is for this machine: requests from 127.0.0.1 or ::1 that bear no mark of a
        /// proxy. Tokens and files of them that a variable or a flag gives and that are empty are refused.
        live push_token: Vec<Secret> = Vec::new();
        /// File with more tokens that allow pushing, one a line, no comments. Read again on SIGHUP, as the one below.
        live push_token_file: PathBuf = PathBuf::new();
        /// Bearer tokens that allow reading metrics.
        live read_token: Vec<Secret> = Vec::new();
        /// File with more tokens that allow reading, one a line.
        live read_token_file: PathBuf = PathBuf::new();
        /// Dangers that you accept, by name: "open_ingress" lets other machines push without a token, "plain_grpc" lets
        /// them reach gRPC, which has no TLS, "plain_http" lets tokens come over HTTP, which has none either.
        restart insecure: Vec<Insecure> = Vec::new();
    }

    /// Taking pushes. Every gateway of the cluster takes records as long as these bounds allow: give all the same.
    "ingress" ingress: Ingress {
        /// Bytes of one message.
        restart body_bytes_max: u32 = 1_000_000, in 1..=16_777_216;
        /// Keys or users that one push may name.
        restart recipients_max: u32 = 10_000, in 1..=1_000_000;
        /// Bytes that requests may hold in memory at once, over HTTP and gRPC: bodies as they arrive, headers beyond 16
        /// KiB. One address holds half of it at most, and so do headers and answers together.
        restart bodies_bytes_max: u64 = 64 * 1024 * 1024, in 65_536..=1_099_511_627_776;
        /// Connections to each of http_listen at once. Idle ones make room for new ones, longest idle first.
        restart http_connections_max: u32 = 4_096, in 16..=1_000_000;
        /// Of them, those of one address (IPv4 address or IPv6 /64). 0 = half.
        restart http_connections_per_address: u32 = 0, in 0..=1_000_000;
        /// Connections to each of grpc_listen at once; half of them from one address at most.
        restart grpc_connections_max: u32 = 1_024, in 16..=1_000_000;
        /// Pushes that may wait for the brokers. Beyond it callers are told to come back later.
        restart bus_records_max: u32 = 65_536, in 1..=16_777_216;
        /// Bytes that may wait for the brokers; at least body_bytes_max and 4096.
        restart bus_bytes_max: u64 = 64 * 1024 * 1024, in 65_536..=1_099_511_627_776;
    }

    /// What the dispatcher writes about itself, to standard error.
    "log" log: Log {
        /// "error", "warn", "info", "debug" or "trace", also per part: "info,halley_dispatcher::bus=debug".
        live level: String = "info".to_owned();
        /// "text" for people, "json" for programs.
        restart format: LogFormat = LogFormat::Text;
    }

    shared kafka: Kafka;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `halley-dispatcher default-config > dispatcher/halley-dispatcher.reference.toml` makes it anew.
    #[test]
    fn the_reference_file_is_that_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/halley-dispatcher.reference.toml");
        let committed = std::fs::read_to_string(path).expect("the reference file is there");
        assert_eq!(committed, halley_service::config::reference::reference::<Config>());
    }
}
