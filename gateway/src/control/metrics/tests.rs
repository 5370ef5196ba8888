//! The exposition is read back by a parser that takes nothing but the text format's grammar.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use halley_service::metrics::Metrics;
use halley_service::metrics::histogram::Buckets;

use super::control::Control;
use super::shards::Shards;
use crate::control::stats::{ControlCounts, ControlStats};
use crate::shard::stats::{AUTH_REFUSALS, CLOSE_REASONS, Counts, ShardStats};

/// One family as Prometheus would see it.
#[derive(Debug, Default)]
struct Parsed {
    kind: String,
    samples: Vec<(Vec<(String, String)>, String)>,
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// `name="text",…` up to the closing brace, and what follows it.
fn parse_labels(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut labels = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label");
        assert!(is_name(name), "{name:?}");
        let (mut text, mut letters) = (String::new(), after.char_indices());
        let end = loop {
            match letters.next().expect("a closing quote") {
                (at, '"') => break at,
                (_, '\\') => match letters.next().expect("an escaped letter").1 {
                    'n' => text.push('\n'),
                    escaped @ ('\\' | '"') => text.push(escaped),
                    other => panic!("escaped {other:?}"),
                },
                (_, letter) => text.push(letter),
            }
        };
        labels.push((name.to_owned(), text));
        rest = &after[end + 1..];
        match rest.split_at(1) {
            (",", after) => rest = after,
            ("}", after) => return (labels, after),
            (other, _) => panic!("{other:?} after a label"),
        }
    }
}

fn parse(text: &str) -> HashMap<String, Parsed> {
    assert!(text.ends_with('\n') && !text.contains("\n\n"));
    let mut families: HashMap<String, Parsed> = HashMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, sentence) = help.split_once(' ').expect("a sentence");
            assert!(is_name(name) && !sentence.is_empty(), "{line}");
            assert!(families.insert(name.to_owned(), Parsed::default()).is_none(), "{name} twice");
            current = name.to_owned();
            continue;
        }
        let family = families.get_mut(&current).expect("HELP comes first");
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a kind");
            assert!(name == current && family.kind.is_empty() && family.samples.is_empty(), "{line}");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{kind}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            family.kind = kind.to_owned();
            continue;
        }
        assert!(!family.kind.is_empty(), "TYPE comes before {line}");
        let mut rest = line.strip_prefix(&current).expect("samples of the family only");
        if family.kind == "histogram" {
            let parts = ["_bucket", "_sum", "_count"];
            let part = parts.iter().find(|part| rest.starts_with(**part)).expect("a part of a histogram");
            rest = &rest[part.len()..];
            // Their values are not looked at here, and the sum and the count have the same labels.
            if *part != "_bucket" {
                continue;
            }
        }
        let (labels, value) = match rest.strip_prefix('{') {
            Some(labels) => parse_labels(labels),
            None => (Vec::new(), rest),
        };
        let value = value.strip_prefix(' ').expect("a blank before the value");
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        family.samples.push((labels, value.to_owned()));
    }
    for (name, family) in &families {
        let distinct: HashSet<_> = family.samples.iter().map(|(labels, _)| labels).collect();
        assert_eq!(distinct.len(), family.samples.len(), "{name} has two samples with the same labels");
    }
    families
}

