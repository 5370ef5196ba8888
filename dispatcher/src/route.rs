//! Step 4 of a push on its way out: which gateways get a push, and its share of the pace. Owns the list of gateways.
//! Keeps no queue of its own, and never reorders. [`crate::consume`] calls it with batches in the order of the bus.
//! Next step: [`crate::gateways`].

use std::sync::Arc;

use futures_util::future::try_join_all;
use halley_protocol::push::{Delivery, Target};

use crate::gateways::{Gateway, GatewayGone};
use crate::receipts::Counts;

/// The gateways behind one dispatcher.
#[derive(Clone)]
pub struct Route {
    gateways: Vec<Arc<dyn Gateway>>,
}

impl Route {
    /// Every push goes to all of these; a gateway that has nobody for it finds that out in its directory.
    pub fn new(gateways: Vec<Arc<dyn Gateway>>) -> Route {
        Route { gateways }
    }

    /// The gateways, in the order in which a pace is divided.
    pub fn gateways(&self) -> &[Arc<dyn Gateway>] {
        &self.gateways
    }

    /// Deliver to every gateway, in order; returns when all have accepted all. The counts are one list per delivery.
    pub async fn deliver(&self, deliveries: Vec<Delivery>) -> Result<Vec<Counts>, GatewayGone> {
        let mut counts: Vec<Counts> = deliveries.iter().map(|_| Counts::new()).collect();
        let shares = (0..).zip(&self.gateways).map(|(index, gateway)| {
            let share: Vec<Delivery> = deliveries.iter().map(|delivery| self.share(delivery, index)).collect();
            gateway.deliver(share)
        });
        for accepted in try_join_all(shares).await? {
            for (counts, matched) in counts.iter_mut().zip(accepted) {
                counts.extend(matched);
            }
        }
        Ok(counts)
    }

    /// What one gateway gets: all of it, except that the pace of a broadcast is divided. A paced broadcast stays paced
    /// however slow it is: a share of 0 would mean "at once" (defect J15).
    fn share(&self, delivery: &Delivery, index: u32) -> Delivery {
        let mut delivery = delivery.clone();
        if let Target::All { speed } = &mut delivery.target
            && *speed > 0
        {
            let gateways = u32::try_from(self.gateways.len()).unwrap_or(u32::MAX);
            *speed = (*speed / gateways + u32::from(index < *speed % gateways)).max(1);
        }
        delivery
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateways::{Matched, NoAnswer};

    struct Nobody;

    #[async_trait::async_trait]
    impl Gateway for Nobody {
        async fn deliver(&self, deliveries: Vec<Delivery>) -> Result<Vec<Matched>, GatewayGone> {
            Ok(deliveries.iter().map(|_| None).collect())
        }
        async fn rooms(&self) -> Result<Vec<(String, u32)>, NoAnswer> {
            Ok(Vec::new())
        }
        async fn counts(&self, rooms: Vec<String>) -> Result<Vec<u32>, NoAnswer> {
            Ok(vec![0; rooms.len()])
        }
        async fn totals(&self) -> Result<crate::gateways::Totals, NoAnswer> {
            Ok(crate::gateways::Totals::default())
        }
    }

    fn shares(speed: u32, gateways: u32) -> Vec<u32> {
        let route = Route::new((0..gateways).map(|_| Arc::new(Nobody) as Arc<dyn Gateway>).collect());
        let delivery = Delivery { target: Target::All { speed }, op: 1, body: None, count: false };
        (0..gateways)
            .map(|index| match route.share(&delivery, index).target {
                Target::All { speed } => speed,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// J15: a speed below the number of gateways must not become "no pace at all".
    #[test]
    fn j15_a_broadcast_pace_is_divided_and_never_becomes_unpaced() {
        assert_eq!(shares(32, 1), [32]);
        assert_eq!(shares(32, 3), [11, 11, 10]);
        assert_eq!(shares(2, 3), [1, 1, 1]);
        assert_eq!(shares(0, 3), [0, 0, 0], "0 asks for no pace");
    }

    /// J4: no gateway at all is not a division by zero.
    #[tokio::test]
    async fn j04_a_broadcast_without_gateways_does_nothing() {
        let delivery = Delivery { target: Target::All { speed: 9 }, op: 1, body: None, count: false };
        assert_eq!(Route::new(Vec::new()).deliver(vec![delivery]).await.unwrap().len(), 1);
    }
}
