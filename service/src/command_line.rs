//! The command line of a program. Owns the flags, which it makes of the settings' schema, the commands that every
//! program has, and what was asked for; runs nothing. Next step: `main` carries out the [`Command`].

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};

use crate::config::key::Key;
use crate::config::load::{Flag, Loaded, file_variable};
use crate::config::{Problem, Schema, Sources, effective};
use crate::failure::{Cause, Failure};
use crate::nearest::{is_repeatable, is_slip_of};
use crate::plain::Plain;
use crate::process;

/// What a program says of itself in its help.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// What it does, in a few lines.
    pub about: &'static str,
    /// Examples and what else stands after the flags, before signals and exit codes.
    pub examples: &'static str,
    /// What the program is, for sentences about it: "gateway".
    pub noun: &'static str,
    /// What it does when it is asked to stop, in lines of which all but the first begin with six blanks.
    pub stop: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Commands that it has besides those of every program: the name of each, and what it does. They take settings.
    pub commands: &'static [(&'static str, &'static str)],
}

impl About {
    /// What stands after the flags. Signals and exit codes mean the same for every program of ours.
    fn after(&self) -> String {
        let About { examples, noun, stop, .. } = self;
        format!(
            "\
{examples}

Signals:
  SIGTERM, SIGINT
      {stop}
  SIGHUP
      Read the configuration again and take over what needs no restart. One
      that comes while the {noun} starts is carried out when it is ready.
  SIGQUIT, SIGABRT
      Dump core and die, as after a fault of the program (SIGSEGV, SIGBUS,
      SIGILL, SIGFPE). Every other signal that would kill and that a program
      can refuse is ignored, with a line in the log.

Exit codes:
  0  asked to stop, or the command did its work
  1  something failed while running
  2  the command line or the configuration is wrong
  3  another process listens on an address of ours
  4  the kernel or the container does not allow what the {noun} needs"
        )
    }
}

/// What was asked for.
#[derive(Clone, Debug)]
pub enum Command {
    /// Run the program.
    Run(Sources),
    /// Say whether a configuration is right.
    CheckConfig {
        /// Where the settings come from.
        sources: Sources,
        /// Print the settings in force too.
        effective: bool,
    },
    /// A command of the program's own.
    Own {
        /// Its name.
        name: &'static str,
        /// Where the settings come from.
        sources: Sources,
    },
    /// Print the reference file.
    DefaultConfig,
    /// Print the version.
    Version,
}

