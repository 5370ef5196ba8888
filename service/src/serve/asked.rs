//! What a route says of its request while it works on it. Owns nothing but that word, and answers nothing. Connections
//! act by it: they make room when places are wanted ([`super::places`]), or end after the answer.

use std::sync::Arc;

use http::Extensions;

use super::progress::{Exchange, Turn};
use crate::access::rules::AccessRules;
use crate::access::{Denied, Kind, Peer};

/// A request under way, in its extensions; cheap to clone.
#[derive(Clone, Debug)]
pub struct Asked(pub(super) Arc<Exchange>);

impl Asked {
    /// The request with these extensions; `None` when no listener has put it there.
    pub fn of(extensions: &Extensions) -> Option<&Asked> {
        extensions.get::<Asked>()
    }

    /// It asks what strangers may ask, and others are asked for it: after a second it makes room like an answer that is
    /// not taken.
    pub fn is_question(&self) {
        self.0.turn(Turn::Answer);
    }
}

/// Hold the answer to a denied request back, see [`crate::access::failures`]. Meanwhile it makes room before everybody
/// else; beyond the bound on such answers its connection ends with it.
pub async fn hold_back(access: &AccessRules, extensions: &Extensions, peer: Peer, denied: Denied) -> Denied {
    let asked = Asked::of(extensions);
    if let Some(Asked(exchange)) = asked {
        exchange.turn(Turn::Denied);
    }
    let denied = access.slow_down(peer, denied).await;
    if let (Some(Asked(exchange)), Kind::TooMany) = (asked, denied.kind()) {
        exchange.end_connection();
    }
    denied
}
