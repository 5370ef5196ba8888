//! What Prometheus reads (text exposition format 0.0.4). Owns the writer and the names of the gateway's metrics; counts
//! nothing itself: shards publish their counters, other parts hand in a [`Collect`]. Served by `admin`.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::conn::close::CloseReason;
use crate::session::AuthRefusal;
use crate::shard::stats::{Counts, ShardStats};

/// `Content-Type` of the exposition.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a metric only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// Something that has metrics.
pub trait Collect: Send + Sync + 'static {
    /// Write all of them, each family once.
    fn collect(&self, out: &mut Exposition);
}

/// The text under construction. One family after another; no family twice.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    #[cfg(debug_assertions)]
    families: std::collections::HashSet<&'static str>,
}

/// One family, to which samples are added.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Begin a family. The name is one of ours (`[a-z_]`), `help` a sentence.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        debug_assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        #[cfg(debug_assertions)]
        debug_assert!(self.families.insert(name), "{name} is written twice");
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { text: &mut self.text, name }
    }

    /// The finished text.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Add a sample. No two samples of a family have the same labels.
    pub fn sample(&mut self, labels: &[(&str, &dyn fmt::Display)], value: impl fmt::Display) -> &mut Self {
        self.text.push_str(self.name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let open = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{label}=\"{text}\"");
        }
        self.text.push_str(if labels.is_empty() { " " } else { "} " });
        let _ = writeln!(self.text, "{value}");
        self
    }
}

/// Everything that `/metrics` shows.
pub struct Metrics {
    sources: Vec<Box<dyn Collect>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("sources", &self.sources.len()).finish()
    }
}

impl Metrics {
    /// The process and these shards, by index.
    pub fn new(shards: Vec<Arc<ShardStats>>) -> Metrics {
        Metrics { sources: vec![Box::new(Process { started: SystemTime::now() }), Box::new(Shards(shards))] }
    }

    /// Show the metrics of one more part, after those before.
    pub fn with(mut self, source: impl Collect) -> Metrics {
        self.sources.push(Box::new(source));
        self
    }

    /// The text of now.
    pub fn text(&self) -> String {
        let mut out = Exposition::default();
        self.sources.iter().for_each(|source| source.collect(&mut out));
        out.into_text()
    }
}

/// What is true of the process as a whole.
struct Process {
    started: SystemTime,
}

impl Collect for Process {
    fn collect(&self, out: &mut Exposition) {
        let version = env!("CARGO_PKG_VERSION");
        out.family("halley_build_info", Kind::Gauge, "Always 1; the build is in the labels.")
            .sample(&[("version", &version)], 1);
        let started_s = self.started.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        out.family("process_start_time_seconds", Kind::Gauge, "When the process started, since the Unix epoch.")
            .sample(&[], started_s);
        if let Some(bytes) = resident_bytes() {
            out.family("process_resident_memory_bytes", Kind::Gauge, "Resident memory of the process.")
                .sample(&[], bytes);
        }
    }
}

/// Resident memory, as the kernel tells it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// The counters of every shard, by index.
struct Shards(Vec<Arc<ShardStats>>);

/// One counter of a shard as a metric of its own.
type Plain = (&'static str, Kind, &'static str, fn(&Counts) -> u64);

