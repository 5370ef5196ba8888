//! The program `halley-dispatcher`: the ingress alone, for machines that clients do not reach. Owns the order in which
//! its parts are made, started and stopped; what a push is, and how the topic is written to, is the library's.
//!
//! | file | noun |
//! |---|---|
//! | `help` | what the command line says of it |
//! | `settings`, `schema`, `check` | every setting; how they are told of; what they say together |
//! | `prepare`, `access` | a configuration with all that it names; who may ask for what |
//! | `bound`, `start` | what is listened on; which thread gets what |
//! | `alone` | the ingress without a gateway |
//! | `doors`, `serving` | what is served where; to how many at once |
//! | `reload` | what SIGHUP changes |
//! | `announce` | the start lines |

mod access;
mod alone;
mod announce;
mod bound;
mod check;
mod doors;
pub mod help;
mod prepare;
mod reload;
mod schema;
mod serving;
pub mod settings;
mod start;

use std::io;
use std::time::Duration;

use halley_service::command_line::print;
use halley_service::config::{Loaded, Schema as _, Sources};
use halley_service::failure::{Cause, Failure};
use halley_service::lifecycle::Phase;
use halley_service::signals::Early;
use halley_service::threads::runtime;
use halley_service::{log, notify, open_files, process};

use bound::Bound;
use prepare::Prepared;
use settings::Config;
use start::{Operator, start};

use crate::bus::kafka::check::{Verdict, check as check_cluster};

/// How long the other thread may take to end after the first one has.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Run until told to stop. Takes over the process's signals, of which `early` remembers the first moments, and its
/// panics.
///
/// # Errors
/// The configuration, an address or the kernel does not let it run, or something that worked stopped working.
pub fn run(mut sources: Sources, early: io::Result<Early>) -> Result<(), Failure> {
    let (_running, mut signals, wishes) = process::begin(early, Config::PROGRAM)?;
    let Prepared { loaded: Loaded { config, origin, file, .. }, access, password, notes, .. } =
        Prepared::read_at_start(&sources)?;
    // Found by itself, it is asked for from now on: if it goes, a reload changes nothing.
    sources.file = file.or(sources.file);
    let level = log::start(&config.log.level, config.log.format, reload::TARGET);
    signals.speak().map_err(|error| Failure::of_kernel("cannot start a thread for signals", &error))?;
    let bound = Bound::new(&config)?;
    let lines = announce::greeting(&config, &origin, &bound, &notes);
    let (mut threads, lifecycle) = start(config, access, password, bound, Operator { sources, wishes, level })?;
    threads.wait_until_up()?;
    lifecycle.enter(Phase::Serving);
    signals.serve();
    notify::ready();
    signals.ready();
    announce::print(&lines);
    threads.wait_for_drain(&lifecycle, END_WITHIN)
}

/// Try the cluster from here and print what was seen, a line each; change nothing.
///
/// # Errors
/// Something does not work, or the configuration is wrong.
pub fn check_kafka(sources: &Sources) -> Result<(), Failure> {
    let Prepared { loaded: Loaded { config, .. }, password, .. } = Prepared::read_at_start(sources)?;
    let lines = runtime()?.block_on(check_cluster(config.kafka.client(password), config.kafka.needs(false)));
    print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    match lines.iter().filter(|line| line.verdict == Verdict::Error).count() {
        0 => Ok(()),
        errors => Err(Failure::new(
            Cause::Runtime,
            format_args!("the cluster is not as it must be, see {errors} above marked `error`"),
        )),
    }
}

/// A configuration that could run.
#[derive(Debug)]
pub struct Rehearsal {
    /// The settings, and where they come from.
    pub loaded: Loaded<Config>,
    /// What the start would say besides, a sentence each.
    pub notes: Vec<String>,
}

/// Say whether a configuration could run, as far as that can be seen without listening and without the brokers.
///
/// # Errors
/// Everything that is wrong with it.
pub fn rehearse(sources: &Sources) -> Result<Rehearsal, Failure> {
    let Prepared { loaded, mut notes, .. } = Prepared::read_at_start(sources)?;
    // A note in any case: the limit is that of who asks, not of whoever will run it.
    match serving::fit(&loaded.config, open_files::raise()) {
        Ok(fit) => notes.extend(fit.note.map(|note| note.to_string())),
        Err(too_few) => notes.push(too_few.to_string()),
    }
    Ok(Rehearsal { loaded, notes })
}
