//! The gateway's process from start to end. Owns the order in which its parts are made, started and stopped; the parts
//! know nothing of each other but their rings and doors. Next step: `shards` and `services`, on threads of their own.
//!
//! | file | noun |
//! |---|---|
//! | `listeners` | every listening socket |
//! | `serving` | how many connections the servers of HTTP and gRPC may have |
//! | `wiring` | the rings and doorbells between the threads |
//! | `shards`, `services` | what runs on the threads |
//! | `reload` | what SIGHUP changes |
//! | `prepare`, `access` | a configuration with all that it names; who may ask for what |
//! | `notes` | what is no error and should be known |
//! | `announce`, `ready_file` | the start lines; the file for programs |

mod access;
mod announce;
mod listeners;
mod notes;
mod prepare;
mod ready_file;
mod reload;
mod services;
mod serving;
mod shards;
mod wiring;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use halley_service::access::rules::AccessRules;
use halley_service::failure::{Cause, Failure};
use halley_service::health::Health;
use halley_service::lifecycle::{Lifecycle, Phase};
use halley_service::log::LogMetrics;
use halley_service::metrics::Metrics;
use halley_service::metrics::process::Process;
use halley_service::metrics::reloads::Reloads;
use halley_service::pulse::Pulse;
use halley_service::signals::Early;
use halley_service::threads::{Ended, Threads};
use halley_service::{log, notify, process};
use tokio::sync::watch;

use crate::cli::PROGRAM;
use crate::config::{Loaded, Sources, convert};
use crate::control::admin::Admin;
use crate::control::drain::Drain;
use crate::control::ends::Ends;
use crate::control::health::{self, CONTROL};
use crate::control::logins::LoginRules;
use crate::control::metrics;
use crate::feed::intake::Intake;
use crate::placement::{Machine, Wish, check_files, place};
use crate::standalone::Standalone;
use halley_service::tls::certificates::TlsServer;

use listeners::Listeners;
use prepare::{Named, Prepared};
use ready_file::ReadyFile;
use reload::{Reloader, Targets};
use services::{Control, Feed, Ingress};
use wiring::Wiring;

/// How long the other threads may take to end after the first one has, or after a drain.
const END_WITHIN: Duration = Duration::from_secs(15);

