//! What is wrong with a configuration: all of it. Owns the list in which it is collected; each problem is one sentence
//! that says where it stands and what to do, and never holds a value that was meant for a secret. `load`, `file` and
//! `check` find problems, and so do those who read the files that a configuration names.

use std::fmt;

use halley_service::failure::Failure;

/// The problems of a configuration that is refused: one at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Vec<String>);

impl ConfigError {
    /// Refuses if there is a problem.
    pub fn unless_none(problems: Vec<String>) -> Result<(), ConfigError> {
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    /// These and others.
    #[must_use]
    pub fn and(mut self, others: ConfigError) -> ConfigError {
        self.0.extend(others.0);
        self
    }

    /// A sentence each.
    pub fn problems(&self) -> &[String] {
        &self.0
    }

    /// The same, to be collected with others.
    pub fn into_problems(self) -> Vec<String> {
        self.0
    }
}

/// All of them on one line, as a log wants it.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for ConfigError {}

impl From<String> for ConfigError {
    fn from(problem: String) -> ConfigError {
        ConfigError(vec![problem])
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::of_problems(error.problems())
    }
}
