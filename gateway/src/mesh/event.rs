//! The kernel's half of the doorbell: an eventfd that a writer signals and a sleeping reader polls. Decides nothing:
//! `wake` says when it is signalled. Loom replaces this file by a model of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use super::wake::Doorbell;

/// One eventfd, never blocking.
#[derive(Debug)]
pub(super) struct Event(OwnedFd);

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

impl AsFd for Doorbell {
    /// The eventfd, for polling. Level-triggered readers must call [`Doorbell::clear`]; edge-triggered ones need not.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.0.as_fd()
    }
}

impl Doorbell {
    /// Reader: consume what was signalled, so that the eventfd is not readable until the next ring. For readers that
    /// learn of it through tokio's `AsyncFd`.
    pub fn clear(&self) {
        let mut count = [0; 8];
        // EAGAIN only says that nobody rang.
        let _ = rustix::io::read(&self.event.0, &mut count);
    }
}
