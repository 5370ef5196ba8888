//! The names of `/metrics`. Dashboards and alerts are written against them: names, helps, types, labels and their order
//! stand in `metrics.golden.txt`, and change only together with it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::*;

/// What the gateway shows, in order, without the values.
const GOLDEN: &str = include_str!("metrics.golden.txt");

/// Every family of a gateway that serves everything, TLS too, is the committed one, byte for byte but for its values.
#[test]
fn names_and_labels_are_the_committed_ones() {
    let (gateway, _client, folder) = crate::tls::start();
    // Routes have names once they were asked.
    assert_eq!(gateway.get("/no/such/route").status, 404);
    gateway.wait_metric("halley_http_requests_total", &[("route", "/metrics")], 1.0);
    let answer = gateway.get("/metrics");
    metrics::Metrics::parse(answer.text());
    let shown = without_values(answer.text())
        .replace(&folder.path().display().to_string(), "FOLDER")
        .replace(&format!("\"{}\"", env!("CARGO_PKG_VERSION")), "\"VERSION\"");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.golden.txt");
    std::fs::write(&file, &shown).expect("written");
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (GOLDEN.lines().collect(), shown.lines().collect());
    let gone: Vec<_> = old.difference(&new).collect();
    let came: Vec<_> = new.difference(&old).collect();
    assert!(gone.is_empty() && came.is_empty(), "gone: {gone:#?}\ncame: {came:#?}\nall: {}", file.display());
    assert_eq!(shown, GOLDEN, "the order differs");
}

/// What may be held, and what is held of each kind.
#[test]
fn connections_are_counted_by_what_they_speak() {
    let gateway = Gateway::with("max_connections = 50");
    assert_eq!(gateway.metrics().sum("halley_capacity_connections", &[]), 50.0);
    let clients = (TcpClient::connect(gateway.tcp()), WsClient::connect(gateway.ws()), WsClient::connect(gateway.ws()));
    let speaking = |transport| [("transport", transport)];
    let wait = |tcp, websocket| {
        gateway.wait_metric("halley_connections_by_transport", &speaking("tcp"), tcp);
        gateway.wait_metric("halley_connections_by_transport", &speaking("websocket"), websocket);
    };
    wait(1.0, 2.0);
    drop(clients);
    wait(0.0, 0.0);
}

/// Each answer is counted once, by its route and status, in the histogram too; made-up paths are one.
#[test]
fn requests_are_counted_by_route_and_status() {
    let gateway = Gateway::start();
    for (path, status) in [("/healthz", 200), ("/goim/push/all", 404), ("/a", 404), ("/b?c", 404)] {
        assert_eq!(gateway.get(path).status, status, "{path}");
    }
    let metrics = gateway.metrics();
    for (route, status, count) in [("/healthz", "200", 1.0), ("/goim/push/all", "404", 1.0), ("other", "404", 2.0)] {
        let labels = [("listener", "http"), ("route", route), ("status", status)];
        assert_eq!(metrics.sum("halley_http_requests_total", &labels), count, "{route}");
        assert_eq!(metrics.sum("halley_http_request_seconds_count", &labels[..2]), count, "{route}");
        assert_eq!(metrics.sum("halley_http_request_seconds_bucket", &[labels[1], ("le", "+Inf")]), count, "{route}");
    }
}

fn without_values(text: &str) -> String {
    let named = |line: &str| match line.rsplit_once(' ') {
        Some((sample, _)) if !line.starts_with('#') => format!("{sample}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(named).collect()
}
