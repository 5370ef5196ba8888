//! Why the process ends otherwise than it was asked to. Owns the exit codes, and the form in which a person hears the
//! reason: one sentence a line, whatever stands in it. Decides nothing. Every part of a program makes these; its `main`
//! prints them.

use std::fmt;
use std::process::ExitCode;

use crate::plain::Plain;

/// What kind of failure, and so which exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Something that worked stopped working.
    Runtime,
    /// The command line or the configuration is wrong.
    Usage,
    /// Another process listens on one of our addresses.
    AddressInUse,
    /// The kernel, or the container around us, does not let us use what we need.
    Kernel,
}

impl Cause {
    /// The exit code, as `--help` lists it.
    pub const fn code(self) -> u8 {
        match self {
            Cause::Runtime => 1,
            Cause::Usage => 2,
            Cause::AddressInUse => 3,
            Cause::Kernel => 4,
        }
    }
}

/// One sentence for a person and an exit code for a program; of a configuration as many sentences as it has problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Kind of failure.
    pub cause: Cause,
    /// What is wrong and what to do, without a full stop; a line each.
    pub sentence: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(cause: Cause, sentence: impl fmt::Display) -> Failure {
        Failure { cause, sentence: Plain(sentence).to_string() }
    }

    /// The kernel did not give the process what it needs for itself; `what` cannot be done.
    pub fn of_kernel(what: &str, error: &std::io::Error) -> Failure {
        let reason = match error.raw_os_error() {
            Some(libc::EMFILE) => {
                "no file descriptor is left: raise the limit on open files (LimitNOFILE= in systemd, or \
                                   `ulimit -n`)"
                    .to_owned()
            }
            Some(libc::ENFILE) => "the system has no file descriptor left: raise fs.file-max".to_owned(),
            _ => error.to_string(),
        };
        Failure::new(Cause::Kernel, format_args!("{what}: {reason}"))
    }

    /// The configuration, or the command line, has these problems: a line each.
    pub fn of_problems(problems: impl IntoIterator<Item = impl fmt::Display>) -> Failure {
        let sentences: Vec<String> = problems.into_iter().map(|problem| Plain(problem).to_string()).collect();
        Failure { cause: Cause::Usage, sentence: sentences.join("\n") }
    }

    /// The same as `program` says it to a person.
    pub fn told_by(&self, program: &'static str) -> Told<'_> {
        Told { program, failure: self }
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.cause.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

/// A failure as a person reads it: each line begins with who speaks.
#[derive(Clone, Copy, Debug)]
pub struct Told<'f> {
    program: &'static str,
    failure: &'f Failure,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, sentence) in self.failure.sentence.lines().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}: {sentence}", self.program)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_a_line_and_every_problem_has_one() {
        let failure = Failure::new(Cause::Runtime, "a\nb\u{1b}[2J");
        assert_eq!(failure.told_by("halley").to_string(), "halley: a\\nb\\u{1b}[2J");
        let failure = Failure::of_problems(["one\nline", "another"]);
        assert_eq!(failure.told_by("halley").to_string(), "halley: one\\nline\nhalley: another");
        assert_eq!(failure.cause, Cause::Usage);
    }
}
