//! What a route says of its request while it works on it. Owns nothing but that word: connections make room by it when places are
//! wanted ([`super::places`]).

use std::sync::Arc;

use http::Extensions;

use super::progress::{Exchange, Turn};

/// A request under way, in its extensions; cheap to clone.
#[derive(Clone, Debug)]
pub struct Asked(pub(super) Arc<Exchange>);

impl Asked {
    /// The request with these extensions; `None` when no listener has put it there.
    pub fn of(extensions: &Extensions) -> Option<&Asked> {
        extensions.get::<Asked>()
    }

    /// Its answer is held back because it was denied: it makes room before everybody else.
    pub fn is_denied(&self) {
        self.0.turn(Turn::Denied);
    }

    /// It asks what strangers may ask, and others are asked for it: after a second it makes room like an answer that is not taken.
    pub fn is_question(&self) {
        self.0.turn(Turn::Answer);
    }
}
