//! The program `halley-gateway`: reads the command line, carries it out, says what went wrong. Everything else is in the
//! library beside it.

use std::io::Write as _;
use std::process::ExitCode;

use halley_gateway::cli::{self, Command};
use halley_gateway::config::{self, Sources, check, reference};
use halley_gateway::failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Names that are not Unicode are nobody's settings.
    let environment =
        std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
    let command = match cli::parse(std::env::args_os(), environment) {
        Ok(command) => command,
        Err(error) => error.exit(),
    };
    let done = match command {
        Command::Version => print(&format!("halley-gateway {}\n", env!("CARGO_PKG_VERSION"))),
        Command::DefaultConfig => print(&reference::reference()),
        Command::CheckConfig(sources) => check_config(&sources),
        Command::Run(sources) => check_config(&sources),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

/// To standard output. A reader that left early (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn check_config(sources: &Sources) -> Result<(), Failure> {
    let loaded = config::load(sources)?;
    check::check(&loaded.config)?;
    let from = match &loaded.file {
        Some(path) => path.display().to_string(),
        None => "the defaults, environment and flags".to_owned(),
    };
    print(&format!("configuration is right: {from}\n"))
}
