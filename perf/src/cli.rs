//! The command line: which scenario, on which programs, with what bounds. Owns the words that users type and read.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::baselines::bare_ring;
use crate::failure::{Failure, Result};
use crate::report;
use crate::scenarios::{backlog, fanout, instructions, latency, log_read, memory};
use crate::server::{CLIENT_CPU, Program, child, usage};

/// Measures Halley as ratios, by turns with a reference on the same host in the same minute.
#[derive(Debug, Parser)]
#[command(
    name = "halley-perf",
    version,
    color = clap::ColorChoice::Never,
    after_help = "Before anything else, build what is measured:\n  \
        cargo build --release -p halley-gateway -p halley-perf\n\n\
        Then, from the root of the repository:\n  \
        halley-perf fanout                        the gateway against the bare ring\n  \
        halley-perf noise                         the bare ring against itself: what a ratio means here\n  \
        halley-perf compare OLD NEW               two builds of the gateway against each other\n  \
        halley-perf memory                        bytes of an idle connection\n  \
        halley-perf instructions                  user-space instructions of a delivery\n  \
        halley-perf latency                       from a push over HTTP to its client, at steady rates\n  \
        halley-perf log-read                      records of a log that one core reads and filters\n  \
        halley-perf backlog                       how fast a gateway that was away catches up with Kafka\n\n\
        Servers run on CPU 0 and clients on CPU 1; close whatever else wants them. Everything is on loopback."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fan-out: deliveries per CPU-second of the gateway, as a share of the bare ring's.
    Fanout {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        options: fanout::Options,
        #[command(flatten)]
        common: Common,
    },
    /// Fan-out of the bare ring against itself: ratios this far from 1 mean nothing.
    Noise {
        #[command(flatten)]
        options: fanout::Options,
        #[command(flatten)]
        common: Common,
    },
    /// Fan-out of two builds of the gateway: above 1 the new one is better.
    Compare {
        /// The older build.
        old: PathBuf,
        /// The newer build.
        new: PathBuf,
        #[command(flatten)]
        options: fanout::Options,
        #[command(flatten)]
        common: Common,
    },
    /// User-space bytes of an idle, authenticated connection.
    Memory {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        options: memory::Options,
        #[command(flatten)]
        common: Common,
    },
    /// User-space instructions of a delivery, of the bare ring and of the gateway.
    Instructions {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        options: instructions::Options,
        #[command(flatten)]
        common: Common,
    },
    /// From a push over HTTP to its client, at steady rates, through an embedded log, Kafka, or a server that runs.
    Latency {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        options: latency::Options,
        #[command(flatten)]
        common: Common,
    },
    /// Records of a log that one core reads, checks and filters.
    LogRead {
        #[command(flatten)]
        options: log_read::Options,
        #[command(flatten)]
        common: Common,
    },
    /// Records a second that a gateway which was away brings from a Kafka topic to its shards.
    Backlog {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        options: backlog::Options,
        #[command(flatten)]
        common: Common,
    },
    /// The baseline as a process of its own; the scenarios start it themselves.
    BareRing(bare_ring::Options),
}

#[derive(Debug, Args)]
struct Subject {
    /// The gateway to measure; by default the one built beside this program.
    #[arg(long)]
    gateway: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Common {
    /// Write the report here too, as Markdown.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Give up, and end every started process, after this many seconds.
    #[arg(long, default_value_t = 1_800)]
    deadline_s: u64,
    /// Scheduling priority of everything that runs, as `nice` counts it; below 0 needs root and keeps others' work out.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    nice: i32,
}

/// Do what the command line says.
pub(crate) fn run() -> Result<()> {
    match Cli::parse().command {
        Command::BareRing(options) => bare_ring::run(&options),
        Command::Fanout { subject, options, common } => {
            let contest = fanout::Contest { subject: subject.program()?, reference: Program::BareRing };
            common.measured("Fan-out against the bare ring", || fanout::run(&contest, &options))
        }
        Command::Noise { options, common } => {
            let contest = fanout::Contest { subject: Program::BareRing, reference: Program::BareRing };
            common.measured("Noise: the bare ring against itself", || fanout::run(&contest, &options))
        }
        Command::Compare { old, new, options, common } => {
            let contest = fanout::Contest { subject: Program::Gateway(new), reference: Program::Gateway(old) };
            common.measured("Fan-out of two builds", || fanout::run(&contest, &options))
        }
        Command::Memory { subject, options, common } => {
            let gateway = subject.path()?;
            common.measured("Memory of an idle connection", || memory::run(&gateway, &options))
        }
        Command::Instructions { subject, options, common } => {
            let programs = [Program::BareRing, subject.program()?];
            common.measured("User-space instructions of a delivery", || instructions::run(&programs, &options))
        }
        Command::Latency { subject, options, common } => {
            let gateway = subject.path()?;
            common.measured("Latency of a push", || latency::run(&gateway, &options))
        }
        Command::Backlog { subject, options, common } => {
            let gateway = subject.path()?;
            common.measured("Catching up with a log", || backlog::run(&gateway, &options))
        }
        Command::LogRead { options, common } => common.measured("Reading the log", || log_read::run(&options)),
    }
}

impl Subject {
    fn path(self) -> Result<PathBuf> {
        if let Some(path) = self.gateway {
            return Ok(path);
        }
        let own = std::env::current_exe().map_err(|_| Failure::new("name the gateway with --gateway"))?;
        let gateway = own.with_file_name("halley-gateway");
        // Reports name it as somebody in the repository would.
        let here = std::env::current_dir().ok().and_then(|here| Some(gateway.strip_prefix(here).ok()?.to_path_buf()));
        // A bare name would be looked for elsewhere.
        Ok(here.filter(|path| path.components().count() > 1).unwrap_or(gateway))
    }

    fn program(self) -> Result<Program> {
        Ok(Program::Gateway(self.path()?))
    }
}

impl Common {
    /// Run a scenario within its bounds and publish its report.
    fn measured(&self, title: &str, scenario: impl FnOnce() -> Result<String>) -> Result<()> {
        report::note_start();
        if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() <= CLIENT_CPU) {
            return Err(Failure::new("measuring needs two CPUs: one for the server, one for its clients"));
        }
        child::watch(Duration::from_secs(self.deadline_s))?;
        usage::set_nice(self.nice)?;
        usage::pin_to_cpu(CLIENT_CPU)?;
        let body = scenario()?;
        report::publish(title, &body, self.output.as_deref())
    }
}
