//! Filling the schema from its layers: defaults, file, environment, flags. Owns the order of the layers and the sentences about
//! what is wrong, each with the place where it stood; judges no setting in the light of another, `check` does.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::schema::{Config, SECTIONS, find, keys};

/// Bytes of the longest configuration file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The file that is read without being asked for, if it is there.
pub const FILE_NAME: &str = "halley.toml";

/// Everything but the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that was asked for; `None` = [`FILE_NAME`] if it is there.
    pub file: Option<PathBuf>,
    /// Variables that begin with `HALLEY_`.
    pub environment: Vec<(String, String)>,
    /// Setting, how the flag was written, and the value given.
    pub flags: Vec<Flag>,
}

/// A setting from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Path of the setting, as the user wrote it.
    pub path: String,
    /// The flag as the user wrote it, for messages.
    pub written: String,
    /// The value.
    pub text: String,
}

/// What is wrong with a configuration, as one sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// A loaded configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where they come from, for people: "halley.toml, environment and flags".
    pub origin: String,
}

/// Read all layers. Reads the file again on every call, so a reload is just another call.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let file = match &sources.file {
        Some(path) => Some(path.clone()),
        None => Some(PathBuf::from(FILE_NAME)).filter(|path| path.exists()),
    };
    let mut config = Config::default();
    if let Some(path) = &file {
        apply_file(&mut config, &read(path)?, &path.display().to_string())?;
    }
    apply_sources(&mut config, sources)?;
    Ok(Loaded { config, origin: origin(file.as_deref(), sources) })
}

/// The layers that there are.
fn origin(file: Option<&Path>, sources: &Sources) -> String {
    let begin = file.map_or("defaults".to_owned(), |file| file.display().to_string());
    match (sources.environment.is_empty(), sources.flags.is_empty()) {
        (true, true) => begin,
        (false, true) => format!("{begin} and environment"),
        (true, false) => format!("{begin} and flags"),
        (false, false) => format!("{begin}, environment and flags"),
    }
}

/// As [`load`], with the file's text at hand.
#[cfg(test)]
pub(super) fn from_text(text: &str, sources: &Sources) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    apply_file(&mut config, text, "test.toml")?;
    apply_sources(&mut config, sources)?;
    Ok(config)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |reason: &dyn fmt::Display| {
        ConfigError(format!(
            "cannot read the configuration {}: {reason}; `halley-gateway default-config` prints one to begin with",
            path.display()
        ))
    };
    let bytes = halley_service::files::read(path, FILE_BYTES_MAX).map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|_| failed(&"it is not UTF-8"))
}

fn apply_file(config: &mut Config, text: &str, name: &str) -> Result<(), ConfigError> {
    let place = |span: Option<Range<usize>>| {
        let line =
            span.map(|span| 1 + text.as_bytes()[..span.start.min(text.len())].iter().filter(|&&b| b == b'\n').count());
        line.map(|line| format!("{name}, line {line}")).unwrap_or_else(|| name.to_owned())
    };
    let document = DeTable::parse(text).map_err(|error| {
        let reason = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
        ConfigError(format!("{}: not TOML: {reason}", place(error.span())))
    })?;
    for (key, value) in document.get_ref() {
        match value.get_ref() {
            DeValue::Table(table) if find(key.get_ref()).is_none() => {
                apply_section(config, key, table, &place)?;
            }
            value => apply_key(config, "", key, value, &place)?,
        }
    }
    Ok(())
}

fn apply_section(
    config: &mut Config,
    section: &Spanned<std::borrow::Cow<'_, str>>,
    table: &DeTable<'_>,
    place: &dyn Fn(Option<Range<usize>>) -> String,
) -> Result<(), ConfigError> {
    let name: &str = section.get_ref();
    if name.is_empty() || !SECTIONS.iter().any(|known| known.name == name) {
        let guess = nearest(name, SECTIONS.iter().map(|section| section.name).filter(|name| !name.is_empty()));
        return Err(ConfigError(format!(
            "{}: there is no section [{name}]{}",
            place(Some(section.span())),
            guess.map(|guess| format!("; did you mean [{guess}]?")).unwrap_or_default()
        )));
    }
    for (key, value) in table {
        apply_key(config, name, key, value.get_ref(), place)?;
    }
    Ok(())
}

