//! What signals do: SIGHUP reloads, SIGTERM and SIGINT drain, a second one ends the process now. Owns the waiting for them, and that
//! end, which depends on no other thread; the rest of the work is in `drain` and `node::reload`.

use std::io;
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Stack of the thread that waits for the second wish to stop. It writes one log line.
const STACK_BYTES: usize = 256 * 1024;

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

/// End the process, with 0, when it is told to stop for the second time. A thread of its own waits for that, so it works whatever
/// hangs, from now to the very end. Files that are removed at an orderly end stay; the next start replaces them.
pub fn end_at_second_stop() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::take()?
    };
    let wait = move || {
        runtime.block_on(async {
            signals.stop().await;
            signals.stop().await;
        });
        tracing::warn!("told again to stop: ending now, without waiting for clients");
        std::process::exit(0);
    };
    thread::Builder::new().name("second-stop".to_owned()).stack_size(STACK_BYTES).spawn(wait).map(drop)
}
