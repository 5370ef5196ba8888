//! Step 5 of a push on its way out: the gateway of this process, as the dispatcher sees it. Owns the translation
//! between the dispatcher's seam and feed's questions; keeps nothing, and waits only for feed. Next step on the way
//! out: `feed::intake`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use halley_dispatcher::gateways::{self, Door, Gateway, GatewayGone, Handover, Matched, NoAnswer, Totals};
use halley_protocol::push::{Delivery, Target};
use tokio::sync::oneshot;

use crate::close::CloseReason;
use crate::feed::intake::{self, Intake, Request, Reserved};
use crate::mesh::msg::{Shed, ShedWho};

/// The gateway behind a door of feed.
pub(super) struct OwnGateway(pub(super) Intake);

/// The way in for what is read from the log.
pub(super) struct OwnDoor {
    pub(super) intake: Intake,
    /// Those who missed something are closed over so many milliseconds; may change.
    pub(super) gap_shed_ms: Arc<AtomicU64>,
}

/// Room for one handover before feed.
pub(super) struct OwnPlace {
    reserved: Reserved,
    gap_shed_ms: u64,
}

impl Door for OwnDoor {
    type Place = OwnPlace;

    async fn reserve(&self) -> Result<OwnPlace, GatewayGone> {
        let reserved = self.intake.reserve().await.map_err(|_| GatewayGone)?;
        Ok(OwnPlace { reserved, gap_shed_ms: self.gap_shed_ms.load(Ordering::Relaxed) })
    }
}

impl gateways::Place for OwnPlace {
    fn admit(self, handover: Handover) -> oneshot::Receiver<Vec<Matched>> {
        match handover {
            Handover::Deliver(deliveries) => self.reserved.deliver(deliveries),
            Handover::Gap(_) => {
                let (who, over_ms) = (ShedWho::Everybody, self.gap_shed_ms);
                self.reserved.shed(Shed { who, over_ms, reason: CloseReason::FeedGap })
            }
        }
    }
}

#[async_trait::async_trait]
impl Gateway for OwnGateway {
    async fn matched(&self, target: Target, op: i32) -> Result<u64, NoAnswer> {
        let delivery = Delivery { target, op, body: None, count: true, written_ms: 0 };
        let accepted = self.0.deliver(vec![delivery]).await.map_err(|_| NoAnswer::Gone)?;
        let counted = accepted.into_iter().next().flatten().ok_or(NoAnswer::Gone)?;
        counted.await.map_err(|_| NoAnswer::Gone)
    }

    async fn rooms(&self) -> Result<Vec<(String, u32)>, NoAnswer> {
        let rooms = self.0.ask(|reply| Request::Rooms { reply }).await.map_err(no_answer)?;
        Ok(Arc::unwrap_or_clone(rooms))
    }

    async fn counts(&self, rooms: Vec<String>) -> Result<Vec<u32>, NoAnswer> {
        self.0.ask(|reply| Request::RoomCounts { rooms, reply }).await.map_err(no_answer)
    }

    async fn totals(&self) -> Result<Totals, NoAnswer> {
        let totals = self.0.ask(|reply| Request::Totals { reply }).await.map_err(no_answer)?;
        Ok(Totals { connections: totals.connections, addresses: totals.addresses })
    }
}

fn no_answer(why: intake::NoAnswer) -> NoAnswer {
    match why {
        intake::NoAnswer::Stopping => NoAnswer::Gone,
        intake::NoAnswer::TimedOut => NoAnswer::TimedOut,
    }
}
