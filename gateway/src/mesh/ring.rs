//! Step 8 of a push on its way out: the bounded queue between two threads. One writes, one reads, neither waits. Owns
//! the slots and the two positions; knows nothing of what travels in it nor of who sleeps (`port` joins it with
//! `wake`). Writes are staged and become visible in one step, so a batch costs the reader one cache miss on the
//! position instead of one per message.
//!
//! Positions run freely and wrap with `usize`; a slot is `position & mask`. Each side keeps a copy of the other's
//! position and looks again only when the copy says "full" or "empty".
//!
//! `tests/mesh_loom.rs` runs this file under loom: name primitives through `super::sync` only.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crossbeam_utils::CachePadded;

use super::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};

/// What both sides see. Each position is on cache lines of its own, or writing one would slow the other side down.
struct Shared<T> {
    /// Next position to read. Written by the reader only.
    head: CachePadded<AtomicUsize>,
    /// End of what is published. Written by the writer only.
    tail: CachePadded<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a slot is touched by the writer only outside head..tail and by the reader only inside it; the Release stores
// of `tail` and `head`, and the Acquire loads that pair with them, hand each slot from one to the other. A message
// itself changes threads, hence `T: Send`.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the messages are owned by the ring.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[position & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let tail = self.tail.load(Ordering::Relaxed);
        let mut head = self.head.load(Ordering::Relaxed);
        while head != tail {
            // SAFETY: both ends are gone, and head..tail holds initialised messages that nobody has taken.
            self.slot(head).with_mut(|slot| unsafe { slot.cast::<T>().drop_in_place() });
            head = head.wrapping_add(1);
        }
    }
}

/// The writing half.
pub(super) struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// End of what is written, published or not.
    written: usize,
    /// What `shared.tail` says.
    published: usize,
    /// `shared.head` when last looked at.
    head_seen: usize,
}

/// The reading half.
pub(super) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// What `shared.head` says.
    head: usize,
    /// `shared.tail` when last looked at.
    tail_seen: usize,
}

/// A ring of `slots` messages (a power of two). Its memory is touched here, so that using it later adds none.
///
/// # Panics
/// When `slots` is not a power of two.
pub(super) fn ring<T>(slots: usize) -> (Producer<T>, Consumer<T>) {
    assert!(slots.is_power_of_two(), "the slots of a ring must be a power of two, not {slots}");
    let slots: Box<[_]> = (0..slots).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    if size_of::<T>() > 0 {
        for slot in &slots {
            // SAFETY: the slot is ours alone and at least one byte long; any byte is valid in a `MaybeUninit`.
            // Volatile, because the compiler would leave out a store that nobody reads.
            slot.with_mut(|slot| unsafe { slot.cast::<u8>().write_volatile(0) });
        }
    }
    let shared = Arc::new(Shared {
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        slots,
    });
    let producer = Producer { shared: Arc::clone(&shared), written: 0, published: 0, head_seen: 0 };
    (producer, Consumer { shared, head: 0, tail_seen: 0 })
}

impl<T> Producer<T> {
    /// Slots that can be written now. Until the next `push` the true number only grows.
    pub(super) fn free(&mut self) -> usize {
        self.head_seen = self.shared.head.load(Ordering::Acquire);
        self.shared.slots.len() - self.written.wrapping_sub(self.head_seen)
    }

    /// Stages one message; gives it back when every slot is taken.
    #[inline]
    pub(super) fn push(&mut self, message: T) -> Result<(), T> {
        if self.written.wrapping_sub(self.head_seen) == self.shared.slots.len() && self.free() == 0 {
            return Err(message);
        }
        // SAFETY: the slot is outside head..tail: the reader's Release of `head` past its last message happened before
        // our Acquire of it, and nobody else writes.
        self.shared.slot(self.written).with_mut(|slot| unsafe { slot.cast::<T>().write(message) });
        self.written = self.written.wrapping_add(1);
        Ok(())
    }

    /// Makes everything staged visible. True when there was something.
    #[inline]
    pub(super) fn publish(&mut self) -> bool {
        let news = self.published != self.written;
        if news {
            self.shared.tail.store(self.written, Ordering::Release);
            self.published = self.written;
        }
        news
    }
}

impl<T> Drop for Producer<T> {
    /// A reader may still take what was staged, and otherwise the ring drops it.
    fn drop(&mut self) {
        self.publish();
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest published message.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: head < tail_seen <= tail: the writer's Release of `tail` past this message happened before our
        // Acquire of it. `head` moves on at once, so the message is read out once.
        let message = self.shared.slot(self.head).with_mut(|slot| unsafe { slot.cast::<T>().read() });
        self.head = self.head.wrapping_add(1);
        self.shared.head.store(self.head, Ordering::Release);
        Some(message)
    }

    /// Nothing is published that was not taken.
    #[inline]
    pub(super) fn is_empty(&mut self) -> bool {
        self.head == self.tail_seen && self.len() == 0
    }

    /// Published messages not taken yet, looked at now.
    pub(super) fn len(&mut self) -> usize {
        self.tail_seen = self.shared.tail.load(Ordering::Acquire);
        self.tail_seen.wrapping_sub(self.head)
    }
}
