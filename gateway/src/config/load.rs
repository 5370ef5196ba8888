//! Filling the schema from its layers: defaults, file, environment, flags. Owns the order of the layers and the sentences about
//! what is wrong in the environment and on the command line; what the file says `file` reads, and `check` judges
//! settings in the light of others. A problem ends nothing: the next one is looked for, so that a person hears of all
//! at once.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::check;
use super::file;
use super::key::Key;
use super::nearest::{ALL, did_you_mean, guess, is_repeatable, nearest};
use super::problems::ConfigError;
use super::schema::{Config, find, keys};

/// The file that is read without being asked for, if it is there.
pub const FILE_NAME: &str = "halley.toml";
/// The variable that names the file. It is in [`Sources::environment`] only when it is not UTF-8.
pub const FILE_VARIABLE: &str = "HALLEY_CONFIG";

/// What is wrong with a secret that is empty, as the end of a sentence.
const EMPTY_SECRET: &str =
    "is empty: give it a value, or take it away (in the file, [] or \"\" says that there is none)";

/// Everything but the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that was asked for; `None` = [`FILE_NAME`] if it is there.
    pub file: Option<PathBuf>,
    /// Variables that begin with `HALLEY_`.
    pub environment: Vec<(OsString, OsString)>,
    /// From the command line, in the order in which they count.
    pub flags: Vec<Flag>,
    /// What on the command line could not be understood, a sentence each.
    pub mistakes: Vec<String>,
}

/// A setting from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Path of the setting, as the user wrote it.
    pub path: String,
    /// Its own flag, such as `--shards`; `None` if it was given by `--set`.
    pub flag: Option<String>,
    /// The value.
    pub text: String,
}

/// A loaded configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where they come from, for people: "halley.toml, environment and flags".
    pub origin: String,
    /// The file among them.
    pub file: Option<PathBuf>,
}

/// A configuration as far as it could be read.
#[derive(Debug)]
pub struct Draft {
    /// The settings; one with a wrong value has what the layers before it say.
    pub loaded: Loaded,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
    /// Which settings have the values that were meant.
    pub known: Known,
}

/// Which settings have the values that were meant. Of the others nothing can be said that would not be a mere
/// consequence.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Paths of settings whose values could not be read.
    wrong: Vec<String>,
    /// Paths of settings that seem to have been meant by names that do not exist.
    guessed: Vec<String>,
    /// Paths of settings that a layer gives; those in the file only if it could be read.
    given: Vec<String>,
    /// The file could not be read, or not as TOML: it may say anything about any setting.
    blind: bool,
}

impl Known {
    /// Whether each of these settings is known.
    pub fn all(&self, settings: &[&str]) -> bool {
        let is = |list: &[String], setting: &str| list.iter().any(|path| path == setting);
        let doubtful = |setting: &str| self.blind || is(&self.guessed, setting);
        settings.iter().all(|setting| !is(&self.wrong, setting) && (is(&self.given, setting) || !doubtful(setting)))
    }
}

impl Draft {
    /// Read all layers, and judge what they say together. Reads the file again on every call, so a reload is just
    /// another call.
    pub fn read(sources: &Sources) -> Draft {
        let mut draft = Draft::new(sources);
        if let Some(path) = draft.loaded.file.clone() {
            match file::read(&path) {
                Ok(text) => draft.apply_file(&text, &path.display().to_string()),
                Err(problem) => {
                    draft.problems.push(problem);
                    draft.known.blind = true;
                }
            }
        }
        draft.apply_sources(sources);
        draft.judge();
        draft
    }

    fn new(sources: &Sources) -> Draft {
        let nameless = sources.file.is_none() && sources.environment.iter().any(|(name, _)| name == FILE_VARIABLE);
        let file = match &sources.file {
            Some(path) => Some(path.clone()),
            // A link that leads nowhere is there, and is an error.
            None => Some(PathBuf::from(FILE_NAME)).filter(|path| !nameless && path.symlink_metadata().is_ok()),
        };
        let origin = origin(file.as_deref(), sources);
        let loaded = Loaded { config: Config::default(), origin, file };
        let known = Known { blind: nameless, ..Known::default() };
        Draft { loaded, problems: sources.mistakes.clone(), known }
    }

    /// The configuration, if nothing is wrong.
    pub fn finish(self) -> Result<Loaded, ConfigError> {
        ConfigError::unless_none(self.problems)?;
        Ok(self.loaded)
    }

    /// Adds what is wrong with the settings together. Says nothing of settings that are not known: that would be a
    /// consequence of what was said already.
    fn judge(&mut self) {
        let findings = check::findings(&self.loaded.config).into_iter();
        let founded = findings.filter(|finding| self.known.all(&finding.about));
        self.problems.extend(founded.map(|finding| finding.sentence));
    }

