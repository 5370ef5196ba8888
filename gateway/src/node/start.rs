//! Starting the threads. Owns which thread gets which end of what they share; the threads hold those ends from then on,
//! and nothing of it stays here but what tells when they are up and when they end. Next step: `shards` and `services`.

use std::sync::Arc;

use halley_protocol::push::interest::Interest;
use halley_service::failure::Failure;
use halley_service::health::Health;
use halley_service::lifecycle::Lifecycle;
use halley_service::log::{Level, LogMetrics};
use halley_service::metrics::Metrics;
use halley_service::metrics::process::Process;
use halley_service::metrics::reloads::Reloads;
use halley_service::pulse::{Pulse, PulseSource};
use halley_service::serve::servers::AdminListener;
use halley_service::signals::Wishes;
use halley_service::threads::Threads;
use tokio::sync::watch;

use super::bound::Bound;
use super::listeners::{ClientDoors, Listeners};
use super::reload::{Reloader, Targets};
use super::services::{Control, Dispatch, Feed, Ingress};
use super::shards;
use super::wiring::{ControlEnds, Wiring};
use crate::config::{Sources, convert};
use crate::control::admin::Admin;
use crate::control::drain::{Bus, Drain, Publishing};
use crate::control::ends::Ends;
use crate::control::handle::ControlHandle;
use crate::control::health::{self, CONTROL};
use crate::control::metrics;
use crate::control::stats::ControlStats;
use crate::feed::intake::Intake;
use crate::feed::stats::FeedStats;
use crate::shard::stats::ShardStats;
use crate::standalone::{Shared as SharedLog, Standalone, StandaloneHandle};

/// Threads besides the shards: feed, ingress, dispatch, control.
const OTHER_THREADS: usize = 4;

/// How the operator reaches the process.
pub(super) struct Operator {
    /// Where a reload reads from.
    pub(super) sources: Sources,
    /// What signals ask for.
    pub(super) wishes: Wishes,
    /// Changes the level of log lines.
    pub(super) level: Level,
}

/// What several threads hold a part of.
struct Shared {
    control: ControlHandle,
    intake: Intake,
    dispatcher: StandaloneHandle,
    shard_stats: Vec<Arc<ShardStats>>,
    feed_stats: Arc<FeedStats>,
    control_stats: Arc<ControlStats>,
    reloads: Reloads,
    lifecycle: Lifecycle,
    health: Health,
}

/// What only control gets.
struct OfControl {
    ends: ControlEnds,
    listeners: Vec<AdminListener>,
    pulse: PulseSource,
    doors: ClientDoors,
    bus: Bus,
    stop_reading: watch::Sender<bool>,
    opened: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    stopping: watch::Receiver<bool>,
}

/// The threads of a process, started.
pub(super) struct Started {
    /// They.
    pub(super) threads: Threads,
    /// A phase of life that begins.
    pub(super) lifecycle: Lifecycle,
    /// To be told when the listeners listen, where they do not from the start.
    pub(super) opened: watch::Sender<bool>,
}

/// Start every thread.
pub(super) fn start(bound: &Bound, listeners: Listeners, operator: Operator) -> Result<Started, Failure> {
    let shards = bound.placement.shards.len();
    let (intake, requests) = Intake::new();
    let Wiring { shards: shard_ends, feed: feed_ends, control: ends, handle } =
        Wiring::new(shards).map_err(|error| Failure::of_kernel("cannot make a doorbell between threads", &error))?;
    let log = shared_log(bound);
    let interest = log.as_ref().map(|log| Arc::clone(&log.interest));
    let mut standalone = Standalone::new(
        &bound.config,
        intake.clone(),
        bound.addresses.bound(),
        bound.started_ns(),
        bound.servers.access.clone(),
        &bound.servers.serving,
        log,
    );
    let (ingress_pulse, ingress_beats) = Pulse::new();
    let (dispatch_pulse, dispatch_beats) = Pulse::new();
    let (control_pulse, pulse) = Pulse::new();
    let pulses = vec![("ingress", ingress_pulse), ("dispatch", dispatch_pulse), (CONTROL, control_pulse)];
    let shared = Shared::new(bound, handle, intake, standalone.handle(), pulses);
    let admin = shared.admin(bound);
    let (stop, stopping) = watch::channel(false);
    let (bus_ended, bus_empty) = watch::channel(false);
    let (published, answered) = watch::channel(false);
    let (open, opened) = watch::channel(false);

    let mut threads = Threads::new(shards + OTHER_THREADS);
    let (sockets, services) = listeners.split();
    let doors = sockets.doors();
    let (config, placement, tls) = (&bound.config, &bound.placement, bound.tls.as_deref());
    shards::start(&mut threads, config, placement, sockets, shard_ends, &shared.shard_stats, tls)?;
    let feed = Feed {
        ends: feed_ends,
        requests,
        limits: convert::directory_limits(config),
        interest,
        stats: Arc::clone(&shared.feed_stats),
        stopping: stopping.clone(),
    };
    threads.spawn("feed", move |up| feed.run(up))?;
    let ingress = Ingress {
        router: standalone.router(Arc::clone(&admin)),
        calls: standalone.calls(shared.intake.clone()),
        http: services.http,
        grpc: services.grpc,
        servers: bound.servers.clone(),
        publish: standalone.take_publish(),
        published,
        pulse: ingress_beats,
        stopping: stopping.clone(),
    };
    threads.spawn("ingress", move |up| ingress.run(up))?;
    let (stop_reading, reading_stopped) = watch::channel(false);
    let dispatch = Dispatch {
        standalone,
        lifecycle: bound.kafka.is_some().then(|| shared.lifecycle.clone()),
        pulse: dispatch_beats,
        bus_ended,
        stop_reading: reading_stopped,
        stopping: stopping.clone(),
    };
    threads.spawn("dispatch", move |up| dispatch.run(up))?;
    let (listeners, bus) = (services.admin, shared.bus(bound, bus_empty, answered));
    let own = OfControl { ends, listeners, pulse, doors, bus, stop_reading, opened, stop, stopping };
    let lifecycle = shared.lifecycle.clone();
    let control = shared.control(bound, own, admin, operator);
    threads.spawn("control", move |up| control.run(up))?;
    Ok(Started { threads, lifecycle, opened: open })
}

