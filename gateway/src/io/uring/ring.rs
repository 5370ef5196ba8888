//! The submission and the completion queue, and the one function that enters the kernel. Owns setup with its flags, the
//! registered descriptor of the ring, batching and the handling of what an enter can answer; knows no connection.
//! Entries come from `ops`, completions go to `completions`.

#![allow(unsafe_code)]

use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::{EnterFlags, IoUring, squeue};

use super::super::Errno;
use super::probe::{Host, StartError, Step, explain};
use crate::limits::SUBMISSIONS_PER_ENTER;

/// One completion, copied out of the shared queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

/// What an enter does beside submitting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing: completions that the kernel has put off stay there.
    Submit,
    /// Let the kernel finish what it has put off, and return.
    Reap,
    /// As `Reap`, and sleep until something completes, but at most this long.
    Sleep(Duration),
}

/// What the kernel made of an enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// All well; entries may still be left if it took only a part.
    Done,
    /// Out of memory for requests, or too many unread completions: read completions and enter again.
    Congested,
    /// The kernel had no memory to keep a completion, and says so once.
    Lost,
}

pub(super) struct Ring {
    ring: IoUring,
    /// Index of the ring in the table of this thread's registered rings: saves a descriptor look-up per enter.
    registered: Option<u32>,
    /// The kernel can be told that a sleeping shard is idle, where tools would otherwise show a processor that waits
    /// for a disk.
    idle_is_idle: bool,
    pub(super) enters: u64,
    pub(super) submissions: u64,
}

/// The kernel's `struct io_uring_rsrc_update`.
#[repr(C)]
struct RsrcUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// The kernel's `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEvents {
    signal_mask: u64,
    signal_mask_bytes: u32,
    min_wait_us: u32,
    timespec: u64,
}

/// The kernel's `struct __kernel_timespec`.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;

/// Entries in the submission queue: one enter's worth, so that a full queue and a full batch are the same.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const SUBMISSION_ENTRIES: u32 = SUBMISSIONS_PER_ENTER as u32;

const _: () = assert!(SUBMISSION_ENTRIES.is_power_of_two());

impl Ring {
    /// A ring for the calling thread alone.
    pub(super) fn new(completion_entries: u32) -> Result<Ring, StartError> {
        let host = Host::look();
        if host.is_too_old() {
            return Err(StartError::KernelTooOld { release: host.release });
        }
        let ring = setup(completion_entries).map_err(|error| explain(Step::Setup, error, &host))?;
        let idle_is_idle = ring.params().is_feature_no_iowait();
        let mut ring = Ring { ring, registered: None, idle_is_idle, enters: 0, submissions: 0 };
        ring.registered = ring.register_itself();
        // Only shutdowns run on kernel worker threads (no kernel does them inline): one worker of each kind is enough.
        // A kernel that cannot bound them starts more for a while, and nothing else changes.
        let _ = ring.ring.submitter().register_iowq_max_workers(&mut [1, 1]);
        Ok(ring)
    }

    /// An empty table of direct descriptors.
    pub(super) fn register_descriptors(&self, slots: u32) -> Result<(), StartError> {
        let registered = self.ring.submitter().register_files_sparse(slots);
        registered.map_err(|error| explain(Step::Descriptors { slots }, errno(&error), &Host::look()))
    }

    /// The ring itself, for registering further things.
    pub(super) fn inner(&self) -> &IoUring {
        &self.ring
    }

    fn register_itself(&self) -> Option<u32> {
        let mut update = RsrcUpdate {
            offset: u32::MAX,
            reserved: 0,
            data: u64::try_from(self.ring.as_raw_fd()).unwrap_or_default(),
        };
        self.update_ring_table(REGISTER_RING_FDS, &mut update).then_some(update.offset)
    }

    fn update_ring_table(&self, operation: libc::c_uint, update: &mut RsrcUpdate) -> bool {
        let ring = self.ring.as_raw_fd();
        // SAFETY: `update` is the one valid element that both operations read, and write, during the call.
        let answer = unsafe {
            libc::syscall(libc::SYS_io_uring_register, ring, operation, std::ptr::from_mut(update), 1 as libc::c_uint)
        };
        answer == 1
    }

    /// Entries queued and not yet taken by the kernel.
    pub(super) fn queued(&mut self) -> usize {
        self.ring.submission().len()
    }

