//! Measures Halley: every number is a ratio of two programs that ran by turns on one host in one session, because
//! absolute numbers do not travel. Owns the scenarios, the baselines they are compared with, and the client side; takes
//! nothing from the gateway's own code, so that a fault there cannot hide here; only reading a log is the dispatcher's.
//! Reports go to `perf/results/`.

#![warn(unreachable_pub)]

use std::process::ExitCode;

mod baselines;
mod cli;
mod clients;
mod failure;
mod report;
mod scenarios;
mod server;
mod stats;
mod wire;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("halley-perf: {failure}");
            ExitCode::FAILURE
        }
    }
}
