//! What signals do: SIGHUP reloads, SIGTERM and SIGINT drain, a second one ends the process now. Owns the waiting for them; the
//! work is in `drain` and `node::reload`.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A wish that came by signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Read the configuration again.
    Reload,
    /// Stop.
    Stop,
}

/// The three signals, from now on no longer what they are by default.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Take the signals over. Must be called in the runtime that will wait for them.
    pub fn take() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Several of a kind that come close together may be one. Cancel safe.
    pub async fn next(&mut self) -> Wish {
        // None ends while the runtime lives, so the pattern never fails.
        tokio::select! {
            biased;
            Some(()) = self.terminate.recv() => Wish::Stop,
            Some(()) = self.interrupt.recv() => Wish::Stop,
            Some(()) = self.hangup.recv() => Wish::Reload,
        }
    }

    /// Wait for a wish to stop; others are ignored meanwhile.
    pub async fn stop(&mut self) {
        while self.next().await != Wish::Stop {}
    }
}
