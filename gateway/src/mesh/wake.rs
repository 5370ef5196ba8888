//! Step 8 of a push on its way out: the doorbell of one reading thread, a sleep flag and an eventfd. Owns the order of
//! "I sleep" against "there is something"; a writer pays a syscall only when the reader sleeps. Shards poll the eventfd
//! in their ring, feed and control through tokio.
//!
//! No wake-up is lost, because each side puts a sequentially consistent fence between its own write and its look at the
//! other's: the reader raises the flag, then looks at its rings; the writer publishes, then looks at the flag. At least
//! one of them sees the other. Every change of the flag is a read-modify-write, so that all of them stand in one order,
//! whoever makes them; they happen once per sleep, not per message.
//!
//! `tests/mesh_loom.rs` runs this file under loom: name primitives through `super::sync` and `super::event` only.

use crossbeam_utils::CachePadded;

use super::event::Event;
use super::sync::{AtomicBool, Ordering, fence};

/// One doorbell per reading thread, shared by all rings into it.
#[derive(Debug)]
pub struct Doorbell {
    /// On cache lines of its own, since writers look at it after every batch.
    asleep: CachePadded<AtomicBool>,
    event: Event,
}

impl Doorbell {
    /// A doorbell nobody has rung. Fails when the process has no file descriptor left.
    pub fn new() -> std::io::Result<Doorbell> {
        Ok(Doorbell { asleep: CachePadded::new(AtomicBool::new(false)), event: Event::new()? })
    }

    /// Reader: announce sleep. The caller looks at all its rings once more afterwards and, if one is not empty, calls
    /// [`Doorbell::awake`] and goes on instead of sleeping.
    pub fn sleepy(&self) {
        self.asleep.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// Reader: awake again (after sleep, or instead of it).
    pub fn awake(&self) {
        self.asleep.swap(false, Ordering::AcqRel);
    }

    /// Reader: what to poll while asleep.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Writer: after publishing, wake the reader if it sleeps. Of several writers one pays the syscall.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.event.signal();
        }
    }
}
