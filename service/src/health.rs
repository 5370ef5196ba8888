//! Whether the program's threads live: a thread lives when it answers. Owns the question that `/healthz` and the
//! watchdog ask, and how long an answer holds; restarts nothing.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::Mutex;

use crate::pulse::Pulse;

/// How long an answer about the threads holds, in milliseconds: whoever may ask as often as he likes costs them one
/// question in this time.
pub const HEALTH_MS: u64 = 1_000;

/// The names of threads that do not answer, soon.
pub type Silent = Pin<Box<dyn Future<Output = Vec<String>> + Send>>;

/// Threads that have no pulse of their own, and how they are asked.
pub struct Others {
    /// The thread with a pulse through which they are asked: while it is silent nothing is known of them.
    pub through: Option<&'static str>,
    /// Asks them all; answers in bounded time.
    pub ask: Box<dyn Fn() -> Silent + Send + Sync>,
}

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Others").field("through", &self.through).finish_non_exhaustive()
    }
}

/// Asks the threads, for all who want to know at about the same time; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The last answer. Locked by whoever asks for the next.
    last: Mutex<Option<(Instant, Vec<String>)>>,
    others: Vec<Others>,
    /// Threads by name.
    pulses: Vec<(&'static str, Pulse)>,
}

impl Health {
    /// Health of these threads.
    pub fn new(others: Vec<Others>, pulses: Vec<(&'static str, Pulse)>) -> Health {
        Health(Arc::new(Inner { last: Mutex::default(), others, pulses }))
    }

    /// Threads that do not answer, by name. Empty when all is well. The answer is at most [`HEALTH_MS`] old at `now`.
    pub async fn stuck_threads(&self, now: Instant) -> Vec<String> {
        // Held while asking: who comes meanwhile waits for the same answer.
        let mut last = self.0.last.lock().await;
        match last.as_ref() {
            Some((at, stuck)) if now.duration_since(*at) < Duration::from_millis(HEALTH_MS) => stuck.clone(),
            _ => {
                let stuck = self.0.ask().await;
                if !stuck.is_empty() {
                    tracing::error!(threads = stuck.join(", "), "these threads do not answer");
                }
                *last = Some((now, stuck.clone()));
                stuck
            }
        }
    }
}

impl Inner {
    async fn ask(&self) -> Vec<String> {
        let pulses = self.pulses.iter().map(|(name, pulse)| async move { (!pulse.beats().await).then_some(*name) });
        let others = self.others.iter().map(|others| async move { (others.through, (others.ask)().await) });
        let (pulses, others) = tokio::join!(join_all(pulses), join_all(others));
        let silent: Vec<&str> = pulses.into_iter().flatten().collect();
        let known = others.into_iter().filter(|(through, _)| through.is_none_or(|through| !silent.contains(&through)));
        known.flat_map(|(_, names)| names).chain(silent.iter().map(|name| (*name).to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// An answer holds for a second, and of threads that are asked through a silent one nothing is said.
    #[tokio::test(start_paused = true)]
    async fn an_answer_holds_and_says_only_what_is_known() {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        let ask = move || -> Silent {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { vec!["behind".to_owned()] })
        };
        let (through, pulse) = (Some("front"), Pulse::new().0);
        let silent = Health::new(vec![Others { through, ask: Box::new(ask.clone()) }], vec![("front", pulse)]);
        assert_eq!(silent.stuck_threads(Instant::now()).await, ["front"]);
        let health = Health::new(vec![Others { through: None, ask: Box::new(ask) }], Vec::new());
        let now = Instant::now();
        for (after_ms, times) in [(0, 2), (HEALTH_MS - 1, 2), (HEALTH_MS, 3)] {
            assert_eq!(health.stuck_threads(now + Duration::from_millis(after_ms)).await, ["behind"]);
            assert_eq!(asked.load(Ordering::Relaxed), times, "{after_ms}");
        }
    }
}
