//! The program `halley-gateway`: reads the command line, carries it out, says what went wrong. Everything else is in
//! the library beside it.

use std::process::ExitCode;

use halley_gateway::cli::{self, Command, PROGRAM};
use halley_gateway::config::Config;
use halley_gateway::node::{self, Rehearsal};
use halley_service::command_line::{print, print_checked, refuse};
use halley_service::config::reference::reference;
use halley_service::process;
use halley_service::signals::Early;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything else: whoever sends it does not know that we have only just begun.
    let early = Early::remember();
    let command = match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(command) => command,
        Err(error) => return refuse(PROGRAM, &error),
    };
    let done = match command {
        Command::Version => print(&format!("halley-gateway {}\n", env!("CARGO_PKG_VERSION"))),
        Command::DefaultConfig => print(&reference::<Config>()),
        Command::CheckConfig { sources, effective } => {
            node::rehearse(&sources).and_then(|Rehearsal { loaded, notes }| print_checked(&loaded, &notes, effective))
        }
        // The only one that it has.
        Command::Own { sources, .. } => node::check_kafka(&sources),
        Command::Run(sources) => node::run(sources, early),
    };
    process::end(PROGRAM, done)
}
