//! User-space memory of an idle, authenticated connection: the gateway's proportional set size with all clients logged
//! in, less that of the same build set up for one connection, divided by the clients. All of it counts, directory
//! included. Owns the reckoning; the kernel's own memory (sockets) is not in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::clients::fleet::{self, Plan};
use crate::failure::{Failure, Result};
use crate::report::{self, Table};
use crate::server::usage::Memory;
use crate::server::{Program, Server, Setup};
use crate::stats::{Spread, number, ratio};
use crate::wire::{Round, Transport};

/// Readings that must agree before memory counts as settled, one every [`READING`].
const SETTLED_READINGS: u32 = 6;
/// Between two readings.
const READING: Duration = Duration::from_millis(500);
/// Settling ends here, settled or not.
const SETTLING: Duration = Duration::from_secs(20);
/// Mappings that are reported by name.
const MAPPINGS_SHOWN: usize = 12;
/// Nothing is pushed; servers are started with a round all the same.
const NO_ROUND: Round = Round { pushes: 1, frames_per_push: 1, body_bytes: 0 };

/// How much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Idle clients, each with a key of 36 bytes, a mid and a room.
    #[arg(long, default_value_t = 15_000)]
    pub clients: u32,
    /// Clients in each room.
    #[arg(long, default_value_t = 100)]
    pub room_members: u32,
    /// Repetitions; each starts the gateway twice.
    #[arg(long, default_value_t = 3)]
    pub repetitions: u32,
    /// Shards of the gateway.
    #[arg(long, default_value_t = 1)]
    pub shards: u32,
    /// How clients talk.
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    pub transport: Transport,
}

/// One repetition.
struct Weighed {
    /// Set up for one connection, which is there and logged in.
    one: Memory,
    /// All clients are there and logged in.
    all: Memory,
}

impl Weighed {
    fn bytes_per_client(&self, clients: u32) -> f64 {
        ratio(number(self.all.pss_bytes) - number(self.one.pss_bytes), f64::from(clients))
    }
}

/// Weigh one build; returns the body of a report.
pub(crate) fn run(gateway: &Path, options: &Options) -> Result<String> {
    fleet::make_room_for(u64::from(options.clients))?;
    let program = Program::Gateway(gateway.to_path_buf());
    let mut weighed = Vec::new();
    for repetition in 1..=options.repetitions {
        let one = weigh(&program, options, 1)?;
        let all = weigh(&program, options, options.clients)?;
        let weighing = Weighed { one, all };
        report::progress(&format!(
            "repetition {repetition} of {}: {:.1} bytes a connection",
            options.repetitions,
            weighing.bytes_per_client(options.clients)
        ));
        weighed.push(weighing);
    }
    describe(&program, options, &weighed)
}

/// Memory with `clients` logged in to a gateway that is set up for as many.
fn weigh(program: &Program, options: &Options, clients: u32) -> Result<Memory> {
    let setup =
        Setup { transport: options.transport, shards: options.shards, connections_max: clients, settings: Vec::new() };
    let mut server = Server::start(program, &setup, NO_ROUND)?;
    let plan =
        Plan { address: server.address()?, transport: options.transport, clients, room_members: options.room_members };
    let streams = fleet::connect(&plan)?;
    let memory = settled(&mut server)?;
    drop(streams);
    Ok(memory)
}

/// Memory once it stopped changing.
fn settled(server: &mut Server) -> Result<Memory> {
    let deadline = Instant::now() + SETTLING;
    let mut memory = Memory::of(server.pid())?;
    let mut agreeing = 0;
    while agreeing < SETTLED_READINGS && Instant::now() < deadline {
        std::thread::sleep(READING);
        server.check()?;
        let now = Memory::of(server.pid())?;
        agreeing = if now.pss_bytes == memory.pss_bytes { agreeing + 1 } else { 0 };
        memory = now;
    }
    Ok(memory)
}

fn describe(program: &Program, options: &Options, weighed: &[Weighed]) -> Result<String> {
    let samples: Vec<f64> = weighed.iter().map(|weighing| weighing.bytes_per_client(options.clients)).collect();
    let spread = Spread::of(&samples).ok_or_else(|| Failure::new("ask for at least one repetition"))?;
    let mut text = format!(
        "{program}, {} shards, {} clients over {:?}, {} to a room.\n\n\
         **{:.0} bytes a connection** (median of {}; smallest {:.0}, largest {:.0})\n\n",
        options.shards,
        options.clients,
        options.transport,
        options.room_members,
        spread.median,
        weighed.len(),
        spread.min,
        spread.max
    );
    let mut table = Table::new(&["repetition", "set up for 1, KiB", "all clients, KiB", "bytes a connection"]);
    for (index, weighing) in weighed.iter().enumerate() {
        table.row(&[
            (index + 1).to_string(),
            (weighing.one.pss_bytes / 1024).to_string(),
            (weighing.all.pss_bytes / 1024).to_string(),
            format!("{:.1}", weighing.bytes_per_client(options.clients)),
        ]);
    }
    text.push_str(&table.to_string());
    if let Some(last) = weighed.last() {
        text.push_str(&format!("\nWhere it is, in the last repetition:\n\n{}", by_mapping(last, options.clients)));
    }
    Ok(text)
}

/// Where memory grew, most first.
fn by_mapping(weighing: &Weighed, clients: u32) -> Table {
    let of = |memory: &Memory, name: &str| number(memory.mappings.get(name).copied().unwrap_or(0));
    let names: BTreeSet<&String> = weighing.one.mappings.keys().chain(weighing.all.mappings.keys()).collect();
    let mut grown: Vec<(&String, f64)> =
        names.iter().map(|name| (*name, of(&weighing.all, name) - of(&weighing.one, name))).collect();
    grown.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    let mut table = Table::new(&["mapping", "set up for 1, KiB", "all clients, KiB", "bytes a connection"]);
    for (name, bytes) in grown.into_iter().filter(|(_, bytes)| *bytes != 0.0).take(MAPPINGS_SHOWN) {
        table.row(&[
            // A file's name says enough.
            name.rsplit('/').next().unwrap_or(name).to_owned(),
            format!("{:.0}", of(&weighing.one, name) / 1024.0),
            format!("{:.0}", of(&weighing.all, name) / 1024.0),
            format!("{:.1}", ratio(bytes, f64::from(clients))),
        ]);
    }
    table
}