fn apply_key(
    config: &mut Config,
    section: &str,
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: &DeValue<'_>,
    place: &dyn Fn(Option<Range<usize>>) -> String,
) -> Result<(), ConfigError> {
    let name: &str = key.get_ref();
    let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
    let known = find(&path).ok_or_else(|| {
        let scope = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
        ConfigError(format!(
            "{}: there is no setting {name:?}{scope}{}",
            place(Some(key.span())),
            did_you_mean(section, name)
        ))
    })?;
    (known.set_toml)(config, value)
        .map_err(|reason| ConfigError(format!("{}: {path} {reason}", place(Some(key.span())))))
}

/// A hint that names the nearest setting and, if it stands elsewhere, where.
fn did_you_mean(section: &str, name: &str) -> String {
    let here = nearest(name, keys().filter(|key| key.section == section).map(|key| key.name));
    let elsewhere = || {
        let guess = nearest(name, keys().map(|key| key.name))?;
        keys().find(|key| key.name == guess)
    };
    match (here, elsewhere()) {
        // The very name in another section is a better guess than a similar one in this.
        (_, Some(key)) if key.name == name && key.section != section => match key.section {
            "" => format!("; {name:?} stands before the first section"),
            other => format!("; {name:?} stands in the section [{other}]"),
        },
        (Some(guess), _) => format!("; did you mean {guess:?}?"),
        (None, Some(key)) => format!("; did you mean {:?}?", key.path()),
        (None, None) => "; `halley-gateway default-config` lists all".to_owned(),
    }
}

fn apply_sources(config: &mut Config, sources: &Sources) -> Result<(), ConfigError> {
    for (name, text) in &sources.environment {
        match keys().find(|key| key.variable() == *name) {
            Some(key) => (key.set_text)(config, text)
                .map_err(|reason| ConfigError(format!("environment variable {name}: {} {reason}", key.path())))?,
            None if is_service_link(name, text) => {}
            None => {
                let variables: Vec<String> = keys().map(|key| key.variable()).collect();
                let guess = nearest_variable(name, &variables);
                return Err(ConfigError(format!(
                    "environment variable {name} names no setting{}",
                    guess.map(|guess| format!("; did you mean {guess}?")).unwrap_or_default()
                )));
            }
        }
    }
    for flag in &sources.flags {
        let key = find(&flag.path).ok_or_else(|| {
            let (section, name) = flag.path.rsplit_once('.').unwrap_or(("", &flag.path));
            let paths: Vec<String> = keys().map(|key| key.path()).collect();
            let hint = match nearest(&flag.path, paths.iter().map(String::as_str)) {
                Some(guess) => format!("; did you mean {guess:?}?"),
                None => did_you_mean(section, name),
            };
            ConfigError(format!("{}: there is no setting {:?}{hint}", flag.written, flag.path))
        })?;
        (key.set_text)(config, &flag.text)
            .map_err(|reason| ConfigError(format!("{}: {} {reason}", flag.written, flag.path)))?;
    }
    Ok(())
}

fn nearest_variable<'a>(name: &str, variables: &'a [String]) -> Option<&'a str> {
    let lower: Vec<String> =
        variables.iter().map(|variable| variable["HALLEY_".len()..].to_ascii_lowercase()).collect();
    let guess = nearest(&name["HALLEY_".len()..], lower.iter().map(String::as_str))?;
    let index = lower.iter().position(|candidate| candidate == guess)?;
    Some(&variables[index])
}

/// Kubernetes tells every container the services beside it, so one named `halley` sets variables that are no settings.
fn is_service_link(name: &str, text: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme))
        || name.rsplit_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|digit: char| digit.is_ascii_digit()))
}
