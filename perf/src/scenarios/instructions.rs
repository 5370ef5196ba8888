//! User-space instructions of a delivery, counted exactly and without hardware counters by stepping the server through
//! a few rounds. Owns the reckoning; the stepping is `server::stepping`'s. Of the gateway its shard is stepped: what
//! the other threads do for a push does not depend on how many clients get it. Time means nothing here: a stepped
//! server is a thousand times slower. So there is no burst here: the pushes of one would meet a shard that is done with
//! each before the next comes.

use std::time::Duration;

use crate::clients::drain::deliveries;
use crate::clients::fleet;
use crate::failure::Result;
use crate::report::{self, Table};
use crate::scenarios::fanout::Shape;
use crate::scenarios::session::{Load, Session};
use crate::server::Program;
use crate::server::stepping::Stepping;
use crate::stats::{number, ratio};
use crate::wire::Transport;

/// How long clients of a stepped server may wait for their next byte.
const SILENCE: Duration = Duration::from_secs(600);

/// How much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Clients, all in one room.
    #[arg(long, default_value_t = 300)]
    pub clients: u32,
    /// Rounds to step through.
    #[arg(long, default_value_t = 3)]
    pub rounds: u64,
    /// How clients talk.
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    pub transport: Transport,
}

/// Count for each program and each shape; returns the body of a report.
pub(crate) fn run(programs: &[Program], options: &Options) -> Result<String> {
    fleet::make_room_for(u64::from(options.clients))?;
    let mut table = Table::new(&["program", "shape", "instructions a delivery"]);
    for program in programs {
        for shape in [Shape::Unbatched, Shape::Batch8] {
            let each = instructions_per_delivery(program, shape, options)?;
            report::progress(&format!("{program}, {}: {each:.0} instructions a delivery", shape.name()));
            table.row(&[program.to_string(), shape.name().to_owned(), format!("{each:.0}")]);
        }
    }
    Ok(format!(
        "User space of the thread that sends, every instruction counted while {} rounds went to {} clients \
         over {:?}.\n\n{table}",
        options.rounds, options.clients, options.transport
    ))
}

fn instructions_per_delivery(program: &Program, shape: Shape, options: &Options) -> Result<f64> {
    let load = Load { transport: options.transport, clients: options.clients, round: shape.round(), window: 2 };
    let mut session = Session::open(program, load)?;
    session.allow_silence(SILENCE);
    let thread = match program {
        Program::BareRing => "",
        Program::Gateway(_) => "shard-",
    };
    let stepping = Stepping::start(session.server().pid(), thread)?;
    let delivered = session.deliver(options.rounds);
    let executed = stepping.stop();
    delivered?;
    let executed = executed?;
    session.close()?;
    Ok(ratio(number(executed), number(deliveries(options.clients, options.rounds, shape.round()))))
}
