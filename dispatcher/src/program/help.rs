//! What the program says of itself: its help, which teaches by examples. Owns the words; the flags are made of the
//! settings by [`halley_service::command_line`].

use halley_service::command_line::About;

const PURPOSE: &str = "\
Takes pushes over HTTP and gRPC and puts them on the Kafka topic that all gateways read.
Each gateway takes pushes by itself; this is for who wants that on other machines than the ones that clients reach.";

const EXAMPLES: &str = "\
Examples:
  halley-dispatcher --set kafka.brokers=127.0.0.1:9092
      Take pushes for the gateways that read the same topic of these brokers.
  HALLEY_DISPATCHER_PUSH_TOKEN_FILE=/etc/halley/push halley-dispatcher --http-listen 10.0.0.5:3111 --insecure plain_http
      Let other machines of a private network push, with a token.
  halley-dispatcher default-config > halley-dispatcher.toml && halley-dispatcher check-config
      Begin a configuration file; halley-dispatcher.toml in the working directory is found by itself.
  halley-dispatcher check-kafka
      Say whether the brokers and the topic are as they must be, tried from here.
  curl -d 'hello' 'http://127.0.0.1:3111/goim/push/room?operation=1000&type=live&room=1'
      Push to a room through a running dispatcher.

Answers to a push:
  success    the topic holds it; every gateway will deliver it, in order
  503, 429   nothing of it will appear; push again, later or elsewhere
  504        nobody said in time whether the topic holds it: it appears once, or not at all

Settings, of which later ones win:
  a file (--config FILE, HALLEY_DISPATCHER_CONFIG=FILE, or halley-dispatcher.toml where it is started),
  variables (HALLEY_DISPATCHER_KAFKA__TOPIC=pushes), flags.
  A section stands before two underscores. Bytes and times may have their unit.
  default-config prints all of them, check-config --effective those in force.";

const STOP: &str = "\
Take no further push, answer those that were taken, then exit: at most
      kafka.publish_timeout_ms and 5 s later. A second one exits at once.";

const COMMANDS: &[(&str, &str)] =
    &[("check-kafka", "Say whether the cluster of the log is as it must be, tried from here; change nothing")];

/// For the command line.
pub const ABOUT: About = About {
    about: PURPOSE,
    examples: EXAMPLES,
    noun: "dispatcher",
    stop: STOP,
    version: env!("CARGO_PKG_VERSION"),
    commands: COMMANDS,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::settings::Config;

    #[test]
    fn the_definition_is_sound() {
        halley_service::command_line::assert_sound::<Config>(&ABOUT);
    }
}
