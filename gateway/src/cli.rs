//! The command line. Owns the flags, which it makes of the settings' schema, the help, and what was asked for; runs nothing.
//! Next step: `main` carries out the [`Command`].

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches};

use crate::config::key::Key;
use crate::config::schema::{find, keys};
use crate::config::{Flag, Sources};

/// What was asked for.
#[derive(Clone, Debug)]
pub enum Command {
    /// Run the gateway.
    Run(Sources),
    /// Say whether a configuration is right.
    CheckConfig(Sources),
    /// Print the reference file.
    DefaultConfig,
    /// Print the version.
    Version,
}

const ABOUT: &str = "\
Holds clients' TCP and WebSocket connections and pushes messages to them: to a key, a user, a room, or everybody.
Speaks goim's formats, so goim's clients and jobs work with it unchanged.";

const EXAMPLES: &str = "\
Examples:
  halley-gateway
      Start a whole push service for this machine; the first lines say where the demo page is.
  halley-gateway --tcp-listen 0.0.0.0:3101 --ws-listen 0.0.0.0:3102 --insecure open_auth
      Let other machines connect, with goim's unsigned tokens.
  HALLEY_JWT__SECRET=... halley-gateway --ws-listen '[::]:3102' --auth jwt
      Let other machines connect, with signed tokens.
  halley-gateway default-config > halley.toml && halley-gateway check-config
      Begin a configuration file; halley.toml in the working directory is found by itself.
  halley-gateway --tcp-listen 127.0.0.1:0 --ready-file /run/halley.json
      Take a free port and say in a file which.
  curl -d 'hello' 'http://127.0.0.1:3111/goim/push/room?operation=1000&type=live&room=1'
      Push to a room of a running gateway.

Signals:
  SIGTERM, SIGINT  send clients away over drain_seconds, then exit: as a rule up to 5 s more, up to 30 s more if the bus
                   is full or a shard is stuck; a second one exits at once
  SIGHUP           read the configuration again and take over what needs no restart; one that comes while the gateway
                   starts is carried out as soon as it is ready
  SIGQUIT          dump core and die; every other signal that would kill is ignored, with a line in the log

Exit codes:
  0  asked to stop, or the command did its work
  1  something failed while running
  2  the command line or the configuration is wrong
  3  another process listens on an address of ours
  4  the kernel or the container does not allow what the gateway needs";

/// Read the command line. `Err` is for clap to print: help and usage errors.
pub fn parse(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Command, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    match matches.subcommand() {
        Some(("default-config", _)) => Ok(Command::DefaultConfig),
        Some(("version", _)) => Ok(Command::Version),
        // Flags may stand before the command and after it.
        Some((_, check)) => sources(&[&matches, check], environment).map(Command::CheckConfig),
        None => sources(&[&matches], environment).map(Command::Run),
    }
}

fn command() -> clap::Command {
    let settings = settings_arguments();
    clap::Command::new("halley-gateway")
        .about(ABOUT)
        .after_help(EXAMPLES)
        .version(env!("CARGO_PKG_VERSION"))
        .max_term_width(100)
        .disable_help_subcommand(true)
        .args(&settings)
        .subcommand(
            clap::Command::new("check-config")
                .about("Say whether the configuration is right, and change nothing")
                .args(&settings),
        )
        .subcommand(
            clap::Command::new("default-config").about("Print a configuration file with every setting explained"),
        )
        .subcommand(clap::Command::new("version").about("Print the version"))
}

fn settings_arguments() -> Vec<Arg> {
    let config = Arg::new("config")
        .long("config")
        .short('c')
        .value_name("FILE")
        .value_parser(ValueParser::path_buf())
        .help("Configuration file [default: halley.toml, if it is there]");
    let set = Arg::new("set")
        .long("set")
        .value_name("SETTING=VALUE")
        .action(ArgAction::Append)
        .help("Any setting by its name in the file: --set node.region=sh (repeatable)");
    let own = keys().filter_map(|key| Some(own_argument(key, key.flag()?)));
    [config, set].into_iter().chain(own).collect()
}

