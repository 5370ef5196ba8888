//! User-space instructions of a delivery, counted exactly by running the server under `valgrind --tool=callgrind`: virtual
//! machines seldom offer hardware counters. Owns the reckoning: two runs that differ in nothing but the number of rounds,
//! so that start, logins and idling cancel out.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::clients::drain::deliveries;
use crate::clients::fleet;
use crate::failure::{Doing, Failure, Result};
use crate::report::{self, Table};
use crate::scenarios::fanout::Shape;
use crate::scenarios::session::{Load, Session};
use crate::server::Program;
use crate::stats::{number, ratio};
use crate::wire::Transport;

/// How much of it.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Clients, all in one room. Every one is slow under the tool.
    #[arg(long, default_value_t = 500)]
    pub clients: u32,
    /// Rounds of the shorter run; the longer one has five times as many.
    #[arg(long, default_value_t = 10)]
    pub rounds: u64,
    /// How clients talk.
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    pub transport: Transport,
    /// Keep the longer run's profile of each program here, for `callgrind_annotate`.
    #[arg(long)]
    pub profiles: Option<PathBuf>,
}

/// Count for each program and each shape; returns the body of a report.
pub fn run(programs: &[Program], options: &Options) -> Result<String> {
    fleet::make_room_for(u64::from(options.clients))?;
    let mut table = Table::new(&["program", "shape", "instructions a delivery"]);
    for program in programs {
        for shape in [Shape::Unbatched, Shape::Batch8, Shape::Burst8] {
            let each = instructions_per_delivery(program, shape, options)?;
            report::progress(&format!("{program}, {}: {each:.0} instructions a delivery", shape.name()));
            table.row(&[program.to_string(), shape.name().to_owned(), format!("{each:.0}")]);
        }
    }
    Ok(format!(
        "User space alone, all threads, counted by callgrind: the difference of a run of {} and one of {} rounds to {} \
         clients over {:?}.\n\n{table}",
        options.rounds,
        5 * options.rounds,
        options.clients,
        options.transport
    ))
}

fn instructions_per_delivery(program: &Program, shape: Shape, options: &Options) -> Result<f64> {
    let short = count(program, shape, options, options.rounds)?;
    let long = count(program, shape, options, 5 * options.rounds)?;
    let between = deliveries(options.clients, 4 * options.rounds, shape.round());
    Ok(ratio(number(long) - number(short), number(between)))
}

/// Instructions of a whole run of `rounds` rounds, from start to end.
fn count(program: &Program, shape: Shape, options: &Options, rounds: u64) -> Result<u64> {
    let folder = TempDir::new().doing(|| "make a folder for profiles")?;
    let profile = folder.path().join("callgrind.out");
    let wrapper =
        ["valgrind".to_owned(), "--tool=callgrind".to_owned(), format!("--callgrind-out-file={}", profile.display())];
    let load = Load { transport: options.transport, clients: options.clients, round: shape.round(), window: 2 };
    let mut session = Session::open(program, load, &wrapper)?;
    session.measure(rounds)?;
    session.close()?;
    let text = std::fs::read_to_string(&profile).doing(|| format!("read {}", profile.display()))?;
    if let Some(keep) = &options.profiles {
        let name = match program {
            Program::BareRing => "bare-ring",
            Program::Gateway(_) => "gateway",
        };
        let kept = keep.join(format!("callgrind.{name}.{shape:?}"));
        std::fs::write(&kept, &text).doing(|| format!("write {}", kept.display()))?;
    }
    total(&text).ok_or_else(|| Failure::new("callgrind wrote no totals: did the server end by itself?"))
}

/// The instructions of a profile: `totals: N`, or `summary: N` in older versions.
fn total(profile: &str) -> Option<u64> {
    let line = profile.lines().rev().find_map(|line| line.strip_prefix("totals:").or(line.strip_prefix("summary:")))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_profile_is_its_first_number() {
        assert_eq!(total("events: Ir\nfn=main\n1 5\ntotals: 123456\n"), Some(123_456));
        assert_eq!(total("events: Ir Dr\nsummary: 77 8\n"), Some(77));
        assert_eq!(total("events: Ir\n"), None);
    }
}
