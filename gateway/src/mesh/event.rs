//! The kernel's half of the doorbell: an eventfd that a writer signals and a sleeping reader polls. Decides nothing:
//! `wake` says when it is signalled. Loom replaces this file by a model of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// One eventfd, never blocking.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    /// A descriptor nobody has signalled.
    pub(super) fn new() -> std::io::Result<Event> {
        Ok(Event(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Makes the descriptor readable and starts an edge for whoever polls it.
    pub(super) fn signal(&self) {
        let written = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        debug_assert!(written.is_ok(), "an eventfd below its maximum takes every write: {written:?}");
    }
}

impl AsFd for Event {
    /// For edge-triggered polling: what was signalled is never consumed, so the descriptor stays readable.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
