//! How the settings are told of: the program's names, and the head of the reference file. Owns the schema that
//! `service` reads; the settings are `settings`', and what they say together is `check`'s.

use halley_service::config::Schema;
use halley_service::config::key::Section;
use halley_service::config::schema::Finding;

use super::check;
use super::settings::{Config, SECTIONS};

/// What stands before the first section of the reference file.
const REFERENCE_HEAD: &str = "\
# Halley dispatcher: every setting with its default. Remove the # before a setting to change it.
#
# Settings come from four places, later ones win:
#   1. the defaults below
#   2. a file like this one: --config FILE, or HALLEY_DISPATCHER_CONFIG=FILE, or halley-dispatcher.toml in the working
#      directory
#   3. environment variables: HALLEY_DISPATCHER_ and the name in capitals, a section before two underscores:
#      HALLEY_DISPATCHER_HTTP_LISTEN=127.0.0.1:3111  HALLEY_DISPATCHER_KAFKA__TOPIC=pushes  (lists separated by commas)
#   4. flags: --http-listen 127.0.0.1:3111 for settings before the first section, --set kafka.topic=pushes for any
#
# Bytes and times also take a unit, in quotes: \"64KiB\", \"10s\".
#
# `halley-dispatcher check-config` says everything that is wrong with a configuration, and what else should be known of
# it. Settings marked (reload) change on SIGHUP.
";

impl Schema for Config {
    const PROGRAM: &'static str = "halley-dispatcher";
    const VARIABLE_PREFIX: &'static str = "HALLEY_DISPATCHER_";
    const FILE_NAME: &'static str = "halley-dispatcher.toml";
    const EXAMPLE: &'static str = "kafka.topic=pushes";
    const REFERENCE_HEAD: &'static str = REFERENCE_HEAD;

    fn sections() -> &'static [Section<Config>] {
        SECTIONS
    }

    fn findings(&self) -> Vec<Finding> {
        check::findings(self)
    }
}