/// Every counter with a value of its own. A counter that is added does not compile here until it is listed.
fn distinct_counts() -> Counts {
    let mut next = 1_000_000;
    let mut value = || {
        next += 1;
        next
    };
    Counts {
        capacity: value(),
        connections: value(),
        authenticated: value(),
        pending_handshakes: value(),
        rooms: value(),
        queued_bytes: value(),
        partial_bytes: value(),
        tls_buffered_bytes: value(),
        reports_waiting: value(),
        slots_used: value(),
        accepted: value(),
        accept_errors: value(),
        logins: value(),
        broadcasts_paced: value(),
        sheds_waiting: value(),
        pushes_timeless: value(),
        latency_conns: Buckets::default(),
        latency_rooms: Buckets::default(),
        latency_all: Buckets::default(),
        broadcasts_hurried: value(),
        frames_in: value(),
        bytes_in: value(),
        deliveries: value(),
        replies: value(),
        sends: value(),
        bytes_out: value(),
        sends_short: value(),
        drops_queue_full: value(),
        drops_oldest: value(),
        drops_shard_full: value(),
        drops_closed: value(),
        denied_rooms: value(),
        denied_ops: value(),
        upstream: value(),
        heartbeats: value(),
        traces_lost: value(),
        turns: value(),
        turn_ns: value(),
        turn_ns_max: value(),
        ring_enters: value(),
        ring_submissions: value(),
        ring_overflows: value(),
        ring_no_buffers: value(),
        inbox_depth: value(),
        news_deferred: value(),
        closes: std::array::from_fn(|_| value()),
        refusals: std::array::from_fn(|_| value()),
        transports: std::array::from_fn(|_| value()),
    }
}

#[test]
fn every_counter_of_every_shard_is_shown_once() {
    let stats: Vec<Arc<ShardStats>> = (0..2).map(|_| Arc::default()).collect();
    let counts = distinct_counts();
    stats[1].publish(&counts);
    let families = parse(&Metrics::default().with(Shards(stats)).text());
    // What the histograms say is `simulation::latency`'s.
    let shown: Vec<&str> = families
        .iter()
        .filter(|(name, _)| !name.starts_with("halley_push_latency"))
        .flat_map(|(_, family)| &family.samples)
        .filter(|(labels, _)| labels.iter().any(|(name, text)| name == "shard" && text == "1"))
        .map(|(_, value)| value.as_str())
        .collect();
    // The counters have the values that follow 1,000,000, each shown as it is but for the two times.
    let expected = (1_000_001..).take(shown.len());
    assert_eq!(counts.transports.last(), expected.clone().last().as_ref());
    for value in expected.filter(|value| ![counts.turn_ns, counts.turn_ns_max].contains(value)) {
        assert_eq!(shown.iter().filter(|&&text| text == value.to_string()).count(), 1, "{value}");
    }
    assert!(shown.contains(&format!("0.{:09}", counts.turn_ns).as_str()));
    assert!(shown.contains(&format!("0.{:09}", counts.turn_ns_max).as_str()));
}

#[test]
fn labels_name_reasons_and_causes() {
    let families = parse(&Metrics::default().with(Shards(vec![Arc::default()])).text());
    let texts = |family: &str, label: &str| -> HashSet<String> {
        let labels = families[family].samples.iter().flat_map(|(labels, _)| labels.clone());
        labels.filter(|(name, _)| name == label).map(|(_, text)| text).collect()
    };
    assert_eq!(texts("halley_closes_total", "reason").len(), CLOSE_REASONS);
    assert_eq!(texts("halley_auth_refusals_total", "cause").len(), AUTH_REFUSALS);
    assert!(texts("halley_drops_total", "cause").contains("queue_full"));
}

#[test]
fn every_counter_of_the_control_loop_is_shown_once() {
    let counts = ControlCounts {
        logins_waiting: 1_000_001,
        outbox_messages: 1_000_002,
        questions: 1_000_003,
        traced: 1_000_004,
        logins_decided: 1_000_005,
        logins_unavailable: 1_000_006,
        commands: 1_000_007,
        commands_refused: 1_000_008,
        trace_events: 1_000_009,
        trace_events_lost: 1_000_010,
    };
    let stats: Arc<ControlStats> = Arc::default();
    stats.publish(&counts);
    let families = parse(&Metrics::default().with(Control(stats)).text());
    let shown = |value: u64| {
        let values = families.values().flat_map(|family| &family.samples).map(|(_, value)| value);
        values.filter(|&text| *text == value.to_string()).count()
    };
    assert!((1_000_001..=1_000_010).all(|value| shown(value) == 1));
}
