//! What Prometheus reads (text exposition format 0.0.4). Owns the writer and the list of who has metrics; counts
//! nothing itself: each part of a program hands in a [`Collect`] with the names of its own. A program's admin
//! routes serve the text.
//!
//! | file | noun |
//! |---|---|
//! | `process` | what is true of every process |
//! | `histogram` | how long things take, or how large they are |
//! | `reloads` | what came of reading the configuration again |

pub mod histogram;
pub mod process;
pub mod reloads;

use std::fmt::{self, Write};

use histogram::{Bounds, Buckets};

/// `Content-Type` of the exposition.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric's value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many were no larger than each of some bounds, and their sum.
    Histogram,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Something that has metrics.
pub trait Collect: Send + Sync + 'static {
    /// Write all of them, each family once.
    fn collect(&self, out: &mut Exposition);
}

/// One counter as a metric of its own: name, kind, help and value.
pub type Plain<C> = (&'static str, Kind, &'static str, fn(&C) -> u64);

/// One label of a sample: its name and its text.
pub type Label<'a> = (&'a str, &'a dyn fmt::Display);

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
        let kind = kind.word();
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { text: &mut self.text, name }
    }

    /// Counters without labels, a family each.
    pub fn plain<C>(&mut self, list: &[Plain<C>], counts: &C) {
        for &(name, kind, help, value) in list {
            self.family(name, kind, help).sample(&[], value(counts));
        }
    }

    /// The finished text.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Add a sample. No two samples of a family have the same labels.
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl fmt::Display) -> &mut Self {
        self.line("", labels, value);
        self
    }

    /// Add a histogram, in a family of that kind. No two have the same labels, and none has `le`.
    pub fn histogram<const N: usize>(
        &mut self,
        labels: &[Label<'_>],
        bounds: &Bounds<N>,
        buckets: &Buckets<N>,
    ) -> &mut Self {
        let mut bucket = |bound: &dyn fmt::Display, count: u64| {
            let labels: Vec<Label<'_>> = labels.iter().copied().chain([("le", bound)]).collect();
            self.line("_bucket", &labels, count);
        };
        let mut no_larger = 0;
        for (upper, count) in bounds.upper.iter().zip(buckets.counts) {
            no_larger += count;
            bucket(&bounds.shown(*upper), no_larger);
        }
        bucket(&"+Inf", buckets.count());
        self.line("_sum", labels, bounds.shown(buckets.sum));
        self.line("_count", labels, buckets.count());
        self
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], value: impl fmt::Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let open = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{label}=\"{text}\"");
        }
        self.text.push_str(if labels.is_empty() { " " } else { "} " });
        let _ = writeln!(self.text, "{value}");
    }
}

/// Nanoseconds, written as seconds without loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Everything that `/metrics` shows.
#[derive(Default)]
pub struct Metrics {
    sources: Vec<Box<dyn Collect>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("sources", &self.sources.len()).finish()
    }
}

impl Metrics {
    /// Show the metrics of one more part, after those before.
    #[must_use]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_help_are_escaped() {
        let mut out = Exposition::default();
        out.family("odd_gauge", Kind::Gauge, "Back\\slash and\nline.").sample(&[("a", &"\"x\"\\\n"), ("b", &1)], 0.5);
        let text = "# HELP odd_gauge Back\\\\slash and\\nline.\n# TYPE odd_gauge gauge\n\
                    odd_gauge{a=\"\\\"x\\\"\\\\\\n\",b=\"1\"} 0.5\n";
        assert_eq!(out.into_text(), text);
    }

    #[test]
    fn seconds_lose_nothing() {
        assert_eq!(Seconds(1_000_000_001).to_string(), "1.000000001");
    }
}
