//! Puts a dispatcher together. Owns the wiring of its parts for a process that holds the gateways itself (standalone):
//! ingress, embedded bus, consumer, embedded registry. Starts nothing: the caller runs the consumer and serves the
//! doors.

use std::sync::Arc;

use halley_service::access::rules::AccessRules;
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};

use crate::bus::embedded::{BusLimits, EmbeddedConsumer, bus};
use crate::consume::Consume;
use crate::gateways::Gateway;
use crate::ingress::Ingress;
use crate::ingress::admit::Limits;
use crate::receipts::Receipts;
use crate::registry::Registry;
use crate::registry::embedded::EmbeddedRegistry;
use crate::route::Route;
use crate::stats::Stats;

/// What a dispatcher is made by.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Bounds on one push; those of the bus and of listeners come on top.
    pub limits: Limits,
    /// Who may push and ask.
    pub access: AccessRules,
    /// Records and bytes that may wait on the bus.
    pub bus: BusLimits,
    /// Offset of the first push; see [`bus`].
    pub first_offset: i64,
    /// The id by which stock jobs know this server; written into pushes to keys.
    pub server_id: String,
}

/// The parts of a dispatcher, to be run and served by the caller.
pub struct Dispatcher {
    /// For [`crate::ingress::http`] and [`crate::ingress::grpc`].
    pub ingress: Arc<Ingress>,
    /// Who is online.
    pub registry: Arc<dyn Registry>,
    /// To be run until it ends; [`Ingress::stop`] ends it.
    pub consume: Consume<EmbeddedConsumer>,
}

/// A dispatcher before these gateways.
pub fn embedded(settings: Settings, gateways: Vec<Arc<dyn Gateway>>) -> Dispatcher {
    let Settings { limits, access, bus: bus_limits, first_offset, server_id } = settings;
    let route = Route::new(gateways);
    let receipts = Receipts::new(SmallRng::from_os_rng().next_u64());
    let stats = Arc::new(Stats::default());
    let (producer, consumer) = bus(bus_limits, first_offset);
    let consume = Consume::new(consumer, route.clone(), receipts.clone(), stats.clone());
    let registry = Arc::new(EmbeddedRegistry::new(route.clone()));
    let ingress = Ingress::new(Arc::new(producer), route, receipts, stats, limits, access, server_id);
    Dispatcher { ingress: Arc::new(ingress), registry, consume }
}