/// Read the command line. `Err` is for clap to print: help and usage errors, which repeat nothing that may be a secret.
///
/// # Errors
/// Also `--help` and `--version`, as the library has it: [`refuse`] prints them.
pub fn parse<C: Schema>(
    about: &About,
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, clap::Error> {
    let command = || command::<C>(about);
    let matches = command().try_get_matches_from(arguments).map_err(|error| discreet(error, command()))?;
    Ok(match matches.subcommand() {
        Some(("default-config", _)) => Command::DefaultConfig,
        Some(("version", _)) => Command::Version,
        // Flags may stand before the command and after it.
        Some((name, flags)) => {
            let sources = sources::<C>(&[&matches, flags], environment);
            match about.commands.iter().find(|(own, _)| *own == name) {
                Some(&(name, _)) => Command::Own { name, sources },
                None => Command::CheckConfig { sources, effective: flags.get_flag("effective") },
            }
        }
        None => Command::Run(sources::<C>(&[&matches], environment)),
    })
}

/// The same error without words that may be secrets: who leaves out an `=` makes of a value an argument of its own.
fn discreet(error: clap::Error, mut command: clap::Command) -> clap::Error {
    let commands: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let flags: Vec<String> =
        command.get_arguments().filter_map(Arg::get_long).map(|long| format!("--{long}")).collect();
    let flags = || flags.iter().map(String::as_str).chain(["--help", "--version"]);
    let harmless = |kind: ContextKind, value: &ContextValue| match (kind, value) {
        (ContextKind::InvalidSubcommand, ContextValue::String(word)) => is_slip_of(word, commands.iter().copied()),
        // "--shards <NUMBER>", of one that we know; "-x", as clap shortens it; or something like "--colour".
        (ContextKind::InvalidArg, ContextValue::String(word)) => {
            let flag = word.split(' ').next().unwrap_or_default();
            flags().any(|known| known == flag)
                || (word.starts_with('-') && (word.chars().count() == 2 || is_repeatable(word, flags())))
        }
        (ContextKind::InvalidValue, ContextValue::String(word)) => word.is_empty(),
        _ => true,
    };
    if error.context().all(|(kind, value)| harmless(kind, value)) {
        return error;
    }
    let message = match error.kind() {
        ErrorKind::InvalidSubcommand => format!(
            "there is no such command (it is not repeated here, since it may be a secret): the commands are {}, a \
             configuration file is named by --config FILE, and a setting is given as --set SETTING=VALUE",
            commands.join(", ")
        ),
        ErrorKind::UnknownArgument => {
            "an argument was not expected (it is not repeated here, since it may be a secret): a configuration file \
             is named by --config FILE, and a setting is given as --set SETTING=VALUE"
                .to_owned()
        }
        _ => "an argument or a value of one was not expected (it is not repeated here, since it may be a secret)"
            .to_owned(),
    };
    command.error(error.kind(), message)
}

fn command<C: Schema>(about: &About) -> clap::Command {
    let settings = settings_arguments::<C>();
    clap::Command::new(C::PROGRAM)
        .about(about.about)
        .after_help(about.after())
        .version(about.version)
        .max_term_width(100)
        .disable_help_subcommand(true)
        .args(&settings)
        .subcommand(
            clap::Command::new("check-config")
                .about(
                    "Say everything that is wrong with the configuration, and what else should be known; change \
                     nothing",
                )
                .args(&settings)
                .arg(
                    Arg::new("effective")
                        .long("effective")
                        .action(ArgAction::SetTrue)
                        .help("Print the settings in force too, as a configuration file, without secrets"),
                ),
        )
        .subcommands(about.commands.iter().map(|&(name, about)| clap::Command::new(name).about(about).args(&settings)))
        .subcommand(
            clap::Command::new("default-config").about("Print a configuration file with every setting explained"),
        )
        .subcommand(clap::Command::new("version").about("Print the version"))
}

fn settings_arguments<C: Schema>() -> Vec<Arg> {
    let config = Arg::new("config")
        .long("config")
        .short('c')
        .value_name("FILE")
        .value_parser(ValueParser::path_buf())
        .help(format!("Configuration file [default: {}, if it is there]", C::FILE_NAME));
    let set = Arg::new("set")
        .long("set")
        .value_name("SETTING=VALUE")
        .action(ArgAction::Append)
        .help(format!("Any setting by its name in the file: --set {} (repeatable)", C::EXAMPLE));
    let own = C::keys().filter_map(|key| Some(own_argument(key, key.flag()?)));
    [config, set].into_iter().chain(own).collect()
}

fn own_argument<C: Schema>(key: &'static Key<C>, flag: String) -> Arg {
    let about: Vec<&str> = key.about.iter().map(|line| line.trim()).collect();
    let repeatable = if key.list { " (repeatable)" } else { "" };
    let default = key.value(&C::default());
    let default = match default.as_str() {
        "[]" | "\"\"" => String::new(),
        value => format!(" [default: {}]", value.trim_start_matches('[').trim_end_matches(']').replace('"', "")),
    };
    Arg::new(key.name)
        .long(flag)
        .value_name(key.place)
        // So that a number below 0 meets the sentence about its setting, not one about an unknown flag.
        .allow_negative_numbers(true)
        .action(if key.list { ArgAction::Append } else { ArgAction::Set })
        .help(format!("{}{repeatable}{default}", about.join(" ")))
}

fn sources<C: Schema>(matches: &[&ArgMatches], environment: impl IntoIterator<Item = (OsString, OsString)>) -> Sources {
    let file = matches.iter().find_map(|matches| matches.get_one::<PathBuf>("config"));
    let mut sources = Sources { file: file.cloned(), ..Sources::default() };
    for (name, text) in environment {
        if *name == *file_variable::<C>() && text.to_str().is_some() {
            if sources.file.is_none() && !text.is_empty() {
                sources.file = Some(text.into());
            }
        } else if name.as_encoded_bytes().starts_with(C::VARIABLE_PREFIX.as_bytes()) {
            sources.environment.push((name, text));
        }
    }
    for key in C::keys() {
        let Some(flag) = key.flag() else { continue };
        for values in matches.iter().filter_map(|matches| matches.get_many::<String>(key.name)) {
            let text = values.map(String::as_str).collect::<Vec<_>>().join(",");
            sources.flags.push(Flag { path: key.path(), flag: Some(format!("--{flag}")), text });
        }
    }
    for pair in matches.iter().filter_map(|matches| matches.get_many::<String>("set")).flatten() {
        match pair.split_once('=') {
            Some((path, text)) => {
                sources.flags.push(Flag { path: path.to_owned(), flag: None, text: text.to_owned() });
            }
            None => sources.mistakes.push(without_value::<C>(pair)),
        }
    }
    sources
}

/// What to say of a `--set` without `=`. Only the name of a setting is repeated: what follows it may be its secret
/// value.
fn without_value<C: Schema>(pair: &str) -> Problem {
    let end = pair.find(|letter: char| !letter.is_ascii_alphanumeric() && !"_.".contains(letter)).unwrap_or(pair.len());
    Problem::NoEquals { setting: C::find(&pair[..end]).map(Key::path), example: C::EXAMPLE }
}

/// Print what the library has to say: help and version on standard output, a usage error on standard error.
pub fn refuse(program: &'static str, error: &clap::Error) -> ExitCode {
    let printed = error.print().and_then(|()| std::io::stdout().flush());
    if error.use_stderr() {
        return ExitCode::from(Cause::Usage.code());
    }
    process::end(program, printed.or_else(unprinted))
}

/// Print what a person asked to see, on standard output.
///
/// # Errors
/// It cannot be written; a reader that left early (`| head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).or_else(unprinted)
}

fn unprinted(error: std::io::Error) -> Result<(), Failure> {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(Failure::new(Cause::Runtime, format_args!("cannot write to standard output: {error}")))
}

/// Say that a configuration is right, and what else should be known of it; with `show` as a file with its settings in
/// force, in which what is said stands in comments.
///
/// # Errors
/// As [`print()`].
pub fn print_checked<C: Schema>(loaded: &Loaded<C>, notes: &[String], show: bool) -> Result<(), Failure> {
    let comment = if show { "# " } else { "" };
    let mut text = format!("{comment}the configuration is right: {}\n", Plain(&loaded.origin));
    notes.iter().for_each(|note| text.push_str(&format!("{comment}note: {}\n", Plain(note))));
    if show {
        text.push_str(&effective(loaded));
    }
    print(&text)
}

/// The definition holds together, as far as the library can tell: for tests of a program.
///
/// # Panics
/// It does not.
pub fn assert_sound<C: Schema>(about: &About) {
    command::<C>(about).debug_assert();
}
