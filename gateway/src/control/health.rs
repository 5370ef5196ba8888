//! Whether the gateway lives, and whether it wants traffic. Owns the state that `/readyz` answers from and the
//! questions that `/healthz` asks: a thread lives when it answers. Restarts nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};

use super::handle::ControlHandle;
use super::pulse::Pulse;
use crate::feed::intake::{Intake, Request};

/// Where the gateway is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not every listener accepts yet.
    Starting,
    /// Serving.
    Serving,
    /// Sending its clients elsewhere.
    Draining,
}

impl Phase {
    /// As `/readyz` names it.
    pub const fn label(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
        }
    }
}

/// The phase, shared by who changes it, who answers `/readyz` and what ends with the drain.
#[derive(Clone, Debug)]
pub struct Lifecycle(Arc<watch::Sender<Phase>>);

impl Default for Lifecycle {
    fn default() -> Self {
        Lifecycle(Arc::new(watch::Sender::new(Phase::Starting)))
    }
}

impl Lifecycle {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Enter a phase.
    pub fn enter(&self, phase: Phase) {
        self.0.send_replace(phase);
    }

    /// Resolves when the gateway drains.
    pub async fn draining(&self) {
        // The sender is held here, so waiting never fails.
        let _ = self.0.subscribe().wait_for(|phase| *phase == Phase::Draining).await;
    }
}

/// How long an answer about the threads holds, in milliseconds: whoever may ask as often as he likes costs them one
/// question in this time.
pub const HEALTH_MS: u64 = 1_000;

/// Asks the threads, for all who want to know at about the same time; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The last answer. Locked by whoever asks for the next.
    last: Mutex<Option<(Instant, Vec<String>)>>,
    /// Threads besides the shards and feed, by name.
    pulses: Vec<(&'static str, Pulse)>,
}

impl Health {
    /// Health of the shards, of feed, and of these threads.
    pub fn new(pulses: Vec<(&'static str, Pulse)>) -> Health {
        Health(Arc::new(Inner { last: Mutex::default(), pulses }))
    }

    /// Threads that do not answer: `shard-0`, `feed`, `ingress`, `control`. Empty when all is well. The answer is at
    /// most [`HEALTH_MS`] old at `now`.
    pub async fn stuck_threads(&self, now: Instant, control: &ControlHandle, intake: &Intake) -> Vec<String> {
        // Held while asking: who comes meanwhile waits for the same answer.
        let mut last = self.0.last.lock().await;
        match last.as_ref() {
            Some((at, stuck)) if now.duration_since(*at) < Duration::from_millis(HEALTH_MS) => stuck.clone(),
            _ => {
                let stuck = self.ask(control, intake).await;
                if !stuck.is_empty() {
                    tracing::error!(threads = stuck.join(", "), "these threads do not answer");
                }
                *last = Some((now, stuck.clone()));
                stuck
            }
        }
    }

    async fn ask(&self, control: &ControlHandle, intake: &Intake) -> Vec<String> {
        let pulses = futures_util::future::join_all(
            self.0
                .pulses
                .iter()
                .map(|(name, pulse)| async move { if pulse.beats().await { None } else { Some((*name).to_owned()) } }),
        );
        let (pulses, others) = tokio::join!(pulses, stuck_threads(control, intake));
        let silent: Vec<String> = pulses.into_iter().flatten().collect();
        // Shards are asked through control: while that is silent nothing is known of them.
        let known = |name: &String| name == "feed" || !silent.iter().any(|silent| silent == CONTROL);
        others.into_iter().filter(known).chain(silent.clone()).collect()
    }
}

/// The thread through which shards are asked, as [`Health`] names it.
pub const CONTROL: &str = "control";

/// Shards that do not answer, and feed if it does not.
async fn stuck_threads(control: &ControlHandle, intake: &Intake) -> Vec<String> {
    let feed = async {
        let answered = intake.ask(|reply| Request::Totals { reply }).await;
        if answered.is_ok() { None } else { Some("feed".to_owned()) }
    };
    let shards = futures_util::future::join_all((0..control.shards()).map(|shard| async move {
        if control.is_turning(shard).await { None } else { Some(format!("shard-{shard}")) }
    }));
    let (feed, shards) = tokio::join!(feed, shards);
    shards.into_iter().chain([feed]).flatten().collect()
}
