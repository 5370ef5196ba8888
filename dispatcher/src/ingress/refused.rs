//! Why a push was not taken, in the ingress's own words. Owns the sentence for each end and what it means for the
//! message: nothing of it appears, or it may. Each transport gives it its own code.

use std::fmt;
use std::sync::Arc;

use super::admit::Invalid;
use crate::bus::PublishError;
use crate::stats::Outcome;

/// Why a push was not taken. Nothing of it is delivered, except after [`PushError::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The caller's fault: the same push is refused again.
    Invalid(Invalid),
    /// It makes a record that is longer than the log takes; the same push is refused again.
    TooLarge {
        /// Bytes of the record.
        bytes: usize,
        /// Bytes that are allowed, if known.
        bytes_max: Option<usize>,
    },
    /// As much as may waits; the same push may be tried again later.
    Full,
    /// The log cannot be written to now; the same push may be tried again later. Says why.
    Unavailable(Arc<str>),
    /// Nobody said in time whether the log has it: it may appear once, in part, or not at all. Says why.
    Unknown(Arc<str>),
    /// Only one gateway's part of the answer is known here, and that was not asked for.
    OnlyHere,
    /// The process is stopping; another one may take it.
    Stopping,
}

/// What is said where only this gateway's numbers are known.
pub const ONLY_HERE: &str = "only this gateway's part is known here, ask for it with the scope \"gateway\"";

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PushError::Invalid(invalid) => invalid.fmt(f),
            PushError::TooLarge { bytes, bytes_max } => {
                write!(f, "the push makes a record of {bytes} bytes, ")?;
                match bytes_max {
                    Some(bytes_max) => write!(f, "the log takes {bytes_max}: ")?,
                    None => f.write_str("more than the log takes: ")?,
                }
                f.write_str("send a shorter message or name fewer")
            }
            PushError::Full => f.write_str("the push bus is full, try again in a moment"),
            PushError::Unavailable(why) => {
                write!(f, "the push was not accepted and will not appear, try again in a moment: {why}")
            }
            PushError::Unknown(why) => write!(f, "nobody has confirmed the push, do not simply repeat it: {why}"),
            PushError::OnlyHere => f.write_str(ONLY_HERE),
            PushError::Stopping => f.write_str("the gateway is stopping, push through another one"),
        }
    }
}

impl std::error::Error for PushError {}

impl From<Invalid> for PushError {
    fn from(invalid: Invalid) -> PushError {
        PushError::Invalid(invalid)
    }
}

impl From<PublishError> for PushError {
    fn from(error: PublishError) -> PushError {
        match error {
            PublishError::Full => PushError::Full,
            PublishError::TooLarge { bytes, bytes_max } => PushError::TooLarge { bytes, bytes_max },
            PublishError::Unavailable(why) => PushError::Unavailable(why),
            PublishError::Unknown(why) => PushError::Unknown(why),
            PublishError::Closed => PushError::Stopping,
        }
    }
}

impl PushError {
    /// As metrics name it.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            PushError::Invalid(_) | PushError::OnlyHere => Outcome::Invalid,
            PushError::TooLarge { .. } => Outcome::TooLarge,
            PushError::Full => Outcome::Full,
            PushError::Unavailable(_) => Outcome::Unavailable,
            PushError::Unknown(_) => Outcome::Unknown,
            PushError::Stopping => Outcome::Stopping,
        }
    }
}
