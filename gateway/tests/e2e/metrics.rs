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

fn without_values(text: &str) -> String {
    let named = |line: &str| match line.rsplit_once(' ') {
        Some((sample, _)) if !line.starts_with('#') => format!("{sample}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(named).collect()
}
