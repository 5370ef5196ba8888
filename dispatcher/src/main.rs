//! The program `halley-dispatcher`: reads the command line, carries it out, says what went wrong. Everything else is in
//! the library beside it.

use std::process::ExitCode;

use halley_dispatcher::program::settings::Config;
use halley_dispatcher::program::{self, Rehearsal, help};
use halley_service::command_line::{self, Command, print, print_checked, refuse};
use halley_service::config::Schema as _;
use halley_service::config::reference::reference;
use halley_service::process;
use halley_service::signals::Early;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything else: whoever sends it does not know that we have only just begun.
    let early = Early::remember();
    let command = match command_line::parse::<Config>(&help::ABOUT, std::env::args_os(), std::env::vars_os()) {
        Ok(command) => command,
        Err(error) => return refuse(Config::PROGRAM, &error),
    };
    let done = match command {
        Command::Version => print(&format!("{} {}\n", Config::PROGRAM, env!("CARGO_PKG_VERSION"))),
        Command::DefaultConfig => print(&reference::<Config>()),
        Command::CheckConfig { sources, effective } => program::rehearse(&sources)
            .and_then(|Rehearsal { loaded, notes }| print_checked(&loaded, &notes, effective)),
        // The only one that it has.
        Command::Own { sources, .. } => program::check_kafka(&sources),
        Command::Run(sources) => program::run(sources, early),
    };
    process::end(Config::PROGRAM, done)
}