/// The log that others write and read too, where there is one, with the names of who is here for it.
fn shared_log(bound: &Bound) -> Option<SharedLog> {
    let client = bound.kafka.clone()?;
    // As many names as there may be connections: a user or a room is shared by several.
    let connections = bound.placement.shards.iter().map(|place| place.capacity as usize).sum();
    Some(SharedLog { client, interest: Arc::new(Interest::new(connections)) })
}

impl Shared {
    fn new(
        bound: &Bound,
        control: ControlHandle,
        intake: Intake,
        dispatcher: StandaloneHandle,
        pulses: Vec<(&'static str, Pulse)>,
    ) -> Shared {
        let health = Health::new(health::others(control.clone(), intake.clone()), pulses);
        Shared {
            control,
            intake,
            dispatcher,
            shard_stats: bound.placement.shards.iter().map(|_| Arc::default()).collect(),
            feed_stats: Arc::default(),
            control_stats: Arc::default(),
            reloads: Reloads::since(bound.started),
            lifecycle: Lifecycle::default(),
            health,
        }
    }

    /// The admin routes, which show the metrics of every part.
    fn admin(&self, bound: &Bound) -> Arc<Admin> {
        let metrics = Metrics::default()
            .with(Process::starts(env!("CARGO_PKG_VERSION")))
            .with(metrics::shards::Shards(self.shard_stats.clone()))
            .with(metrics::feed::Feed(Arc::clone(&self.feed_stats)))
            .with(metrics::control::Control(Arc::clone(&self.control_stats)))
            .with(self.dispatcher.metrics())
            .with(self.dispatcher.log_metrics())
            .with(self.dispatcher.shared_metrics())
            .with(bound.servers.clone())
            .with(metrics::certificates::Certificates(bound.tls.clone()))
            .with(LogMetrics)
            .with(self.reloads.clone());
        let (control, intake) = (self.control.clone(), self.intake.clone());
        let access = bound.servers.access.clone();
        Admin::new(control, intake, metrics, self.lifecycle.clone(), self.health.clone(), access)
    }

    /// What a drain waits for: that a log of our own is empty, or that every push on its way into a shared one is
    /// answered.
    fn bus(&self, bound: &Bound, empty: watch::Receiver<bool>, answered: watch::Receiver<bool>) -> Bus {
        if bound.kafka.is_none() {
            return Bus::Own(empty);
        }
        let dispatcher = self.dispatcher.clone();
        let waiting = Box::new(move || dispatcher.waiting());
        Bus::Shared(Publishing { answered, within_ms: bound.config.kafka.publish_timeout_ms, waiting })
    }

    /// The control thread, which gets what is left.
    fn control(self, bound: &Bound, own: OfControl, admin: Arc<Admin>, operator: Operator) -> Control {
        let Operator { sources, wishes, level } = operator;
        let (dispatcher, started_ns) = (self.dispatcher.clone(), bound.started_ns());
        let targets = Targets {
            control: self.control.clone(),
            intake: self.intake,
            access: bound.servers.access.clone(),
            jwt: bound.jwt.clone(),
            tls: bound.tls.clone(),
            ingress: Box::new(move |config| dispatcher.reload(config, started_ns)),
            log_level: Box::new(move |text| level.set(text)),
            reloads: self.reloads,
        };
        let (serving, dispatcher, doors) = (bound.servers.serving.clone(), self.dispatcher, own.doors);
        Control {
            ends: own.ends,
            handle: self.control.clone(),
            jwt: bound.jwt.clone(),
            stats: self.control_stats,
            admin,
            listeners: own.listeners,
            servers: bound.servers.clone(),
            health: self.health,
            pulse: own.pulse,
            ends_told: Ends::new(self.shard_stats),
            wishes,
            drain: Drain {
                control: self.control,
                lifecycle: self.lifecycle,
                stop_ingress: Box::new(move || {
                    serving.close_soon();
                    dispatcher.stop();
                }),
                shut_doors: Box::new(move || doors.shut()),
                bus: own.bus,
                stop_reading: Box::new(move || {
                    own.stop_reading.send_replace(true);
                }),
            },
            reloader: Reloader::new(sources, bound.config.clone(), targets),
            opened: own.opened,
            stop: own.stop,
            stopping: own.stopping,
        }
    }
}
