//! The doorbell of one reading thread: a sleep flag and an eventfd. Owns the order of "I sleep" against "there is
//! something"; a writer pays a syscall only when the reader sleeps. Shards poll the eventfd in their ring, feed and
//! control through tokio.

use std::os::fd::{AsFd, BorrowedFd};

/// One doorbell per reading thread, shared by all rings into it.
#[derive(Debug)]
pub struct Doorbell {}

impl Doorbell {
    /// A doorbell nobody has rung.
    pub fn new() -> std::io::Result<Doorbell> {
        unimplemented!()
    }
    /// Reader: announce sleep. The caller looks at all its rings once more afterwards and, if one is not empty, calls
    /// [`Doorbell::awake`] and goes on instead of sleeping.
    pub fn sleepy(&self) {
        unimplemented!()
    }
    /// Reader: awake again (after sleep, or instead of it).
    pub fn awake(&self) {
        unimplemented!()
    }
    /// Writer: after publishing, wake the reader if it sleeps.
    pub fn ring(&self) {
        unimplemented!()
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unimplemented!()
    }
}
