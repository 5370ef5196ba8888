//! Step 8 of a push on its way out: one end of a ring with its doorbell, which is what a thread holds to write to, or
//! read from, another thread. Owns batching (write many, ring once); never waits. `ring` keeps the messages, `wake`
//! rings. What to do when a ring is full is the caller's rule, stated where it writes.
//!
//! `tests/mesh_loom.rs` runs this file under loom: name primitives through `super::sync` only.

use std::fmt;
use std::sync::Arc;

use super::ring::{Consumer, Producer, ring};
use super::wake::Doorbell;

/// A bounded ring of `slots` messages (a power of two) from one thread to another. `reader` is the doorbell of the
/// thread that will hold the [`Receiver`]; all rings into that thread share it.
///
/// # Panics
/// When `slots` is not a power of two.
pub fn channel<T>(slots: usize, reader: Arc<Doorbell>) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = ring(slots);
    (Sender { producer, reader }, Receiver { consumer })
}

/// The writing end. Dropping it publishes what was staged; the reader gets it when it next looks.
pub struct Sender<T> {
    producer: Producer<T>,
    reader: Arc<Doorbell>,
}

impl<T> Sender<T> {
    /// Free slots now; only grows until the next `push`.
    pub fn free(&mut self) -> usize {
        self.producer.free()
    }

    /// Write one message; `Err(message)` when full. Visible to the reader at the latest after [`Sender::flush`].
    #[inline]
    pub fn push(&mut self, message: T) -> Result<(), T> {
        self.producer.push(message)
    }

    /// Publish what was written and, if the reader sleeps, ring its doorbell (one syscall per batch at most).
    #[inline]
    pub fn flush(&mut self) {
        if self.producer.publish() {
            self.reader.ring();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// The reading end.
pub struct Receiver<T> {
    consumer: Consumer<T>,
}

impl<T> Receiver<T> {
    /// Take the oldest message.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.consumer.pop()
    }

    /// Nothing to take now. After [`Doorbell::sleepy`] this is the look that decides whether the reader may sleep.
    pub fn is_empty(&mut self) -> bool {
        self.consumer.is_empty()
    }

    /// Messages waiting now.
    pub fn depth(&mut self) -> usize {
        self.consumer.len()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Receiver").finish_non_exhaustive()
    }
}
