//! Filling the schema from its layers: defaults, file, environment, flags. Owns the order of the layers, and finding
//! what is wrong in the environment and on the command line. `file` reads the file; the schema judges settings in the
//! light of others. A problem ends nothing: the next one is looked for, so that a person hears of all at once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::file;
use super::guess::{Hint, guess};
use super::key::Key;
use super::problem::{ConfigError, Place, Problem};
use super::schema::Schema;
use super::value::{Fault, Faults};
use crate::nearest::{is_repeatable, nearest};

/// The variable that names the file: `HALLEY_CONFIG`. It is in [`Sources::environment`] only when it is not UTF-8.
pub fn file_variable<C: Schema>() -> String {
    format!("{}CONFIG", C::VARIABLE_PREFIX)
}

/// Everything but the defaults. What it holds may be secrets, so it shows only where they come from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file that was asked for; `None` = [`Schema::FILE_NAME`] if it is there.
    pub file: Option<PathBuf>,
    /// Variables that begin with the program's prefix.
    pub environment: Vec<(OsString, OsString)>,
    /// From the command line, in the order in which they count.
    pub flags: Vec<Flag>,
    /// What on the command line could not be understood.
    pub mistakes: Vec<Problem>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&OsString> = self.environment.iter().map(|(name, _)| name).collect();
        let flags: Vec<&str> = self.flags.iter().map(|flag| flag.path.as_str()).collect();
        let (file, mistakes) = (&self.file, self.mistakes.len());
        write!(f, "Sources {{ file: {file:?}, environment: {names:?}, flags: {flags:?}, mistakes: {mistakes} }}")
    }
}

/// A setting from the command line. Its value may be a secret.
#[derive(Clone, PartialEq, Eq)]
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
pub struct Loaded<C> {
    /// The settings.
    pub config: C,
    /// Where they come from, for people: "halley.toml, environment and flags".
    pub origin: String,
    /// The file among them.
    pub file: Option<PathBuf>,
    /// Which layer gave a setting its value, by its path; the defaults are not among them.
    pub layers: BTreeMap<String, Layer>,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The file.
    File,
    /// An environment variable.
    Environment,
    /// The command line.
    Flag,
}