/// Run the gateway until it is told to stop. Takes over the process's signals, of which `early` remembers the first
/// moments, and its panics.
pub fn run(mut sources: Sources, early: io::Result<Early>) -> Result<(), Failure> {
    let (_running, mut signals, wishes) = process::begin(early, PROGRAM)?;
    let Prepared { loaded: Loaded { config, origin, file, .. }, named, .. } = Prepared::read_at_start(&sources)?;
    let Named { jwt, certificates, access, notes } = named;
    // Found by itself, it is asked for from now on: if it goes, a reload changes nothing.
    sources.file = file.or(sources.file);
    let level = log::start(&config.log.level, config.log.format, reload::TARGET);
    signals.speak().map_err(|error| Failure::of_kernel("cannot start a thread for signals", &error))?;
    let jwt = jwt.map(|rules| Arc::new(LoginRules::new(rules)));
    let tls = certificates.map(TlsServer::new).transpose().map_err(|error| Failure::new(Cause::Usage, error))?;
    let tls = tls.map(Arc::new);
    let general = &config.general;
    let wish = Wish { shards: general.shards, max_connections: general.max_connections, pin: general.pin_shards };
    let machine = Machine::detect();
    let mut placement = place(wish, &machine);
    let (clients, others) = listeners::count(&config);
    check_files(&machine, placement.shards.len(), clients, others)
        .map_err(|error| Failure::new(Cause::Kernel, error))?;
    let (servers, note) = serving::servers(&config, &machine, placement.shards.len(), AccessRules::new(access));
    placement.notes.extend(note);
    let ready_file = ReadyFile::prepare(&general.ready_file)?;
    let listeners = Listeners::bind(&config, placement.shards.len())?;
    ready_file.clear()?;
    let addresses = listeners.addresses().clone();
    let started = SystemTime::now();
    let started_ns = started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let started_ns = i64::try_from(started_ns).unwrap_or(i64::MAX);

    let (intake, requests) = Intake::new();
    let Wiring { shards: ends, feed: feed_ends, control: control_ends, handle } =
        Wiring::new(placement.shards.len())
            .map_err(|error| Failure::of_kernel("cannot make a doorbell between threads", &error))?;
    let shard_stats: Vec<_> = placement.shards.iter().map(|_| Arc::default()).collect();
    let (feed_stats, control_stats) = (Arc::default(), Arc::default());
    let reloads = Reloads::since(started);
    let lifecycle = Lifecycle::default();
    let serving = servers.serving.clone();
    let standalone =
        Standalone::new(&config, intake.clone(), addresses.bound(), started_ns, servers.access.clone(), &serving);
    let dispatcher = standalone.handle();
    let (ingress_pulse, ingress_beats) = Pulse::new();
    let (control_pulse, control_beats) = Pulse::new();
    let health = Health::new(
        health::others(handle.clone(), intake.clone()),
        vec![("ingress", ingress_pulse), (CONTROL, control_pulse)],
    );
    let metrics = Metrics::default()
        .with(Process::starts(env!("CARGO_PKG_VERSION")))
        .with(metrics::shards::Shards(shard_stats.clone()))
        .with(metrics::feed::Feed(Arc::clone(&feed_stats)))
        .with(metrics::control::Control(Arc::clone(&control_stats)))
        .with(dispatcher.metrics())
        .with(servers.clone())
        .with(metrics::certificates::Certificates(tls.clone()))
        .with(LogMetrics)
        .with(reloads.clone());
    let access = servers.access.clone();
    let admin = Admin::new(handle.clone(), intake.clone(), metrics, lifecycle.clone(), health.clone(), access.clone());
    let (stop, stopping) = watch::channel(false);
    let (bus_ended, bus_empty) = watch::channel(false);

    let mut threads = Threads::new(placement.shards.len() + 3);
    let (shard_sockets, services) = listeners.split();
    let doors = shard_sockets.doors();
    shards::start(&mut threads, &config, &placement, shard_sockets, ends, &shard_stats, tls.as_deref())?;
    let feed = Feed {
        ends: feed_ends,
        requests,
        limits: convert::directory_limits(&config),
        stats: feed_stats,
        stopping: stopping.clone(),
    };
    threads.spawn("feed", move |up| feed.run(up))?;
    let (router, calls) = (standalone.router(Arc::clone(&admin)), standalone.calls(intake.clone()));
    let ingress = Ingress {
        standalone,
        http: services.http,
        router,
        grpc: services.grpc,
        calls,
        servers: servers.clone(),
        pulse: ingress_beats,
        bus_ended,
        stopping: stopping.clone(),
    };
    threads.spawn("ingress", move |up| ingress.run(up))?;
    let reload_dispatcher = dispatcher.clone();
    let targets = Targets {
        control: handle.clone(),
        intake: intake.clone(),
        access,
        jwt: jwt.clone(),
        tls,
        ingress: Box::new(move |config| reload_dispatcher.reload(config, started_ns)),
        log_level: Box::new(move |text| level.set(text)),
        reloads,
    };
    let control = Control {
        ends: control_ends,
        handle: handle.clone(),
        jwt,
        stats: control_stats,
        admin,
        listeners: services.admin,
        servers,
        health,
        pulse: control_beats,
        ends_told: Ends::new(shard_stats),
        wishes,
        drain: Drain {
            control: handle,
            lifecycle: lifecycle.clone(),
            stop_ingress: Box::new(move || {
                serving.close_soon();
                dispatcher.stop();
            }),
            shut_doors: Box::new(move || doors.shut()),
            bus_empty,
        },
        reloader: Reloader::new(sources, config.clone(), targets),
        stop,
        stopping,
    };
    threads.spawn("control", move |up| control.run(up))?;

    threads.wait_until_up()?;
    lifecycle.enter(Phase::Serving);
    // Whoever reads the ready file may stop the process at once, and reload it once the service manager knows.
    signals.serve();
    let _ready_file = ready_file.write(&addresses)?;
    notify::ready();
    signals.ready();
    announce::greet(&config, &origin, &placement, &addresses, &notes);

    let Ended { name, result } = threads.wait_for_end();
    result?;
    if lifecycle.phase() != Phase::Draining {
        let sentence = format_args!("the {name} thread ended, which it never should; please report this");
        return Err(Failure::new(Cause::Runtime, sentence));
    }
    threads.wait_for_all(END_WITHIN);
    Ok(())
}

/// A configuration that could run.
#[derive(Debug)]
pub struct Rehearsal {
    /// The settings, and where they come from.
    pub loaded: Loaded,
    /// What the start would say besides, a sentence each.
    pub notes: Vec<String>,
}

/// Say whether a configuration could run, as far as that can be seen without listening: the files it names are read
/// too.
pub fn rehearse(sources: &Sources) -> Result<Rehearsal, Failure> {
    let Prepared { loaded, named, .. } = Prepared::read_at_start(sources)?;
    named.certificates.map(TlsServer::new).transpose().map_err(|error| Failure::new(Cause::Usage, error))?;
    Ok(Rehearsal { loaded, notes: named.notes })
}