    fn apply_file(&mut self, text: &str, name: &str) {
        let contents = file::apply(&mut self.loaded.config, text, name, &mut self.problems);
        let file::Contents { wrong, guessed, given, blind } = contents;
        self.known = Known { wrong, guessed, given, blind: self.known.blind || blind };
    }

    fn apply_sources(&mut self, sources: &Sources) {
        for (name, text) in &sources.environment {
            self.apply_variable(name, text);
        }
        for flag in &sources.flags {
            self.apply_flag(flag);
        }
    }

    fn apply_variable(&mut self, name: &OsStr, text: &OsStr) {
        let Some(plain) = name.to_str() else {
            let shown = name.as_encoded_bytes().escape_ascii();
            self.problems.push(format!("the name of the environment variable {shown} is not UTF-8: remove it"));
            return;
        };
        let key = keys().find(|key| key.variable() == plain);
        let Some(text) = text.to_str() else {
            self.problems.push(format!("the value of the environment variable {plain} is not UTF-8: set it anew"));
            self.known.wrong.extend(key.map(|key| key.path()));
            return;
        };
        match key {
            Some(key) => self.set(&key.path(), text, |path| format!("environment variable {plain}: {path}")),
            None if is_service_link(plain, text) => {}
            None => {
                let variables: Vec<String> = keys().map(|key| key.variable()).collect();
                let guess = nearest_variable(plain, &variables);
                let meant = keys().filter(|key| guess.is_some_and(|guess| key.variable() == guess));
                self.known.guessed.extend(meant.map(|key| key.path()));
                self.problems.push(format!(
                    "environment variable {plain} names no setting{}",
                    guess.map(|guess| format!("; did you mean {guess}?")).unwrap_or_default()
                ));
            }
        }
    }

    fn apply_flag(&mut self, flag: &Flag) {
        let Flag { path, flag, text } = flag;
        if find(path).is_some() {
            let flag = flag.clone().unwrap_or_else(|| format!("--set {path}"));
            return self.set(path, text, |path| format!("{flag}: {path}"));
        }
        let paths: Vec<String> = keys().map(|key| key.path()).collect();
        let paths = || paths.iter().map(String::as_str);
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        let meant = nearest(path, paths());
        self.known.guessed.extend(meant.map(str::to_owned).or_else(|| Some(guess(section, name)?.path())));
        let hint = meant.map(|meant| format!("; did you mean {meant:?}?"));
        self.problems.push(if is_repeatable(path, paths()) {
            let hint = hint.unwrap_or_else(|| did_you_mean(section, name));
            format!("--set {path}: there is no setting {path:?}{hint}")
        } else {
            let hint = hint.unwrap_or_else(|| ALL.to_owned());
            format!(
                "--set: no setting has the name before the = (it is not repeated here, since it may be a secret){hint}"
            )
        });
    }

    /// Sets a setting that exists; `place` begins the sentence if that fails.
    fn set(&mut self, path: &str, text: &str, place: impl Fn(&str) -> String) {
        let Some(key) = find(path) else { return };
        let set = if text.trim().is_empty() && is_secret(key) {
            Err(vec![EMPTY_SECRET.to_owned()])
        } else {
            (key.set_text)(&mut self.loaded.config, text)
        };
        match set {
            // A later layer hides what an earlier one says, though that is still refused.
            Ok(()) => {
                self.known.wrong.retain(|wrong| wrong != path);
                self.known.given.push(path.to_owned());
            }
            Err(reasons) => {
                self.problems.extend(reasons.into_iter().map(|reason| format!("{} {reason}", place(path))));
                self.known.wrong.push(path.to_owned());
            }
        }
    }
}

/// Whether a setting is a secret, or names a file of secrets. Given from outside and empty, it is one that has not come where it
/// should, and "none" would open what it is to close.
fn is_secret(key: &Key) -> bool {
    key.secret || key.path().strip_suffix("_file").and_then(find).is_some_and(|of| of.secret)
}

/// Read all layers; every problem that there is, if there is one.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    Draft::read(sources).finish()
}

/// The layers, the file's text at hand, not judged together.
#[cfg(test)]
pub(super) fn from_text(text: &str, sources: &Sources) -> Result<Config, ConfigError> {
    let mut draft = Draft::new(sources);
    draft.apply_file(text, "test.toml");
    draft.apply_sources(sources);
    draft.finish().map(|loaded| loaded.config)
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

fn nearest_variable<'a>(name: &str, variables: &'a [String]) -> Option<&'a str> {
    let lower: Vec<String> =
        variables.iter().map(|variable| variable["HALLEY_".len()..].to_ascii_lowercase()).collect();
    let guess = nearest(name.strip_prefix("HALLEY_")?, lower.iter().map(String::as_str))?;
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
