//! The program `halley-gateway`: reads the command line, carries it out, says what went wrong. Everything else is in
//! the library beside it.

use std::io::Write as _;
use std::process::ExitCode;

use halley_gateway::cli::{self, Command, PROGRAM};
use halley_gateway::config::Config;
use halley_gateway::node::{self, Rehearsal};
use halley_service::config::{Sources, effective, reference::reference};
use halley_service::failure::{Cause, Failure};
use halley_service::plain::Plain;
use halley_service::process;
use halley_service::signals::Early;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything else: whoever sends it does not know that we have only just begun.
    let early = Early::remember();
    let command = match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(command) => command,
        Err(error) => return refuse(&error),
    };
    let done = match command {
        Command::Version => print(&format!("halley-gateway {}\n", env!("CARGO_PKG_VERSION"))),
        Command::DefaultConfig => print(&reference::<Config>()),
        Command::CheckConfig { sources, effective } => check_config(&sources, effective),
        Command::Run(sources) => node::run(sources, early),
    };
    process::end(PROGRAM, done)
}

/// Print what clap has to say: help and version on standard output, a usage error on standard error.
fn refuse(error: &clap::Error) -> ExitCode {
    let printed = error.print().and_then(|()| std::io::stdout().flush());
    if error.use_stderr() {
        ExitCode::from(Cause::Usage.code())
    } else {
        process::end(PROGRAM, printed.or_else(unprinted))
    }
}

/// To standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).or_else(unprinted)
}

/// What a person asked to see could not be written. A reader that left early (`| head`) is no failure.
fn unprinted(error: std::io::Error) -> Result<(), Failure> {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(Failure::new(Cause::Runtime, format_args!("cannot write to standard output: {error}")))
}

/// Say whether the configuration is right, and show it if that is wanted: as a file, with what else there is to say in
/// comments.
fn check_config(sources: &Sources, show: bool) -> Result<(), Failure> {
    let Rehearsal { loaded, notes } = node::rehearse(sources)?;
    let comment = if show { "# " } else { "" };
    let mut text = format!("{comment}the configuration is right: {}\n", Plain(&loaded.origin));
    notes.iter().for_each(|note| text.push_str(&format!("{comment}note: {}\n", Plain(note))));
    if show {
        text.push_str(&effective(&loaded));
    }
    print(&text)
}
