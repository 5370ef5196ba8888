//! What Prometheus reads (text exposition format 0.0.4). Owns the writer and the names of the gateway's metrics; counts
//! nothing itself: shards publish their counters, other parts hand in a [`Collect`]. Served by `admin`.

pub mod certificates;
mod control;
mod feed;
mod shards;

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use halley_service::panics;

use crate::shard::stats::ShardStats;

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
        Metrics { sources: vec![Box::new(Process { started: SystemTime::now() }), Box::new(shards::Shards(shards))] }
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
        let help = "Panics of libraries on what one peer had sent, or a file held; each has ended that peer's connection, or reading.";
        out.family("halley_contained_panics_total", Kind::Counter, help).sample(&[], panics::contained_total());
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

/// One counter as a metric of its own: name, kind, help and value.
type Plain<C> = (&'static str, Kind, &'static str, fn(&C) -> u64);

#[cfg(test)]
mod tests;
