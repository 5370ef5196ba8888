//! The gateway's process from start to end. Owns the order in which its parts are made, started and stopped; the parts
//! know nothing of each other but their rings and doors. Next step: `bound`, then `start`.
//!
//! | file | noun |
//! |---|---|
//! | `listeners` | every listening socket |
//! | `serving` | how many connections the servers of HTTP and gRPC may have |
//! | `bound`, `start` | what a start decides and binds; which thread gets which end |
//! | `wiring` | the rings and doorbells between the threads |
//! | `shards`, `services` | what runs on the threads |
//! | `reload` | what SIGHUP changes |
//! | `prepare`, `access` | a configuration with all that it names; who may ask for what |
//! | `notes` | what is no error and should be known |
//! | `announce`, `ready_file` | the start lines; the file for programs |

mod access;
mod announce;
mod bound;
mod listeners;
mod notes;
mod prepare;
mod ready_file;
mod reload;
mod services;
mod serving;
mod shards;
mod start;
mod wiring;

use std::io;
use std::time::Duration;

use halley_dispatcher::bus::kafka::check::{Verdict, check};
use halley_service::command_line::print;
use halley_service::failure::{Cause, Failure};
use halley_service::lifecycle::Phase;
use halley_service::signals::Early;
use halley_service::threads::runtime;
use halley_service::tls::certificates::TlsServer;
use halley_service::{log, notify, process};

use crate::cli::PROGRAM;
use crate::config::{Loaded, Sources};

use bound::Bound;
use prepare::Prepared;
use start::{Operator, Started, start};

/// How long the other threads may take to end after the first one has, or after a drain.
const END_WITHIN: Duration = Duration::from_secs(15);

/// Run the gateway until it is told to stop. Takes over the process's signals, of which `early` remembers the first
/// moments, and its panics.
pub fn run(mut sources: Sources, early: io::Result<Early>) -> Result<(), Failure> {
    let (_running, mut signals, wishes) = process::begin(early, PROGRAM)?;
    let Prepared { loaded: Loaded { config, origin, file, .. }, named, .. } = Prepared::read_at_start(&sources)?;
    // Found by itself, it is asked for from now on: if it goes, a reload changes nothing.
    sources.file = file.or(sources.file);
    let level = log::start(&config.log.level, config.log.format, reload::TARGET);
    signals.speak().map_err(|error| Failure::of_kernel("cannot start a thread for signals", &error))?;
    let notes = named.notes.clone();
    let (bound, mut listeners, ready_file) = Bound::new(config, named)?;
    let closed = listeners.take_closed();
    let Started { mut threads, lifecycle, opened } = start(&bound, listeners, Operator { sources, wishes, level })?;
    threads.wait_until_up()?;
    if let Some(doors) = closed {
        // The service manager goes on with what waits for us, and is shown what we wait for.
        notify::ready();
        threads.wait_until_open()?;
        doors.open()?;
        opened.send_replace(true);
    }
    lifecycle.enter(Phase::Serving);
    // Whoever reads the ready file may stop the process at once, and reload it once the service manager knows.
    signals.serve();
    let _ready_file = ready_file.write(&bound.addresses)?;
    notify::ready();
    signals.ready();
    announce::greet(&bound.config, &origin, &bound.placement, &bound.addresses, &notes);
    threads.wait_for_drain(&lifecycle, END_WITHIN)
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
    let mut notes = named.notes;
    notes.extend(bound::notes_of_files(&loaded.config));
    named.certificates.map(TlsServer::new).transpose().map_err(|error| Failure::new(Cause::Usage, error))?;
    Ok(Rehearsal { loaded, notes })
}

/// Try the cluster of the log from here and print what was seen, a line each; change nothing. Fails where something
/// does not work.
pub fn check_kafka(sources: &Sources) -> Result<(), Failure> {
    let Prepared { loaded: Loaded { config, .. }, named, .. } = Prepared::read_at_start(sources)?;
    if !config.kafka.is_used() {
        let sentence = "no cluster is configured: set kafka.brokers, such as --set kafka.brokers=kafka-1.example:9092";
        return Err(Failure::new(Cause::Usage, sentence));
    }
    let lines = runtime()?.block_on(check(config.kafka.client(named.kafka_password), config.kafka.needs(true)));
    print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    match lines.iter().filter(|line| line.verdict == Verdict::Error).count() {
        0 => Ok(()),
        errors => Err(Failure::new(
            Cause::Runtime,
            format_args!("the cluster is not as it must be, see {errors} above marked `error`"),
        )),
    }
}
