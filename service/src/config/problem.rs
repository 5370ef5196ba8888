//! Everything that is wrong with a configuration. Owns the closed list of problems as data, and their sentences. A
//! sentence says where its problem stands and what to do. It never holds a value that was meant for a secret. `load`,
//! `file` and the program's own judgement find problems; so does whoever reads the files that a configuration names.

use std::fmt;

use crate::failure::Failure;
use crate::files::Late;

use super::guess::Hint;
use super::value::Fault;

/// Where something was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file.
    File {
        /// The file, for people.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// In an environment variable, of this name.
    Variable(String),
    /// On the command line: "--shards", or "--set node.region".
    Flag(String),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The file cannot be read.
    Unreadable {
        /// The file, for people.
        name: String,
        /// What the system says.
        reason: String,
        /// Whose reference file is one to begin with.
        program: &'static str,
    },
    /// A line is not TOML.
    NotToml {
        /// Where.
        place: Place,
        /// In the words of the TOML library, which repeat nothing.
        reason: String,
    },
    /// So much is wrong in a file that its other settings were not looked at.
    More {
        /// The file, for people.
        name: String,
        /// How many settings that are.
        count: usize,
    },
    /// There is no such section.
    NoSection {
        /// Where.
        place: Place,
        /// The name, as far as it may be shown.
        name: String,
        /// The section that was meant.
        meant: Option<&'static str>,
    },
    /// There is no such setting in the file.
    NoSetting {
        /// Where.
        place: Place,
        /// The name in quotes, as far as it may be shown.
        name: String,
        /// The section it stands in, empty before all sections.
        section: String,
        /// What was meant.
        hint: Hint,
    },
    /// A setting has a wrong value.
    Value {
        /// Where.
        place: Place,
        /// Path of the setting.
        setting: String,
        /// What is wrong with the value.
        fault: Fault,
    },
    /// The name of an environment variable is not UTF-8.
    VariableName {
        /// The name with its odd bytes escaped.
        shown: String,
    },
    /// The value of an environment variable is not UTF-8.
    VariableValue {
        /// The variable.
        name: String,
    },
    /// No setting has this environment variable.
    NoVariable {
        /// The variable.
        name: String,
        /// The one that was meant.
        meant: Option<String>,
    },
    /// `--set` names no setting.
    NoFlagSetting {
        /// The name; none if it may be a secret.
        name: Option<String>,
        /// What was meant.
        hint: Hint,
    },
    /// `--set` without `=`.
    NoEquals {
        /// Path of the setting, if it begins with one.
        setting: Option<String>,
        /// A setting with its value.
        example: &'static str,
    },
    /// Settings cannot stay together, in the program's words.
    Together(String),
    /// Something that the configuration names cannot be used, in the words of who reads it.
    Named(String),
    /// Reading the configuration, or what it names, takes too long.
    Late(Late),
    /// The reading before this one has not ended.
    StillReading {
        /// The file that it hangs on, for people.
        file: Option<String>,
    },
    /// There is no thread to read it.
    NoThread {
        /// What the system says.
        reason: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { name, line } => write!(f, "{name}, line {line}"),
            Place::Variable(name) => write!(f, "environment variable {name}"),
            Place::Flag(flag) => f.write_str(flag),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unreadable { name, reason, program } => write!(
                f,
                "cannot read the configuration {name}: {reason}; `{program} default-config` prints one to begin with"
            ),
            Problem::NotToml { place, reason } => write!(f, "{place}: not TOML: {reason}"),
            Problem::More { name, count } => {
                write!(f, "{name}: {count} more settings were not looked at: mend these first, or name another file")
            }
            Problem::NoSection { place, name, meant } => {
                write!(f, "{place}: there is no section [{name}]")?;
                meant.map_or(Ok(()), |meant| write!(f, "; did you mean [{meant}]?"))
            }
            Problem::NoSetting { place, name, section, hint } if section.is_empty() => {
                write!(f, "{place}: there is no setting {name}{hint}")
            }
            Problem::NoSetting { place, name, section, hint } => {
                write!(f, "{place}: there is no setting {name} in [{section}]{hint}")
            }
            Problem::Value { place, setting, fault } => write!(f, "{place}: {setting} {fault}"),
            Problem::VariableName { shown } => {
                write!(f, "the name of the environment variable {shown} is not UTF-8: remove it")
            }
            Problem::VariableValue { name } => {
                write!(f, "the value of the environment variable {name} is not UTF-8: set it anew")
            }
            Problem::NoVariable { name, meant } => {
                write!(f, "environment variable {name} names no setting")?;
                meant.as_ref().map_or(Ok(()), |meant| write!(f, "; did you mean {meant}?"))
            }
            Problem::NoFlagSetting { name: Some(name), hint } => {
                write!(f, "--set {name}: there is no setting {name:?}{hint}")
            }
            Problem::NoFlagSetting { name: None, hint } => write!(
                f,
                "--set: no setting has the name before the = (it is not repeated here, since it may be a secret){hint}"
            ),
            Problem::NoEquals { setting, example } => {
                let setting = setting.as_ref().map(|setting| format!(" {setting}")).unwrap_or_default();
                write!(f, "--set{setting}: there is no = in it: write SETTING=VALUE, such as {example}")
            }
            Problem::Together(sentence) | Problem::Named(sentence) => f.write_str(sentence),
            Problem::Late(late) => write!(f, "the configuration: {late}"),
            Problem::StillReading { file } => {
                let file = file.as_deref().unwrap_or("a file");
                write!(f, "{file}, read the last time, still does not answer: nothing was read")
            }
            Problem::NoThread { reason } => write!(f, "it cannot be read, for want of a thread: {reason}"),
        }
    }
}

/// The problems of a configuration that is refused: one at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Vec<Problem>);

impl ConfigError {
    /// Refuses if there is a problem.
    pub fn unless_none(problems: Vec<Problem>) -> Result<(), ConfigError> {
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    /// These and others.
    #[must_use]
    pub fn and(mut self, others: ConfigError) -> ConfigError {
        self.0.extend(others.0);
        self
    }

    /// All of them, in the order of the layers.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }

    /// The same, to be collected with others.
    pub fn into_problems(self) -> Vec<Problem> {
        self.0
    }
}

/// All of them on one line, as a log wants it.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> ConfigError {
        ConfigError(vec![problem])
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::of_problems(error.problems())
    }
}
