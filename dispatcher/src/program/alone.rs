//! The ingress of a process that holds no gateway. Owns that nobody is online here: what is asked about connections has
//! no answer, and pushes go to the producer alone.

use std::sync::Arc;

use halley_protocol::push::Target;
use halley_service::access::rules::AccessRules;
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};

use crate::bus::Producer;
use crate::gateways::{Gateway, NoAnswer, Totals};
use crate::ingress::Ingress;
use crate::ingress::admit::Limits;
use crate::receipts::Receipts;
use crate::registry::Registry;
use crate::registry::embedded::EmbeddedRegistry;

/// Pushes go to `producer`. Records to keys name no server: without a registry nobody here knows which one has them.
pub(super) fn ingress(
    producer: Arc<dyn Producer>,
    limits: Limits,
    access: AccessRules,
) -> (Arc<Ingress>, Arc<dyn Registry>) {
    let (receipts, nobody) = (Receipts::new(SmallRng::from_os_rng().next_u64()), Arc::new(NoGateway));
    let registry = Arc::new(EmbeddedRegistry::new(nobody.clone()));
    let ingress = Ingress::new(producer, nobody, receipts, Arc::default(), limits, access, String::new());
    (Arc::new(ingress), registry)
}

struct NoGateway;

#[async_trait::async_trait]
impl Gateway for NoGateway {
    async fn matched(&self, _: Target, _: i32) -> Result<u64, NoAnswer> {
        Err(NoAnswer::Gone)
    }

    async fn rooms(&self) -> Result<Vec<(String, u32)>, NoAnswer> {
        Err(NoAnswer::Gone)
    }

    async fn counts(&self, _: Vec<String>) -> Result<Vec<u32>, NoAnswer> {
        Err(NoAnswer::Gone)
    }

    async fn totals(&self) -> Result<Totals, NoAnswer> {
        Err(NoAnswer::Gone)
    }
}
