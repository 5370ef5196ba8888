//! One end of a ring with its doorbell: what a thread holds to write to, or read from, another thread. Owns batching (write many, ring once); never waits.

/// The writing end.
pub struct Sender<T> {
    pub(crate) _t: std::marker::PhantomData<T>,
}
impl<T> Sender<T> {
    /// Free slots now; only grows until the next `push`.
    pub fn free(&mut self) -> usize {
        unimplemented!()
    }
    /// Write one message; `Err(message)` when full. Visible to the reader at the latest after [`Sender::flush`].
    pub fn push(&mut self, _message: T) -> Result<(), T> {
        unimplemented!()
    }
    /// Publish what was written and, if the reader sleeps, ring its doorbell (one syscall per batch at most).
    pub fn flush(&mut self) {
        unimplemented!()
    }
}
/// The reading end.
pub struct Receiver<T> {
    pub(crate) _t: std::marker::PhantomData<T>,
}
impl<T> Receiver<T> {
    /// Take the oldest message.
    pub fn pop(&mut self) -> Option<T> {
        unimplemented!()
    }
    /// Nothing to take now.
    pub fn is_empty(&mut self) -> bool {
        unimplemented!()
    }
}
