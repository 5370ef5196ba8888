//! The reference file: every setting with its meaning, bounds and default, as `default-config` prints it and
//! `gateway/halley.reference.toml` holds it. Made of the schema alone, so it cannot fall behind.

use std::fmt::Write as _;

use super::key::{Key, Reload};
use super::schema::{Config, SECTIONS};

const HEAD: &str = "\
# Halley gateway: every setting with its default. Remove the # before a setting to change it.
#
# Settings come from four places, later ones win:
#   1. the defaults below
#   2. a file like this one: --config FILE, or HALLEY_CONFIG=FILE, or halley.toml in the working directory
#   3. environment variables: HALLEY_ and the name in capitals, a section before two underscores:
#      HALLEY_TCP_LISTEN=127.0.0.1:3101  HALLEY_NODE__REGION=sh  (lists separated by commas)
#   4. flags: --tcp-listen 127.0.0.1:3101 for settings before the first section, --set node.region=sh for any
#
# `halley-gateway check-config` says everything that is wrong with a configuration, and what else should be known of it.
# Settings marked (reload) change on SIGHUP.
";

/// The whole file.
pub fn reference() -> String {
    let defaults = Config::default();
    let mut file = HEAD.to_owned();
    for section in SECTIONS {
        file.push('\n');
        for line in section.about {
            comment(&mut file, line);
        }
        if section.name.is_empty() {
            file.push('\n');
        } else {
            writeln!(file, "[{}]\n", section.name).expect("writing to a string");
        }
        for (index, key) in section.keys.iter().enumerate() {
            if index > 0 {
                file.push('\n');
            }
            for line in key.about {
                comment(&mut file, line);
            }
            if let Some(notes) = notes(key) {
                comment(&mut file, &notes);
            }
            writeln!(file, "#{} = {}", key.name, key.value(&defaults)).expect("writing to a string");
        }
    }
    file
}

/// Bounds and reload, in brackets.
fn notes(key: &Key) -> Option<String> {
    let bounds = key.bounds().map(|(low, high)| format!("({low} to {high})"));
    let reload = (key.reload == Reload::Live).then(|| "(reload)".to_owned());
    let notes: Vec<String> = bounds.into_iter().chain(reload).collect();
    (!notes.is_empty()).then(|| notes.join(" "))
}

fn comment(file: &mut String, line: &str) {
    writeln!(file, "# {}", line.trim()).expect("writing to a string");
}

#[cfg(test)]
mod tests {
    use super::super::load::{Sources, from_text};
    use super::super::schema::{Config, keys};
    use super::reference;

    /// The file with every `#` before a setting removed.
    fn switched_on() -> String {
        let setting = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).map(str::to_owned);
        let lines: Vec<String> = reference().lines().map(|line| setting(line).unwrap_or(line.to_owned())).collect();
        lines.join("\n")
    }

    #[test]
    fn the_reference_holds_every_setting_once_with_its_default() {
        let file = switched_on();
        for key in keys() {
            let line = format!("{} = {}", key.name, key.value(&Config::default()));
            assert!(file.lines().any(|found| found == line), "{line} is missing");
        }
        let settings = file.lines().filter(|line| !line.starts_with(['#', '[']) && !line.is_empty()).count();
        assert_eq!(settings, keys().count());
    }

    #[test]
    fn reading_the_reference_gives_the_defaults_as_it_is_and_switched_on() {
        assert_eq!(from_text(&reference(), &Sources::default()).unwrap(), Config::default());
        assert_eq!(from_text(&switched_on(), &Sources::default()).unwrap(), Config::default());
    }

    #[test]
    fn the_committed_reference_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/halley.reference.toml");
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(committed == reference(), "renew it: cargo run -- default-config > gateway/halley.reference.toml");
    }

    #[test]
    fn every_setting_is_explained() {
        for key in keys() {
            assert!(!key.about.is_empty(), "{key:?}");
        }
    }
}
