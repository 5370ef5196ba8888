//! What came of reading the configuration again. Owns the counts and their names; whoever reloads tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Collect, Exposition, Kind};

/// How often the configuration was read again, and how the last time ended; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    taken: AtomicU64,
    refused: AtomicU64,
    last_taken: AtomicBool,
    last_taken_s: AtomicU64,
}

impl Reloads {
    /// The start is the first success: the configuration that it read is the one in use.
    pub fn since(start: SystemTime) -> Reloads {
        Reloads(Arc::new(Inner {
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            last_taken: AtomicBool::new(true),
            last_taken_s: AtomicU64::new(unix_s(start)),
        }))
    }

    /// A new configuration is in use.
    pub fn taken(&self, now: SystemTime) {
        self.0.taken.fetch_add(1, Ordering::Relaxed);
        self.0.last_taken.store(true, Ordering::Relaxed);
        self.0.last_taken_s.store(unix_s(now), Ordering::Relaxed);
    }

    /// It was wrong, or could not be read: the old one stays.
    pub fn refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        self.0.last_taken.store(false, Ordering::Relaxed);
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Collect for Reloads {
    fn collect(&self, out: &mut Exposition) {
        let Inner { taken, refused, last_taken, last_taken_s } = &*self.0;
        out.family("halley_config_reloads_total", Kind::Counter, "Times the configuration was read again.")
            .sample(&[("result", &"taken")], taken.load(Ordering::Relaxed))
            .sample(&[("result", &"refused")], refused.load(Ordering::Relaxed));
        let help = "1 when the last reading of the configuration is in use, 0 when it was refused.";
        out.family("halley_config_last_reload_successful", Kind::Gauge, help)
            .sample(&[], u8::from(last_taken.load(Ordering::Relaxed)));
        let help = "When the configuration in use was read, since the Unix epoch.";
        out.family("halley_config_last_reload_success_timestamp_seconds", Kind::Gauge, help)
            .sample(&[], last_taken_s.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_refusal_leaves_the_time_of_the_last_success() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let reloads = Reloads::since(at(100));
        let metrics = Metrics::default().with(reloads.clone());
        let shown = |line: &str| metrics.text().lines().any(|shown| shown == line);
        assert!(shown("halley_config_last_reload_successful 1"));
        reloads.taken(at(200));
        reloads.refused();
        assert!(shown("halley_config_last_reload_successful 0"));
        assert!(shown("halley_config_last_reload_success_timestamp_seconds 200"));
        assert!(shown("halley_config_reloads_total{result=\"taken\"} 1"));
        assert!(shown("halley_config_reloads_total{result=\"refused\"} 1"));
    }
}
