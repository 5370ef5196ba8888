//! Stopping without dropping anybody in silence. Owns the order, and the bound on all of it. First no more pushes are
//! taken, and the gateway is not ready. Then those taken are handed to the shards, where the log is ours and ends with
//! us, and no more clients are let in. Then clients are sent away over a while. A log that others fill is read on
//! meanwhile, up to the last client: who waits for his turn misses nothing. Then everything else ends. The shards do
//! the closing. Whoever runs it says when. Pushes of our own callers that are on their way to such a log are answered
//! before the doors of the ingress go.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::handle::{ControlHandle, ShardState};
use crate::limits::CLOSE_DEADLINE_MS;
use halley_service::lifecycle::{Lifecycle, Phase};

/// Time on top of the drain and the closing deadline before connections that are left are given up, in milliseconds.
const SLACK_MS: u64 = 2_000;
/// How long pushes that were taken may take to reach the shards before the clients are sent away, in milliseconds. The
/// bus gives up by itself a little earlier, and says so.
const BUS_MS_MAX: u64 = 6_000;

/// Where the pushes are that were taken here.
pub enum Bus {
    /// On a log of our own, which ends with us. Becomes true when every one has been handed over, or given up.
    Own(watch::Receiver<bool>),
    /// On their way into a log that others fill too, which is never empty for good.
    Shared(Publishing),
}

/// Pushes on their way into a log that others fill too, each with a caller that waits.
pub struct Publishing {
    /// Becomes true when nothing more is taken, and every push that was has its answer.
    pub answered: watch::Receiver<bool>,
    /// How long the last one that was taken may take to be answered, in milliseconds.
    pub within_ms: u64,
    /// How many have no answer yet.
    pub waiting: Box<dyn Fn() -> usize + Send + Sync>,
}

/// What a drain works on.
pub struct Drain {
    /// Reaches the shards.
    pub control: ControlHandle,
    /// What `/readyz` says.
    pub lifecycle: Lifecycle,
    /// Makes the ingress refuse pushes, and every answer end its connection.
    pub stop_ingress: Box<dyn Fn() + Send + Sync>,
    /// Makes the kernel refuse new clients.
    pub shut_doors: Box<dyn Fn() + Send + Sync>,
    /// What was taken before.
    pub bus: Bus,
    /// Ends reading the log.
    pub stop_reading: Box<dyn Fn() + Send + Sync>,
}

/// How a drain ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Shards that still had connections when the time was up.
    pub left: Vec<u16>,
    /// Pushes whose callers had no answer when the time was up: the log may hold them, or not.
    pub in_doubt: usize,
}

impl Drain {
    /// Send every client away within `over_ms`, and return when they are gone and every push that was taken is
    /// answered, or when that takes much too long.
    pub async fn run(mut self, over_ms: u64) -> Drained {
        // First: whoever reads that it drains reads it in an answer that ends its connection.
        (self.stop_ingress)();
        let stopped = Instant::now();
        self.lifecycle.enter(Phase::Draining);
        // While the clients are still there. A stuck shard, whose ring stays full, is not waited for.
        if let Bus::Own(empty) = &mut self.bus {
            within(BUS_MS_MAX, empty.wait_for(|empty| *empty)).await;
        }
        let mut states = self.control.states();
        if let Err(error) = self.control.drain(over_ms).await {
            tracing::warn!(%error, "a shard was not told to drain");
        }
        // After the shards were told, so that they do not take the end of their accepts for a fault; a stuck one is not
        // waited for.
        (self.shut_doors)();
        let all_drained = states.wait_for(|states| states.iter().all(|state| state.drained));
        let is_clean = within(over_ms + CLOSE_DEADLINE_MS + SLACK_MS, all_drained).await;
        (self.stop_reading)();
        let undrained = |states: &[ShardState]| {
            (0..).zip(states).filter(|(_, state)| !state.drained).map(|(shard, _)| shard).collect()
        };
        let left = if is_clean { Vec::new() } else { undrained(&states.borrow()) };
        let in_doubt = match self.bus {
            Bus::Own(_) => 0,
            Bus::Shared(publishing) => publishing.end(stopped).await,
        };
        Drained { left, in_doubt }
    }
}

impl Publishing {
    /// Wait until everything is answered that was taken before `stopped`; how many are not when the time is up.
    async fn end(mut self, stopped: Instant) -> usize {
        let deadline = stopped + Duration::from_millis(self.within_ms + SLACK_MS);
        let wait = self.answered.wait_for(|answered| *answered);
        match tokio::time::timeout_at(deadline, wait).await {
            Ok(Ok(_)) => 0,
            Ok(Err(_)) | Err(_) => (self.waiting)(),
        }
    }
}

/// Whether it came in time; a sender that is gone counts as never.
async fn within<T, E>(ms: u64, wait: impl Future<Output = Result<T, E>>) -> bool {
    matches!(tokio::time::timeout(Duration::from_millis(ms), wait).await, Ok(Ok(_)))
}
