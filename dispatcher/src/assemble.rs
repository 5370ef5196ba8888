//! Puts a dispatcher together. Owns the wiring of its parts for a process that holds the gateway itself (standalone):
//! ingress, the log, embedded or Kafka's, its reader, the registry. Starts nothing: the caller runs the reader and
//! serves the doors.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use halley_protocol::push::interest::Interest;
use halley_service::access::rules::AccessRules;
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};

use crate::bus::Depth;
use crate::bus::batch::Codec;
use crate::bus::embedded::{BusLimits, EmbeddedLog, bus};
use crate::bus::kafka::cluster::{Cluster, Counting};
use crate::bus::kafka::log::KafkaLog;
use crate::bus::kafka::produce::settings::Settings as ProducerSettings;
use crate::bus::kafka::producer::{Driver, KafkaProducer, producer};
use crate::bus::kafka::settings::Settings as ClientSettings;
use crate::consume::clock::{boot_time, runtime_time};
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

/// A log that others read and write too, and what this process reads and writes it by.
pub struct SharedLog {
    /// How the cluster is reached.
    pub client: ClientSettings,
    /// Bounds of what is written.
    pub producer: ProducerSettings,
    /// How batches are compressed.
    pub codec: Codec,
    /// Bounds of what is read.
    pub reader: ReaderSettings,
    /// How many gateways read it.
    pub gateways: Arc<Gateways>,
    /// Who is here: what concerns nobody is not decoded.
    pub interest: Arc<Interest>,
}

/// What is counted of a shared log besides what is counted of any.
#[derive(Clone)]
pub struct SharedCounts {
    /// The way into it.
    pub producer: KafkaProducer,
    /// The connections by which it is read.
    pub reading: Counting,
}

/// The parts of a dispatcher, to be run and served by the caller.
pub struct Dispatcher<D> {
    /// For [`crate::ingress::http`] and [`crate::ingress::grpc`].
    pub ingress: Arc<Ingress>,
    /// Who is online.
    pub registry: Arc<dyn Registry>,
    /// What is known of the log while it is read.
    pub log_stats: Arc<LogStats>,
    /// Of a log that is shared.
    pub shared: Option<SharedCounts>,
    /// To be run until it ends, where the log is shared: without it nothing is written.
    pub publish: Option<Driver>,
    /// To be run until it ends.
    pub carry: Carry<D>,
}

/// Reads one log or the other.
enum Reading<D> {
    Embedded(Box<Consume<EmbeddedLog, D>>),
    Kafka(Box<Consume<KafkaLog, D>>),
}

/// The way from the log to the gateway, before it is run.
pub struct Carry<D> {
    reading: Reading<D>,
    ingress: Arc<Ingress>,
    closed: BoxFuture<'static, ()>,
}

impl<D: Door> Carry<D> {
    /// Run until the gateway is gone, or: a log of our own until [`Ingress::stop`], and then until everything on it is
    /// delivered, for so long at most; a shared one until `stop` resolves, or until it could not be begun in time.
    /// Returns how it ended, and what is left on a log of our own: what is on a shared one is kept there.
    pub async fn run(self, drain_within: Duration, stop: impl Future<Output = ()> + Send) -> (Ended, Option<Depth>) {
        let Carry { reading, ingress, closed } = self;
        match reading {
            Reading::Embedded(consume) => {
                let ended = consume.run(closed.map(|()| End::Drain(drain_within))).await;
                (ended, Some(ingress.bus().depth()))
            }
            Reading::Kafka(consume) => (consume.run(stop.map(|()| End::Now)).await, None),
        }
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
    let carry = Carry { reading: Reading::Embedded(Box::new(consume)), ingress: ingress.clone(), closed };
    Dispatcher { ingress, registry, log_stats, shared: None, publish: None, carry }
}

/// A dispatcher before the gateway with this door, over a log that others have too.
pub fn kafka<D: Door>(settings: Settings, log: SharedLog, door: D, gateway: Arc<dyn Gateway>) -> Dispatcher<D> {
    let Settings { limits, access, server_id, .. } = settings;
    let mut seeds = SmallRng::from_os_rng();
    let receipts = Receipts::new(seeds.next_u64());
    let (stats, log_stats) = (Arc::new(Stats::default()), Arc::new(LogStats::default()));
    // Connections of their own: who reads waits long for each answer.
    let (bus, publish) = producer(log.producer, log.codec, Cluster::new(log.client.clone()));
    let wiring = Wiring {
        settings: log.reader,
        seed: seeds.next_u64(),
        clock: boot_time,
        gateways: log.gateways,
        receipts: receipts.clone(),
        interest: Some(log.interest),
        stats: stats.clone(),
        log_stats: log_stats.clone(),
    };
    let kafka_log = KafkaLog::new(log.client);
    let shared = Some(SharedCounts { producer: bus.clone(), reading: kafka_log.cluster().counting() });
    let reading = Reading::Kafka(Box::new(Consume::new(kafka_log, door, wiring)));
    let registry = Arc::new(EmbeddedRegistry::new(gateway.clone()));
    let ingress = Arc::new(Ingress::new(Arc::new(bus), gateway, receipts, stats, limits, access, server_id));
    let carry = Carry { reading, ingress: ingress.clone(), closed: std::future::pending().boxed() };
    Dispatcher { ingress, registry, log_stats, shared, publish: Some(publish), carry }
}
