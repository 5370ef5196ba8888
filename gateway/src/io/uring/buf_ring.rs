//! The provided receive buffers: memory shared with the kernel, which picks a free buffer when data is there, so that
//! an idle connection has none. Owns the ring of free buffers and the buffers; which connection a buffer was filled for
//! is in the completion. All of it is touched at creation: receiving adds no memory later.

#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::super::{BufferId, Errno};
use super::ops::BUFFER_GROUP;
use super::ring::errno;

/// Anonymous memory, populated.
struct Mapping {
    address: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> Result<Mapping, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory that exists.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(errno(&std::io::Error::last_os_error()));
        }
        let address = NonNull::new(address.cast()).ok_or(Errno(libc::ENOMEM))?;
        Ok(Mapping { address, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this length, and nothing refers to it any more: a `BufRing` is dropped after
        // the ring that it is registered with.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.bytes) };
    }
}

/// The free buffers of one ring. Must outlive the ring it is registered with.
pub(super) struct BufRing {
    entries: Mapping,
    buffers: Mapping,
    count: u16,
    buffer_bytes: u32,
    tail: u16,
    published: u16,
    /// Buffers that hold data and are ours until they are recycled.
    lent: Box<[bool]>,
}

impl BufRing {
    /// `count` buffers (a power of two up to 32,768) of `buffer_bytes` each, registered as group 0.
    pub(super) fn new(ring: &IoUring, count: u16, buffer_bytes: u32) -> Result<BufRing, Errno> {
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let buffers = Mapping::new(usize::from(count) * buffer_bytes as usize)?;
        let address = entries.address.as_ptr().expose_provenance() as u64;
        // SAFETY: `entries` has room for `count` entries and lives until after `ring` is gone.
        let registered = unsafe { ring.submitter().register_buf_ring_with_flags(address, count, BUFFER_GROUP, 0) };
        registered.map_err(|error| errno(&error))?;
        let lent = vec![false; usize::from(count)].into();
        let mut buffers = BufRing { entries, buffers, count, buffer_bytes, tail: 0, published: 0, lent };
        for buffer in 0..count {
            buffers.put(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Bytes of one buffer.
    pub(super) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// A completion has handed this buffer to us.
    pub(super) fn lend(&mut self, buffer: BufferId) {
        debug_assert!(!self.lent[usize::from(buffer.0)], "the kernel fills a buffer once");
        self.lent[usize::from(buffer.0)] = true;
    }

    /// The first `bytes` of a buffer that holds data.
    ///
    /// # Panics
    /// When the buffer is not lent or not that long.
    pub(super) fn bytes(&mut self, buffer: BufferId, bytes: u32) -> &mut [u8] {
        assert!(self.lent[usize::from(buffer.0)] && bytes <= self.buffer_bytes, "buffer {} holds no data", buffer.0);
        let start = self.address(buffer.0);
        // SAFETY: the buffer is `buffer_bytes` long and initialised (fresh mappings are zero); while it is lent the
        // kernel does not write to it, and `&mut self` lets nobody else at it.
        unsafe { std::slice::from_raw_parts_mut(start, bytes as usize) }
    }

    /// The buffer is free again. The kernel sees it after [`BufRing::publish`].
    ///
    /// # Panics
    /// When the buffer is not lent.
    pub(super) fn recycle(&mut self, buffer: BufferId) {
        let lent = std::mem::replace(&mut self.lent[usize::from(buffer.0)], false);
        assert!(lent, "buffer {} is given back once", buffer.0);
        self.put(buffer.0);
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        // SAFETY: every caller's `buffer` is below `count`, so the offset is inside the mapping.
        unsafe { self.buffers.address.as_ptr().add(usize::from(buffer) * self.buffer_bytes as usize) }
    }

    fn put(&mut self, buffer: u16) {
        let address = self.address(buffer);
        let position = usize::from(self.tail & (self.count - 1));
        // SAFETY: `position` is below `count`, so this is inside the mapping.
        let mut entry = unsafe { self.entries.address.cast::<BufRingEntry>().add(position) };
        // SAFETY: the entry is initialised (fresh mappings are zero), and the kernel reads it only once it is
        // published.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(address.expose_provenance() as u64);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows recycled buffers to the kernel.
    pub(super) fn publish(&mut self) {
        if self.tail == self.published {
            return;
        }
        // SAFETY: the address is that of the first entry of the registered ring, which is initialised.
        let tail = unsafe { BufRingEntry::tail(self.entries.address.as_ptr().cast()) };
        // SAFETY: the tail is an aligned `u16` in our mapping that the kernel only reads, with acquire semantics.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }
}
