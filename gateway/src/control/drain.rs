//! Stopping without dropping anybody in silence. Owns the order, and the bound on all of it. First no more pushes are
//! taken, and the gateway is not ready. Then those taken are handed to the shards, where the log is ours and ends with
//! us, and no more clients are let in. Then clients are sent away over a while. A log that others fill is read on
//! meanwhile, up to the last client: who waits for his turn misses nothing. Then everything else ends. The shards do
//! the closing. Whoever runs it says when.

use std::time::Duration;

use tokio::sync::watch;

use super::handle::ControlHandle;
use crate::limits::CLOSE_DEADLINE_MS;
use halley_service::lifecycle::{Lifecycle, Phase};

/// Time on top of the drain and the closing deadline before connections that are left are given up, in milliseconds.
const SLACK_MS: u64 = 2_000;
/// How long pushes that were taken may take to reach the shards before the clients are sent away, in milliseconds. The
/// bus gives up by itself a little earlier, and says so.
const BUS_MS_MAX: u64 = 6_000;

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
    /// Becomes true when every push that was taken has been handed over, or given up; `None` for a log that others
    /// fill, which is never empty for good.
    pub bus_empty: Option<watch::Receiver<bool>>,
    /// Ends reading the log.
    pub stop_reading: Box<dyn Fn() + Send + Sync>,
}

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every connection was closed in order.
    Clean,
    /// These shards still had connections when the time was up.
    TimedOut(Vec<u16>),
}

impl Drain {
    /// Send every client away within `over_ms` and return when they are gone, or when that takes much too long.
    pub async fn run(mut self, over_ms: u64) -> Drained {
        // First: whoever reads that it drains reads it in an answer that ends its connection.
        (self.stop_ingress)();
        self.lifecycle.enter(Phase::Draining);
        // While the clients are still there. A stuck shard, whose ring stays full, is not waited for.
        if let Some(bus_empty) = &mut self.bus_empty {
            within(BUS_MS_MAX, bus_empty.wait_for(|empty| *empty)).await;
        }
        let mut states = self.control.states();
        if let Err(error) = self.control.drain(over_ms).await {
            tracing::warn!(%error, "a shard was not told to drain");
        }
        // After the shards were told, so that they do not take the end of their accepts for a fault; a stuck one is not
        // waited for.
        (self.shut_doors)();
        let all_drained = states.wait_for(|states| states.iter().all(|state| state.drained));
        let clean = within(over_ms + CLOSE_DEADLINE_MS + SLACK_MS, all_drained).await;
        (self.stop_reading)();
        if clean {
            return Drained::Clean;
        }
        let left =
            (0..).zip(states.borrow().iter()).filter(|(_, state)| !state.drained).map(|(shard, _)| shard).collect();
        Drained::TimedOut(left)
    }
}

/// Whether it came in time; a sender that is gone counts as never.
async fn within<T, E>(ms: u64, wait: impl Future<Output = Result<T, E>>) -> bool {
    matches!(tokio::time::timeout(Duration::from_millis(ms), wait).await, Ok(Ok(_)))
}
