//! The gateway's command line. Owns its help; the flags are made of the settings' schema by
//! [`halley_service::command_line`].

use std::ffi::OsString;

pub use halley_service::command_line::Command;
use halley_service::command_line::{self, About};

use crate::config::Config;
pub use crate::config::schema::PROGRAM;

const PURPOSE: &str = "\
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

Settings, of which later ones win:
  a file (--config FILE, HALLEY_CONFIG=FILE, or halley.toml where it is started),
  variables (HALLEY_DRAIN_SECONDS=10s, HALLEY_NODE__REGION=sh), flags.
  A section stands before two underscores. Bytes and times may have their unit.
  default-config prints all of them, check-config --effective those in force.";

const STOP: &str = "\
Send clients away over drain_seconds, then exit: as a rule up to 5 s
      more, up to 30 s more if the bus is full or a shard is stuck. With Kafka
      pushes under way are answered first, which takes kafka.publish_timeout_ms
      at most. A second one exits at once.";

/// The command that tries the cluster of the log.
pub const CHECK_KAFKA: &str = "check-kafka";

const COMMANDS: &[(&str, &str)] =
    &[(CHECK_KAFKA, "Try the Kafka cluster of the configuration from here and say what it lacks; change nothing")];

const ABOUT: About = About {
    about: PURPOSE,
    examples: EXAMPLES,
    noun: "gateway",
    stop: STOP,
    version: env!("CARGO_PKG_VERSION"),
    commands: COMMANDS,
};

/// Read the command line. `Err` is for clap to print: help and usage errors, which repeat nothing that may be a secret.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, clap::Error> {
    command_line::parse::<Config>(&ABOUT, arguments, environment)
}

#[cfg(test)]
mod tests {
    use halley_service::command_line::assert_sound;
    use halley_service::config::Sources;

    use super::*;
    use crate::config::{ConfigError, Loaded};

    fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        halley_service::config::load(sources)
    }

    fn sentences(error: &ConfigError) -> Vec<String> {
        error.problems().iter().map(ToString::to_string).collect()
    }

    fn run(line: &str, environment: &[(&str, &str)]) -> Sources {
        let arguments = std::iter::once("halley-gateway").chain(line.split_whitespace()).map(Into::into);
        let environment = environment.iter().map(|&(name, text)| (name.into(), text.into()));
        match parse(arguments, environment) {
            Ok(Command::Run(sources)) => sources,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        assert_sound::<Config>(&ABOUT);
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
            Ok(Command::CheckConfig { sources, .. }) => {
                assert_eq!(sources.flags.len(), 2);
                assert_eq!(sources.file, Some("/file".into()));
            }
            other => panic!("{other:?}"),
        }
    }

    /// A command of the gateway's own takes settings as the others do.
    #[test]
    fn the_cluster_is_checked_by_the_settings_in_force() {
        let line = "halley-gateway --set kafka.brokers=kafka:9092 check-kafka --set kafka.topic=pushes";
        match parse(line.split_whitespace().map(Into::into), []) {
            Ok(Command::Own { name: CHECK_KAFKA, sources }) => {
                let kafka = load(&sources).unwrap().config.kafka;
                assert_eq!((kafka.brokers.len(), kafka.topic.as_str()), (1, "pushes"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_setting_without_value_is_a_usage_error() {
        let parse = |line: &str| parse(line.split_whitespace().map(Into::into), []);
        assert!(parse("halley-gateway --shards 1 --shards 2").is_err());
        assert!(parse("halley-gateway --push-token x").is_err(), "ps would show it");
        let error = load(&run("--set node.region --set shards", &[])).unwrap_err();
        let sentence =
            |name: &str| format!("--set {name}: there is no = in it: write SETTING=VALUE, such as node.region=sh");
        assert_eq!(sentences(&error), [sentence("node.region"), sentence("shards")]);
    }

    /// Whatever slip puts a secret where none belongs, no message repeats it.
    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        let secrets = ["hunter", "Hunter2-0123456789", "c2VjcmV0IQ=="];
        let slips: [&[&str]; 34] = [
            &["--set", "push_tokn=SECRET"],
            &["--set", "push_token=SECRET", "--set", "push_token=\u{7}SECRET"],
            &["--set", "push_token", "SECRET"],
            &["--set", "push_token SECRET"],
            &["--set", "push_token: SECRET"],
            &["--set", "push_token:SECRET"],
            &["--set", "SECRET"],
            &["--set", "=SECRET"],
            &["--set", " push_token=SECRET"],
            &["--set", "push_token =SECRET"],
            &["--set", "secrets.push_token=SECRET"],
            &["--set", "jwt.secret", "SECRET"],
            &["--set", "jwt.secrets=SECRET"],
            &["--set", "jwt=SECRET"],
            &["--set", "push_token=SECRET", "SECRET"],
            &["--set=push_tokn=SECRET"],
            &["--set=push_token", "SECRET"],
            &["--push-token", "SECRET"],
            &["--push-token=SECRET"],
            &["--push_token=SECRET"],
            &["--jwt.secret=SECRET"],
            &["--jwt-secret", "SECRET"],
            &["--HALLEY_PUSH_TOKEN=SECRET"],
            &["HALLEY_PUSH_TOKEN=SECRET"],
            &["push_token=SECRET"],
            &["SECRET"],
            &["--", "SECRET"],
            &["-pSECRET"],
            &["-p=SECRET"],
            &["version", "SECRET"],
            &["check-config", "SECRET"],
            &["check-config", "--push-token=SECRET"],
            &["--version=SECRET"],
            &["--help=SECRET"],
        ];
        for (slip, secret) in slips.iter().flat_map(|slip| secrets.map(|secret| (slip, secret))) {
            let words = slip.iter().map(|word| OsString::from(word.replace("SECRET", secret)));
            let said = match parse(std::iter::once("halley-gateway".into()).chain(words), []) {
                Err(error) => error.to_string(),
                Ok(Command::Run(sources) | Command::CheckConfig { sources, .. } | Command::Own { sources, .. }) => {
                    load(&sources).map(drop).expect_err("a slip").to_string()
                }
                Ok(other) => panic!("{slip:?}: {other:?}"),
            };
            assert!(!said.contains(secret.trim_end_matches('=')), "{slip:?}: {said}");
            assert!(said.contains("error: ") || said.starts_with("--set"), "{slip:?}: {said}");
        }
    }

    #[test]
    fn names_are_repeated_so_that_a_slip_is_found() {
        let said = |line: &str| parse(line.split_whitespace().map(Into::into), []).unwrap_err().to_string();
        for (line, part) in [
            ("halley-gateway --tcp-listne 127.0.0.1:0", "'--tcp-listne'"),
            ("halley-gateway --colour red", "'--colour'"),
            ("halley-gateway check-confg", "'check-confg'"),
            ("halley-gateway -x", "'-x'"),
            ("halley-gateway --shards", "'--shards <NUMBER>'"),
        ] {
            assert!(said(line).contains(part), "{}", said(line));
        }
    }

    #[test]
    fn a_variable_that_is_no_text_is_named_and_its_value_is_not() {
        use std::os::unix::ffi::OsStringExt as _;
        let bytes = |text: &str| OsString::from_vec([text.as_bytes(), b"\xff"].concat());
        let environment = [
            ("HALLEY_PUSH_TOKEN".into(), bytes("hunter2-0123456789")),
            ("HALLEY_CONFIG".into(), bytes("/etc/halley")),
            ("HALLEY_UNHEARD_OF".into(), bytes("hunter2")),
            (bytes("HALLEY_SHARDS"), "2".into()),
            ("PATH".into(), bytes("/bin")),
            (bytes("OTHER"), "x".into()),
        ];
        let Ok(Command::Run(sources)) = parse(["halley-gateway".into()], environment) else { panic!("it parses") };
        let error = load(&sources).unwrap_err();
        assert_eq!(
            sentences(&error),
            [
                "the value of the environment variable HALLEY_PUSH_TOKEN is not UTF-8: set it anew",
                "the value of the environment variable HALLEY_CONFIG is not UTF-8: set it anew",
                "the value of the environment variable HALLEY_UNHEARD_OF is not UTF-8: set it anew",
                "the name of the environment variable HALLEY_SHARDS\\xff is not UTF-8: remove it",
            ]
        );
    }
}
