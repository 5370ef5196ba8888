//! Whether the gateway lives, and whether it wants traffic. Owns the state that `/readyz` answers from and the questions
//! that `/healthz` asks: a thread lives when it answers. Restarts nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::handle::{ANSWER_MS_MAX, ControlHandle};
use crate::feed::intake::{Intake, Request};

/// Where the gateway is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
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

/// The phase, shared by who changes it and who answers `/readyz`.
#[derive(Clone, Debug)]
pub struct Lifecycle(Arc<AtomicU8>);

impl Default for Lifecycle {
    fn default() -> Self {
        Lifecycle(Arc::new(AtomicU8::new(Phase::Starting as u8)))
    }
}

impl Lifecycle {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// Enter a phase.
    pub fn enter(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }
}

/// Threads that do not answer: `shard-0`, `feed`. Empty when all is well.
pub async fn stuck_threads(control: &ControlHandle, intake: &Intake) -> Vec<String> {
    let feed = async {
        let asked = intake.ask(|reply| Request::Totals { reply });
        let answered = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), asked).await;
        if matches!(answered, Ok(Ok(_))) { None } else { Some("feed".to_owned()) }
    };
    let shards = futures_util::future::join_all((0..control.shards()).map(|shard| async move {
        if control.is_turning(shard).await { None } else { Some(format!("shard-{shard}")) }
    }));
    let (feed, shards) = tokio::join!(feed, shards);
    shards.into_iter().chain([feed]).flatten().collect()
}