/// Counters that need no label beside `shard`.
const PLAIN: &[Plain] = &[
    ("halley_connections", Kind::Gauge, "Connections, whatever their state.", |c| c.connections),
    ("halley_connections_authenticated", Kind::Gauge, "Connections that logged in.", |c| c.authenticated),
    ("halley_handshakes_pending", Kind::Gauge, "Connections not logged in yet.", |c| c.pending_handshakes),
    ("halley_rooms", Kind::Gauge, "Rooms with members in the shard.", |c| c.rooms),
    ("halley_queued_bytes", Kind::Gauge, "Bytes waiting in all send queues.", |c| c.queued_bytes),
    ("halley_partial_bytes", Kind::Gauge, "Bytes of partly received frames and messages.", |c| c.partial_bytes),
    ("halley_slots_used", Kind::Gauge, "Direct descriptors in use.", |c| c.slots_used),
    ("halley_inbox_depth", Kind::Gauge, "Messages from feed waiting at the last look.", |c| c.inbox_depth),
    ("halley_accepted_total", Kind::Counter, "Accepted connections.", |c| c.accepted),
    ("halley_accept_errors_total", Kind::Counter, "Accepts that ended with an error.", |c| c.accept_errors),
    ("halley_logins_total", Kind::Counter, "Logins.", |c| c.logins),
    ("halley_frames_received_total", Kind::Counter, "Frames received from clients.", |c| c.frames_in),
    ("halley_received_bytes_total", Kind::Counter, "Bytes received from clients.", |c| c.bytes_in),
    ("halley_deliveries_total", Kind::Counter, "Pushes put in a connection's queue.", |c| c.deliveries),
    ("halley_replies_total", Kind::Counter, "Replies put in a connection's queue.", |c| c.replies),
    ("halley_sends_total", Kind::Counter, "Sends started.", |c| c.sends),
    ("halley_sent_bytes_total", Kind::Counter, "Bytes handed to the kernel.", |c| c.bytes_out),
    ("halley_sends_short_total", Kind::Counter, "Sends taken only in part, or not at all.", |c| c.sends_short),
    ("halley_upstream_total", Kind::Counter, "Upstream messages answered.", |c| c.upstream),
    ("halley_heartbeats_total", Kind::Counter, "Heartbeats answered.", |c| c.heartbeats),
    ("halley_traces_lost_total", Kind::Counter, "Trace events lost because control was behind.", |c| c.traces_lost),
    ("halley_turns_total", Kind::Counter, "Turns of the shard's loop.", |c| c.turns),
    ("halley_ring_enters_total", Kind::Counter, "Calls of io_uring_enter.", |c| c.ring_enters),
    ("halley_ring_submissions_total", Kind::Counter, "Submission queue entries.", |c| c.ring_submissions),
    ("halley_ring_overflows_total", Kind::Counter, "Completions through the overflow list.", |c| c.ring_overflows),
    ("halley_ring_no_buffers_total", Kind::Counter, "Receives that found no buffer.", |c| c.ring_no_buffers),
    ("halley_news_deferred_total", Kind::Counter, "News for feed kept because its ring was full.", |c| c.news_deferred),
];

/// One counter of a family that is split by a label: the label's text and the count.
type Part = (&'static str, fn(&Counts) -> u64);

/// Drops by cause.
const DROPS: &[Part] = &[
    ("queue_full", |c| c.drops_queue_full),
    ("oldest", |c| c.drops_oldest),
    ("shard_full", |c| c.drops_shard_full),
    ("closed", |c| c.drops_closed),
];

/// Refused ops 12 and 14.
const DENIED: &[Part] = &[("room", |c| c.denied_rooms), ("op", |c| c.denied_ops)];

impl Collect for Shards {
    fn collect(&self, out: &mut Exposition) {
        let shards: Vec<Counts> = self.0.iter().map(|stats| stats.read()).collect();
        for &(name, kind, help, value) in PLAIN {
            let mut family = out.family(name, kind, help);
            for (shard, counts) in shards.iter().enumerate() {
                family.sample(&[("shard", &shard)], value(counts));
            }
        }
        let labelled = [
            ("halley_drops_total", "Pushes dropped.", "cause", DROPS),
            ("halley_denied_total", "Requests beyond what the token allows.", "what", DENIED),
        ];
        for (name, help, label, values) in labelled {
            let mut family = out.family(name, Kind::Counter, help);
            for (shard, counts) in shards.iter().enumerate() {
                for (text, value) in values {
                    family.sample(&[("shard", &shard), (label, text)], value(counts));
                }
            }
        }
        let mut closes = out.family("halley_closes_total", Kind::Counter, "Ended connections.");
        for (shard, counts) in shards.iter().enumerate() {
            for (reason, count) in CloseReason::ALL.iter().zip(counts.closes) {
                closes.sample(&[("shard", &shard), ("reason", &reason.label())], count);
            }
        }
        let mut refusals = out.family("halley_auth_refusals_total", Kind::Counter, "Refused logins.");
        for (shard, counts) in shards.iter().enumerate() {
            for (refusal, count) in AuthRefusal::ALL.iter().zip(counts.refusals) {
                refusals.sample(&[("shard", &shard), ("cause", &refusal.label())], count);
            }
        }
        let mut busy = out.family("halley_turn_seconds_total", Kind::Counter, "Time spent in turns, without sleep.");
        for (shard, counts) in shards.iter().enumerate() {
            busy.sample(&[("shard", &shard)], Seconds(counts.turn_ns));
        }
        let mut longest = out.family("halley_turn_seconds_max", Kind::Gauge, "Longest turn so far.");
        for (shard, counts) in shards.iter().enumerate() {
            longest.sample(&[("shard", &shard)], Seconds(counts.turn_ns_max));
        }
    }
}

/// Nanoseconds, written as seconds without loss.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

#[cfg(test)]
mod tests;