    /// Whether one more entry needs an enter first.
    #[inline]
    pub(super) fn is_full(&mut self) -> bool {
        self.ring.submission().is_full()
    }

    /// Queue one entry.
    ///
    /// # Panics
    /// When the queue is full: the caller asks [`Ring::is_full`] first.
    #[inline]
    pub(super) fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: whatever the entry points to stays valid until the kernel has consumed it: scratch memory, payloads
        // and names are kept by `UringIo` at least until the enter that takes the entry has returned.
        let pushed = unsafe { self.ring.submission().push(entry) };
        assert!(pushed.is_ok(), "the submission queue has room: it was asked");
    }

    /// Hand the queued entries to the kernel. The only place from which the kernel is entered.
    pub(super) fn enter(&mut self, mode: Mode) -> Entered {
        let queued = self.queued();
        let mut flags = if mode == Mode::Submit { EnterFlags::empty() } else { EnterFlags::GETEVENTS };
        let mut arguments = GetEvents { signal_mask: 0, signal_mask_bytes: 0, min_wait_us: 0, timespec: 0 };
        let mut timespec = Timespec { seconds: 0, nanoseconds: 0 };
        let mut completions_min: libc::c_uint = 0;
        let (mut pointer, mut bytes) = (std::ptr::null(), 0);
        if let Mode::Sleep(at_most) = mode {
            timespec.seconds = i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX);
            timespec.nanoseconds = i64::from(at_most.subsec_nanos());
            arguments.timespec = (&raw const timespec).expose_provenance() as u64;
            flags |= EnterFlags::EXT_ARG;
            if self.idle_is_idle {
                flags |= EnterFlags::NO_IOWAIT;
            }
            completions_min = 1;
            pointer = &raw const arguments;
            bytes = size_of::<GetEvents>();
        }
        let ring = match self.registered {
            Some(index) => {
                flags |= EnterFlags::REGISTERED_RING;
                libc::c_long::from(index)
            }
            None => libc::c_long::from(self.ring.as_raw_fd()),
        };
        // SAFETY: the ring is ours; `pointer` is null or points to `arguments`, whose `timespec` is alive too, and both
        // are only read during the call.
        let answer = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, ring, queued, completions_min, flags.bits(), pointer, bytes)
        };
        self.enters += 1;
        self.submissions += (queued - self.queued()) as u64;
        if answer >= 0 {
            return Entered::Done;
        }
        match errno(&std::io::Error::last_os_error()).0 {
            libc::ETIME | libc::EINTR => Entered::Done,
            libc::EAGAIN | libc::EBUSY | libc::ENOMEM => Entered::Congested,
            libc::EBADR => Entered::Lost,
            other => panic!(
                "io_uring_enter refused a ring that it accepted before: {}",
                std::io::Error::from_raw_os_error(other)
            ),
        }
    }

    /// Move all completions there are to the end of `into`.
    pub(super) fn take(&mut self, into: &mut Vec<Completion>) {
        into.extend(self.ring.completion().map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    /// Completions wait in the kernel because the queue was full.
    pub(super) fn is_overflowed(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }
}

impl Drop for Ring {
    /// A registered ring would otherwise live, with its sockets, until the thread ends.
    fn drop(&mut self) {
        if let Some(offset) = self.registered.take() {
            self.update_ring_table(UNREGISTER_RING_FDS, &mut RsrcUpdate { offset, reserved: 0, data: 0 });
        }
    }
}

/// `io_uring_setup` with the best flags that are there. Completions are delivered when we ask for them (DEFER_TASKRUN),
/// not in the middle of something else.
fn setup(completion_entries: u32) -> Result<IoUring, Errno> {
    let mut refused = Errno(libc::EINVAL);
    for (deferred, without_array) in [(true, true), (true, false), (false, false)] {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_submit_all().setup_cqsize(completion_entries);
        if deferred {
            builder.setup_defer_taskrun();
        } else {
            builder.setup_coop_taskrun();
        }
        if without_array {
            builder.setup_no_sqarray();
        }
        match builder.build(SUBMISSION_ENTRIES) {
            Ok(ring) => return Ok(ring),
            Err(error) => refused = errno(&error),
        }
        if refused.0 != libc::EINVAL {
            break;
        }
    }
    Err(refused)
}

/// The number in an error that came from the kernel.
pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}
