//! Step 5 of a push on its way out: the gateway of this process, as the dispatcher sees it. Owns the translation
//! between the dispatcher's seam and feed's questions; keeps nothing, and waits only for feed. Next step on the way
//! out: `feed::intake`.

use std::sync::Arc;

use halley_dispatcher::gateways::{Gateway, GatewayGone, Matched, NoAnswer, Totals};
use halley_protocol::push::Delivery;

use crate::feed::intake::{self, Intake, Request};

/// The gateway behind a door of feed.
pub(super) struct OwnGateway(pub(super) Intake);

#[async_trait::async_trait]
impl Gateway for OwnGateway {
    async fn deliver(&self, deliveries: Vec<Delivery>) -> Result<Vec<Matched>, GatewayGone> {
        self.0.deliver(deliveries).await.map_err(|_| GatewayGone)
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