fn own_argument(key: &'static Key, flag: String) -> Arg {
    let about: Vec<&str> = key.about.iter().map(|line| line.trim()).collect();
    let repeatable = if key.list { " (repeatable)" } else { "" };
    let default = key.value(&crate::config::Config::default());
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

fn sources(
    matches: &[&ArgMatches],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Sources, clap::Error> {
    let file = matches.iter().find_map(|matches| matches.get_one::<PathBuf>("config"));
    let mut sources = Sources { file: file.cloned(), ..Sources::default() };
    for (name, text) in environment {
        match name.as_str() {
            "HALLEY_CONFIG" if sources.file.is_none() && !text.is_empty() => sources.file = Some(text.into()),
            "HALLEY_CONFIG" => {}
            other if other.starts_with("HALLEY_") => sources.environment.push((name, text)),
            _ => {}
        }
    }
    for key in keys() {
        let Some(flag) = key.flag() else { continue };
        for values in matches.iter().filter_map(|matches| matches.get_many::<String>(key.name)) {
            let text = values.map(String::as_str).collect::<Vec<_>>().join(",");
            sources.flags.push(Flag { path: key.path(), written: format!("--{flag}"), text });
        }
    }
    for pair in matches.iter().filter_map(|matches| matches.get_many::<String>("set")).flatten() {
        let (path, text) = pair.split_once('=').ok_or_else(|| {
            command()
                .error(ErrorKind::InvalidValue, format!("--set {pair}: write SETTING=VALUE, such as node.region=sh"))
        })?;
        // A secret given here is the user's choice, but it is not repeated in messages.
        let shown = if find(path).is_some_and(|key| key.secret) { path } else { pair };
        sources.flags.push(Flag { path: path.to_owned(), written: format!("--set {shown}"), text: text.to_owned() });
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn run(line: &str, environment: &[(&str, &str)]) -> Sources {
        let arguments = std::iter::once("halley-gateway").chain(line.split_whitespace()).map(Into::into);
        let environment = environment.iter().map(|&(name, text)| (name.to_owned(), text.to_owned()));
        match parse(arguments, environment) {
            Ok(Command::Run(sources)) => sources,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn flags_may_be_repeated_for_lists_and_win_over_the_environment() {
        let line = "--tcp-listen 127.0.0.1:1 --tcp-listen 127.0.0.1:2 --shards 3 --set node.region=sh";
        let sources = run(line, &[("HALLEY_SHARDS", "9"), ("HALLEY_NODE__ZONE", "z"), ("PATH", "/bin")]);
        let config = load(&sources).unwrap().config;
        assert_eq!(config.general.tcp_listen.len(), 2);
        assert_eq!(config.general.shards, 3);
        assert_eq!((config.node.region.as_str(), config.node.zone.as_str()), ("sh", "z"));
    }

    #[test]
    fn the_file_flag_wins_over_its_variable() {
        let variable = [("HALLEY_CONFIG", "/env")];
        assert_eq!(run("", &variable).file, Some("/env".into()));
        assert_eq!(run("--config /flag", &variable).file, Some("/flag".into()));
        assert_eq!(run("", &[("HALLEY_CONFIG", "")]).file, None);
    }

    #[test]
    fn flags_count_before_and_after_a_command() {
        let line = "halley-gateway --shards 3 check-config --max-connections 7 --config /file";
        match parse(line.split_whitespace().map(Into::into), []) {
            Ok(Command::CheckConfig(sources)) => {
                assert_eq!(sources.flags.len(), 2);
                assert_eq!(sources.file, Some("/file".into()));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_setting_without_value_is_a_usage_error() {
        let parse = |line: &str| parse(line.split_whitespace().map(Into::into), []);
        assert!(parse("halley-gateway --set node.region").unwrap_err().to_string().contains("write SETTING=VALUE"));
        assert!(parse("halley-gateway --shards 1 --shards 2").is_err());
        assert!(parse("halley-gateway --push-token x").is_err(), "ps would show it");
    }
}
