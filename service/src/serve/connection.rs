//! What a connection is given when it is accepted. Owns nothing; `http1` and `http2` drive connections by it.

use std::sync::Arc;

use tokio::sync::watch;

use super::budget::Share;
use super::places::Place;
use super::stats::ListenerStats;
use super::stream::Clocks;
use crate::access::Peer;

/// What all exchanges of one connection share.
pub(super) struct Connection {
    pub(super) place: Place,
    pub(super) share: Share,
    pub(super) clocks: Clocks,
    pub(super) peer: Peer,
    /// Counts what its requests came to.
    pub(super) stats: Arc<ListenerStats>,
    /// True once answers are to be the last of their connections.
    pub(super) closing: watch::Receiver<bool>,
    pub(super) stopping: Stopping,
}

/// The end of a listener, told once.
pub(super) struct Stopping(Option<watch::Receiver<bool>>);

impl Stopping {
    pub(super) fn new(told: watch::Receiver<bool>) -> Stopping {
        Stopping(Some(told))
    }

    /// Resolves when the listener ends; never again after that.
    pub(super) async fn wait(&mut self) {
        match &mut self.0 {
            Some(told) => {
                let _ = told.wait_for(|stopping| *stopping).await;
                self.0 = None;
            }
            None => std::future::pending().await,
        }
    }
}
