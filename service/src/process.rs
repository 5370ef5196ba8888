//! The process as a whole, from its first moment to its last. Owns what every end of it leaves to nobody: its own
//! files, and what panics have to tell. What happens between is the program's.

use std::io;
use std::process::ExitCode;

use crate::failure::{Cause, Failure};
use crate::signals::{Early, Signals, Wishes};
use crate::{own_files, panics};

/// Held as long as the program runs: whatever ends it, its threads ended or not, removes its own files first.
#[derive(Debug)]
pub struct Running(());

impl Drop for Running {
    fn drop(&mut self) {
        own_files::remove_all();
        panics::tell_now();
    }
}

/// Take over the process's signals, of which `early` remembers the first moments, and its panics.
///
/// # Errors
/// The kernel has no descriptor or thread left for it.
pub fn begin(early: io::Result<Early>, program: &'static str) -> Result<(Running, Signals, Wishes), Failure> {
    panics::end_process(program, Cause::Runtime.code().into(), own_files::remove_all);
    let taken = early.and_then(|early| Signals::take(&early, program, own_files::remove_all));
    let (signals, wishes) = taken.map_err(|error| Failure::of_kernel("cannot take signals over", &error))?;
    Ok((Running(()), signals, wishes))
}

/// What the process exits with; a failure is said on standard error.
pub fn end(program: &'static str, done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.told_by(program));
            failure.exit_code()
        }
    }
}
