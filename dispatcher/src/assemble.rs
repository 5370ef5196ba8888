//! Puts a dispatcher together. Owns the wiring of its parts for a process that holds the gateway itself (standalone):
//! ingress, embedded log, consumer, embedded registry. Starts nothing: the caller runs the consumer and serves the
//! doors.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use halley_service::access::rules::AccessRules;
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};

use crate::bus::Depth;
use crate::bus::embedded::{BusLimits, EmbeddedLog, bus};
use crate::consume::clock::runtime_time;
use crate::consume::reader::Settings as ReaderSettings;
use crate::consume::share::Gateways;
use crate::consume::stats::LogStats;
use crate::consume::{Consume, End, Ended, Wiring};
use crate::gateways::{Door, Gateway};
use crate::ingress::Ingress;
use crate::ingress::admit::Limits;
use crate::receipts::Receipts;
use crate::registry::Registry;
use crate::registry::embedded::EmbeddedRegistry;
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
pub struct Dispatcher<D> {
    /// For [`crate::ingress::http`] and [`crate::ingress::grpc`].
    pub ingress: Arc<Ingress>,
    /// Who is online.
    pub registry: Arc<dyn Registry>,
    /// What is known of the log while it is read.
    pub log_stats: Arc<LogStats>,
    /// To be run until it ends.
    pub carry: Carry<D>,
}

/// The way from the embedded log to the gateway, before it is run.
pub struct Carry<D> {
    consume: Consume<EmbeddedLog, D>,
    ingress: Arc<Ingress>,
    closed: BoxFuture<'static, ()>,
}

impl<D: Door> Carry<D> {
    /// Run until [`Ingress::stop`] and then until everything on the bus is delivered, for so long at most; or until the
    /// gateway is gone. Returns how it ended and what is left on the bus.
    pub async fn run(self, drain_within: Duration) -> (Ended, Depth) {
        let Carry { consume, ingress, closed } = self;
        let ended = consume.run(closed.map(|()| End::Drain(drain_within))).await;
        (ended, ingress.bus().depth())
    }
}

/// A dispatcher before the gateway with this door, which answers these questions.
pub fn embedded<D: Door>(settings: Settings, door: D, gateway: Arc<dyn Gateway>) -> Dispatcher<D> {
    let Settings { limits, access, bus: bus_limits, first_offset, server_id } = settings;
    let mut seeds = SmallRng::from_os_rng();
    let receipts = Receipts::new(seeds.next_u64());
    let (stats, log_stats) = (Arc::new(Stats::default()), Arc::new(LogStats::default()));
    let (producer, log) = bus(bus_limits, first_offset);
    let closed = producer.closed().boxed();
    let wiring = Wiring {
        settings: ReaderSettings::embedded(),
        seed: seeds.next_u64(),
        clock: runtime_time,
        gateways: Arc::new(Gateways::new(1)),
        receipts: receipts.clone(),
        interest: None,
        stats: stats.clone(),
        log_stats: log_stats.clone(),
    };
    let consume = Consume::new(log, door, wiring);
    let registry = Arc::new(EmbeddedRegistry::new(gateway.clone()));
    let ingress = Ingress::new(Arc::new(producer), gateway, receipts, stats, limits, access, server_id);
    let ingress = Arc::new(ingress);
    Dispatcher { ingress: ingress.clone(), registry, log_stats, carry: Carry { consume, ingress, closed } }
}
