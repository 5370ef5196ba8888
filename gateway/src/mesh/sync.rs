//! The primitives that `ring`, `port` and `wake` are made of, named in one place. Owns nothing but the names:
//! `tests/mesh_loom.rs` compiles those three files again with a module of the same names that loom checks.

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// [`std::cell::UnsafeCell`] with loom's interface: access is a closure, so the checker sees where it begins and ends.
#[derive(Debug)]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// A cell that holds `value`.
    pub(super) fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Hands out the pointer for one exclusive access.
    #[inline]
    pub(super) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}
