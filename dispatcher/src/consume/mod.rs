//! Step 4 of a push on its way out: the way from the bus to the gateways. Owns the one task that takes records in
//! order, has them delivered, and only then acks them. Knows nothing of who produced them. A record that is no push is
//! counted, said once in the log, and skipped. Before it: [`crate::bus`]. After it: [`crate::route`].

pub mod reader;

use std::sync::Arc;
use std::time::Duration;

use halley_protocol::push::{Delivery, PushRecord};
use tokio::sync::oneshot;
use tracing::warn;

use crate::bus::{Consumer, Depth, Stored};
use crate::gateways::GatewayGone;
use crate::receipts::{Counts, Receipts};
use crate::route::Route;
use crate::stats::Stats;

/// Records delivered and acked together: enough to spread the cost of a hand-over, few enough that a count asked for by
/// the first does not wait for many others.
pub const BATCH_RECORDS_MAX: usize = 256;

/// How the consumer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Pushes that were answered with success and not accepted by every gateway: 0 after an orderly stop.
    pub undelivered: Depth,
    /// The gateways went away first.
    pub gateway_gone: bool,
}

/// The consuming task, before it runs.
pub struct Consume<C> {
    bus: C,
    route: Route,
    receipts: Arc<Receipts>,
    stats: Arc<Stats>,
    skipped_before: bool,
}

impl<C: Consumer> Consume<C> {
    /// Takes from `bus`, delivers along `route`.
    pub fn new(bus: C, route: Route, receipts: Arc<Receipts>, stats: Arc<Stats>) -> Consume<C> {
        Consume { bus, route, receipts, stats, skipped_before: false }
    }

    /// Run until the bus was closed and everything on it is delivered, but no longer than `drain_within` after the
    /// close, or until the gateways are gone.
    pub async fn run(mut self, drain_within: Duration) -> Drained {
        let closed = self.bus.closed();
        let too_late = async {
            closed.await;
            tokio::time::sleep(drain_within).await;
        };
        let gateway_gone = tokio::select! {
            outcome = self.deliver_all() => outcome.is_err(),
            () = too_late => false,
        };
        Drained { undelivered: self.bus.depth(), gateway_gone }
    }

    async fn deliver_all(&mut self) -> Result<(), GatewayGone> {
        while let Some(batch) = self.bus.next_batch(BATCH_RECORDS_MAX).await {
            let last = batch.last().expect("a batch is not empty").position;
            let (deliveries, waiting) = self.decode(&batch);
            let records = u64::try_from(deliveries.len()).unwrap_or(u64::MAX);
            if !deliveries.is_empty() {
                for (counts, waiting) in self.route.deliver(deliveries).await?.into_iter().zip(waiting) {
                    if let Some(waiting) = waiting {
                        // Whoever asked may have gone meanwhile.
                        let _ = waiting.send(counts);
                    }
                }
            }
            self.stats.delivered(records);
            self.bus.ack(last);
        }
        Ok(())
    }

    /// The deliveries of a batch, and for each who waits to hear what it matched.
    fn decode(&mut self, batch: &[Stored]) -> (Vec<Delivery>, Vec<Option<oneshot::Sender<Counts>>>) {
        let mut deliveries = Vec::with_capacity(batch.len());
        let mut waiting = Vec::with_capacity(batch.len());
        for Stored { position, record } in batch {
            match PushRecord::decode(&record.value) {
                Ok(PushRecord { push, receipt, .. }) => {
                    let asked = self.receipts.redeem(receipt);
                    deliveries.push(push.into_delivery(asked.is_some()));
                    waiting.push(asked);
                }
                Err(error) => {
                    self.stats.skipped_record();
                    if !std::mem::replace(&mut self.skipped_before, true) {
                        warn!(%position, %error, "a record was skipped; further ones are only counted");
                    }
                }
            }
        }
        (deliveries, waiting)
    }
}
