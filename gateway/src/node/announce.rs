//! Telling people that the gateway serves: the start lines on standard output. Owns their form; addresses come from
//! `listeners`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;

use halley_service::plain::Plain;

use crate::config::{Config, check};
use crate::placement::Placement;
use crate::standalone;

use super::listeners::Addresses;

/// Print the start lines. A reader that left is no failure.
pub(super) fn greet(config: &Config, origin: &str, placement: &Placement, addresses: &Addresses, notes: &[String]) {
    let mut output = std::io::stdout();
    let mut text = greeting(config, origin, placement, addresses);
    notes.iter().for_each(|note| item(&mut text, "note", format_args!("{note}")));
    let _ = output.write_all(text.as_bytes());
    let _ = output.flush();
}

fn greeting(config: &Config, origin: &str, placement: &Placement, addresses: &Addresses) -> String {
    let mut text = String::new();
    let connections: u64 = placement.shards.iter().map(|place| u64::from(place.capacity)).sum();
    let pinned = placement.shards.iter().all(|place| place.cpu.is_some());
    let shards = placement.shards.len();
    line(&mut text, format_args!("halley-gateway {} is ready", env!("CARGO_PKG_VERSION")));
    let many = if shards == 1 { "shard" } else { "shards" };
    let pinning = if pinned { "pinned" } else { "not pinned" };
    item(&mut text, "size", format_args!("{shards} {many}, {pinning}; up to {connections} connections"));
    item(&mut text, "settings", format_args!("{origin}; auth {}", config.general.auth.word()));
    item(&mut text, "log", format_args!("{}", config.kafka.describe()));
    let node = &config.node;
    let about = format_args!(
        "{} (region {}, zone {}, env {})",
        standalone::server_id(config),
        node.region,
        node.zone,
        node.env
    );
    item(&mut text, "node", about);
    let lists = [
        ("tcp", &addresses.tcp),
        ("ws", &addresses.ws),
        ("tls", &addresses.tls),
        ("wss", &addresses.wss),
        ("http", &addresses.http),
        ("grpc", &addresses.grpc),
    ];
    for (name, list) in lists {
        if !list.is_empty() {
            item(&mut text, name, format_args!("{}", join(list)));
        }
    }
    if !addresses.admin.is_empty() {
        item(&mut text, "admin", format_args!("{}", addresses.admin.join(" ")));
    }
    if let Some(http) = addresses.http.first() {
        item(&mut text, "demo", format_args!("http://{}/", reachable(*http)));
    }
    for danger in check::dangers(config) {
        item(&mut text, "INSECURE", format_args!("{} (insecure = {:?})", danger.meaning, danger.name.word()));
    }
    for note in &placement.notes {
        item(&mut text, "note", format_args!("{note}"));
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string");
}

fn item(text: &mut String, name: &str, value: std::fmt::Arguments<'_>) {
    writeln!(text, "  {name:<9}{}", Plain(value)).expect("writing to a string");
}

fn join(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ")
}

/// An address that a browser on this machine can open.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port())),
        other => other,
    }
}
