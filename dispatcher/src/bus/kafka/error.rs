//! Why a request has no answer. Owns what the one who asked must know: whether the broker may have got it, what kind of
//! trouble it is, and the sentence for people.

use std::fmt;
use std::sync::Arc;

/// A request without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// Whether any of it may have reached the broker. If not, nothing of it ever will.
    pub written: bool,
    /// What kind of trouble.
    pub kind: ErrorKind,
    /// Whom it is about and what to do, for people.
    pub text: Arc<str>,
}

/// What kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The broker is not known, or no connection to it comes about.
    Unreachable,
    /// The connection ended.
    Broken,
    /// No answer in time.
    TimedOut,
    /// As many requests wait for this broker as may.
    Busy,
    /// The broker does not let us in.
    Denied,
    /// The broker speaks no version that we do, or something else altogether.
    Unsuited,
}

impl RequestError {
    /// Nothing of the request was sent.
    pub fn unsent(kind: ErrorKind, text: impl Into<Arc<str>>) -> RequestError {
        RequestError { written: false, kind, text: text.into() }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for RequestError {}
