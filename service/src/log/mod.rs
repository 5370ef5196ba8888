//! What a program writes about itself, to standard error. Owns the level of log lines, which changes while it runs, and
//! the bound on how many of one kind are written. A flood of equal lines would hide the others, and cost more than it
//! tells. `lines` makes their form.

mod lines;
pub mod seldom;

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::words;
use tracing::callsite::Identifier;
use tracing::{Event, Metadata};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::config::schema::Finding;
use crate::metrics::{Collect, Exposition, Kind};

/// Lines of one kind, which is one place in the source, within [`WINDOW`].
const LINES_MAX: u32 = 20;
/// The time that [`LINES_MAX`] is counted over.
const WINDOW: Duration = Duration::from_secs(10);

/// Lines left out since start.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

words! { LogFormat { Text = "text", Json = "json" } }

/// Whether this is a level: a word, also per part of the program.
pub fn is_level(level: &str) -> bool {
    // The library takes a lone word that is no level for the name of a part, all of whose lines are then shown.
    let is_word = |word: &str| word.parse::<LevelFilter>().is_ok();
    let is_known = |part: &str| part.contains(['=', '[']) || is_word(part.trim());
    level.split(',').all(is_known) && EnvFilter::try_new(level).is_ok()
}

/// What is wrong with this level, as `log.level` writes it, if it is none; `part` is one of the program's, an example.
pub fn finding(level: &str, part: &str) -> Option<Finding> {
    let sentence = || {
        format!(
            "log.level {level:?} is no level: use off, error, warn, info, debug or trace, also per part of the \
             program, as in \"info,{part}=debug\""
        )
    };
    (!is_level(level)).then(|| Finding::new(&["log.level"], sentence()))
}

/// Changes the level while the process runs.
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Use this level, as `log.level` writes it, from now on. A wrong one changes nothing.
    pub fn set(&self, level: &str) {
        if let Ok(filter) = EnvFilter::try_new(level) {
            // Fails only when the subscriber is gone, at the very end of the process.
            let _ = self.0.reload(filter);
        }
    }
}

/// Begin to write log lines to standard error. Once per process; later calls change nothing that is seen. Lines of the
/// target `asked_for` are never left out: an operator has asked for each.
pub fn start(level: &str, format: LogFormat, asked_for: &'static str) -> Level {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info")));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let lines = lines::layer(format, colours, std::io::stderr);
    let _ = Registry::default()
        .with(filter)
        .with(lines.with_filter(Calm { asked_for, kinds: Mutex::default() }))
        .try_init();
    Level(handle)
}

/// Lets so many lines of one kind through, and counts the others.
struct Calm {
    /// Target of the lines that are not counted.
    asked_for: &'static str,
    /// One entry per place in the source that ever wrote a line.
    kinds: Mutex<HashMap<Identifier, Allowance>>,
}

/// What one kind of line may still write.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    since: Instant,
    lines: u32,
}

impl Allowance {
    /// Whether one more line may be written at `now`.
    fn take(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= WINDOW {
            *self = Allowance { since: now, lines: 0 };
        }
        self.lines += 1;
        self.lines <= LINES_MAX
    }
}

impl<S> Filter<S> for Calm {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        if event.metadata().target() == self.asked_for {
            return true;
        }
        let now = Instant::now();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let allowance = kinds.entry(event.metadata().callsite()).or_insert(Allowance { since: now, lines: 0 });
        let written = allowance.take(now);
        LEFT_OUT.fetch_add(u64::from(!written), Ordering::Relaxed);
        written
    }
}

/// Say from time to time how many lines were left out, if any were.
pub async fn tell_left_out() {
    let mut told = 0;
    loop {
        tokio::time::sleep(WINDOW).await;
        let left_out = LEFT_OUT.load(Ordering::Relaxed);
        if left_out > told {
            tracing::warn!(
                lines = left_out - told,
                "log lines were left out because there were too many of their kind"
            );
            told = left_out;
        }
    }
}

/// How many lines were left out, for `/metrics`.
#[derive(Clone, Copy, Debug)]
pub struct LogMetrics;

impl Collect for LogMetrics {
    fn collect(&self, out: &mut Exposition) {
        let help = "Log lines left out because too many of their kind were written.";
        out.family("halley_log_lines_left_out_total", Kind::Counter, help)
            .sample(&[], LEFT_OUT.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_line_is_bounded_per_window_and_recovers() {
        let start = Instant::now();
        let mut allowance = Allowance { since: start, lines: 0 };
        let written = (0..100).filter(|_| allowance.take(start)).count();
        assert_eq!(written, 20);
        assert!(!allowance.take(start + WINDOW - Duration::from_millis(1)));
        assert!(allowance.take(start + WINDOW));
    }
}