/// A configuration as far as it could be read.
#[derive(Debug)]
pub struct Draft<C> {
    /// The settings; one with a wrong value has what the layers before it say.
    pub loaded: Loaded<C>,
    /// What is wrong.
    pub problems: Vec<Problem>,
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

impl<C: Schema> Draft<C> {
    /// Read all layers, and judge what they say together. Reads the file again on every call, so a reload is just
    /// another call.
    pub fn read(sources: &Sources) -> Draft<C> {
        let mut draft = Draft::new(sources);
        if let Some(path) = draft.loaded.file.clone() {
            match file::read::<C>(&path) {
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

    fn new(sources: &Sources) -> Draft<C> {
        let nameless =
            sources.file.is_none() && sources.environment.iter().any(|(name, _)| *name == *file_variable::<C>());
        let file = match &sources.file {
            Some(path) => Some(path.clone()),
            // A link that leads nowhere is there, and is an error.
            None => Some(PathBuf::from(C::FILE_NAME)).filter(|path| !nameless && path.symlink_metadata().is_ok()),
        };
        let origin = origin(file.as_deref(), sources);
        let loaded = Loaded { config: C::default(), origin, file, layers: BTreeMap::new() };
        let known = Known { blind: nameless, ..Known::default() };
        Draft { loaded, problems: sources.mistakes.clone(), known }
    }

    /// The configuration, if nothing is wrong.
    pub fn finish(self) -> Result<Loaded<C>, ConfigError> {
        ConfigError::unless_none(self.problems)?;
        Ok(self.loaded)
    }

    /// The settings and what they name, or everything that is wrong with either.
    ///
    /// # Errors
    /// Any problem at all.
    pub fn finish_with<T>(self, named: Result<T, ConfigError>) -> Result<(Loaded<C>, T), ConfigError> {
        match (self.finish(), named) {
            (Ok(loaded), Ok(named)) => Ok((loaded, named)),
            (Ok(_), Err(error)) | (Err(error), Ok(_)) => Err(error),
            (Err(error), Err(more)) => Err(error.and(more)),
        }
    }

    /// Adds what is wrong with the settings together. Says nothing of settings that are not known: that would be a
    /// consequence of what was said already.
    fn judge(&mut self) {
        let findings = self.loaded.config.findings().into_iter();
        let founded = findings.filter(|finding| self.known.all(&finding.about));
        self.problems.extend(founded.map(|finding| Problem::Together(finding.sentence)));
    }

    fn apply_file(&mut self, text: &str, name: &str) {
        let contents = file::apply(&mut self.loaded.config, text, name, &mut self.problems);
        let file::Contents { wrong, guessed, given, blind } = contents;
        self.loaded.layers.extend(given.iter().map(|path| (path.clone(), Layer::File)));
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
            let shown = name.as_encoded_bytes().escape_ascii().to_string();
            self.problems.push(Problem::VariableName { shown });
            return;
        };
        let key = C::keys().find(|key| key.variable(C::VARIABLE_PREFIX) == plain);
        let Some(text) = text.to_str() else {
            self.problems.push(Problem::VariableValue { name: plain.to_owned() });
            self.known.wrong.extend(key.map(|key| key.path()));
            return;
        };
        match key {
            Some(key) => self.set(key, text, Layer::Environment, || Place::Variable(plain.to_owned())),
            None if is_service_link(plain, text) => {}
            None => {
                let variables: Vec<String> = C::keys().map(|key| key.variable(C::VARIABLE_PREFIX)).collect();
                let meant = nearest_variable(plain, C::VARIABLE_PREFIX, &variables);
                let settings =
                    C::keys().filter(|key| meant.is_some_and(|meant| key.variable(C::VARIABLE_PREFIX) == meant));
                self.known.guessed.extend(settings.map(|key| key.path()));
                let meant = meant.map(str::to_owned);
                self.problems.push(Problem::NoVariable { name: plain.to_owned(), meant });
            }
        }
    }

    fn apply_flag(&mut self, flag: &Flag) {
        let Flag { path, flag, text } = flag;
        if let Some(key) = C::find(path) {
            let flag = flag.clone().unwrap_or_else(|| format!("--set {path}"));
            return self.set(key, text, Layer::Flag, || Place::Flag(flag.clone()));
        }
        let paths: Vec<String> = C::keys().map(|key| key.path()).collect();
        let paths = || paths.iter().map(String::as_str);
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        let meant = nearest(path, paths());
        self.known.guessed.extend(meant.map(str::to_owned).or_else(|| Some(guess::<C>(section, name)?.path())));
        let meant = meant.map(|meant| Hint::DidYouMean(meant.to_owned()));
        self.problems.push(if is_repeatable(path, paths()) {
            let hint = meant.unwrap_or_else(|| Hint::of::<C>(section, name));
            Problem::NoFlagSetting { name: Some(path.clone()), hint }
        } else {
            Problem::NoFlagSetting { name: None, hint: meant.unwrap_or(Hint::ListedBy(C::PROGRAM)) }
        });
    }

    /// Sets a setting; `place` is where it was given.
    fn set(&mut self, key: &Key<C>, text: &str, layer: Layer, place: impl Fn() -> Place) {
        let path = key.path();
        let set = if text.trim().is_empty() && is_secret(key) {
            Err(Faults::from(Fault::EmptySecret))
        } else {
            key.set_text(&mut self.loaded.config, text)
        };
        match set {
            // A later layer hides what an earlier one says, though that is still refused.
            Ok(()) => {
                self.known.wrong.retain(|wrong| *wrong != path);
                self.known.given.push(path.clone());
                self.loaded.layers.insert(path, layer);
            }
            Err(faults) => {
                let faults = faults.0.into_iter();
                let problem = |fault| Problem::Value { place: place(), setting: path.clone(), fault };
                self.problems.extend(faults.map(problem));
                self.known.wrong.push(path);
            }
        }
    }
}

/// Whether a setting is a secret, or names a file of secrets. Given from outside and empty, it is one that has not come
/// where it should, and "none" would open what it is to close.
fn is_secret<C: Schema>(key: &Key<C>) -> bool {
    key.secret || key.path().strip_suffix("_file").and_then(C::find).is_some_and(|of| of.secret)
}

/// Read all layers; every problem that there is, if there is one.
///
/// # Errors
/// All that is wrong, in the order of the layers.
pub fn load<C: Schema>(sources: &Sources) -> Result<Loaded<C>, ConfigError> {
    Draft::read(sources).finish()
}

/// The layers with the text of a file named `test.toml` at hand, not judged together: for tests of a schema.
///
/// # Errors
/// All that is wrong with single settings, in the order of the layers.
pub fn from_text<C: Schema>(text: &str, sources: &Sources) -> Result<C, ConfigError> {
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

fn nearest_variable<'a>(name: &str, prefix: &str, variables: &'a [String]) -> Option<&'a str> {
    let lower: Vec<String> = variables.iter().map(|variable| variable[prefix.len()..].to_ascii_lowercase()).collect();
    let guess = nearest(name.strip_prefix(prefix)?, lower.iter().map(String::as_str))?;
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
