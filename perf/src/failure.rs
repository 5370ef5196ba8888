//! Why a measurement could not be made, as one sentence for the person who asked for it. Nothing in this crate reacts
//! to kinds of failure: a run either counts or is thrown away, so there is one kind.

use std::fmt;

/// One sentence, with what to do where that is known.
#[derive(Debug)]
pub(crate) struct Failure(String);

/// Of everything here that can fail.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// From a finished sentence.
    pub(crate) fn new(sentence: impl Into<String>) -> Failure {
        Failure(sentence.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Says what was being done when an error came up.
pub(crate) trait Doing<T> {
    /// `doing` continues "cannot ...".
    fn doing<S: fmt::Display>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: fmt::Display> Doing<T> for std::result::Result<T, E> {
    fn doing<S: fmt::Display>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| Failure(format!("cannot {}: {error}", doing())))
    }
}
