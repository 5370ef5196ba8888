//! The kernel's ring as the bare ring uses it: accept, receive, poll and send on direct descriptors, and nothing that a
//! floor does not need. Owns the ring and every byte that the kernel reads or writes; decides nothing (`bare_ring`
//! does).
//!
//! This is the one file of the crate with `unsafe`: the baseline is the raw interface itself, so no safe layer may
//! stand between. It is kept sound by never freeing: ring, payload and receive areas live as long as the process.

#![allow(unsafe_code)]

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue, types};

/// Submission entries handed to the kernel in one enter of a fan-out.
pub(crate) const SUBMISSIONS_PER_ENTER: usize = 256;
/// Bytes that one connection may send before its login is answered.
pub(crate) const RECEIVE_BYTES: usize = 512;
/// Entries of the submission queue.
const SUBMISSION_ENTRIES: u32 = 4096;
/// Entries of the completion queue: a whole fan-out may be refused without overflowing it.
const COMPLETION_ENTRIES: u32 = 32_768;
/// Bytes read from standard input at once.
const COMMAND_BYTES: usize = 64;

/// What completed. Sends that took every byte come back as nothing at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A connection came into a direct descriptor.
    Accepted {
        /// Which one; `None` when the accept failed.
        slot: Option<u32>,
        /// More will come without asking again.
        armed: bool,
    },
    /// This many bytes lie at the place given to [`Kernel::receive`]; 0 = end of stream, negative = errno.
    Received(u32, i32),
    /// A send was taken in part, or not at all (negative errno).
    SendShort(u32, i32),
    /// This many bytes came on standard input; 0 = its end, negative = errno.
    Commands(i32),
    /// Readiness of a connection that is logged in: nobody measures what it has to say.
    Readable,
}

/// Calls and entries since start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Entries handed over.
    pub submissions: u64,
}

/// One ring, its queues and the memory it works on.
pub(crate) struct Kernel {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    listener: RawFd,
    areas: *mut [u8; RECEIVE_BYTES],
    area_count: u32,
    commands: *mut [u8; COMMAND_BYTES],
    payload: &'static [u8],
    counters: Counters,
}

impl Kernel {
    /// A ring with `slots` direct descriptors that accepts from `listener` and fans out `payload`.
    pub(crate) fn new(listener: TcpListener, slots: u32, payload: Vec<u8>) -> io::Result<Kernel> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_no_sqarray()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(SUBMISSION_ENTRIES)?;
        let (mut submitter, submissions, completions) = Box::leak(Box::new(ring)).split();
        submitter.register_files_sparse(slots)?;
        // The registration lives in this submitter and not in the ring: another one would enter by file descriptor.
        submitter.register_ring_fd()?;
        let areas = vec![[0; RECEIVE_BYTES]; usize::try_from(slots).expect("a slot count fits")].leak();
        let descriptor = listener.as_raw_fd();
        Box::leak(Box::new(listener));
        Ok(Kernel {
            submitter,
            submissions,
            completions,
            listener: descriptor,
            areas: areas.as_mut_ptr(),
            area_count: slots,
            commands: Box::into_raw(Box::new([0; COMMAND_BYTES])),
            payload: payload.leak(),
            counters: Counters::default(),
        })
    }

    /// Running totals.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Accept into direct descriptors until further notice.
    pub(crate) fn accept_many(&mut self) {
        let accept = opcode::AcceptMulti::new(types::Fd(self.listener)).allocate_file_index(true).build();
        self.push(accept.user_data(Kind::Accept.token(0)));
    }

    /// Receive once, at `from` of the connection's area; waits until something comes.
    pub(crate) fn receive(&mut self, slot: u32, from: usize) {
        let room = u32::try_from(RECEIVE_BYTES - from).expect("areas are small");
        let target = self.area(slot).cast::<u8>().wrapping_add(from);
        let receive = opcode::Recv::new(types::Fixed(slot), target, room).build();
        self.push(receive.user_data(Kind::Receive.token(slot)));
    }

    /// The first bytes of the connection's area. No receive of this connection may be under way.
    pub(crate) fn received(&self, slot: u32, bytes: usize) -> &[u8] {
        assert!(bytes <= RECEIVE_BYTES);
        let start = self.area(slot).cast::<u8>();
        // SAFETY: the area is initialised, holds RECEIVE_BYTES, is never freed, and the caller has no receive under way
        // that could write to it.
        unsafe { std::slice::from_raw_parts(start, bytes) }
    }

    /// Arm the multishot readiness poll that an idle connection of the gateway has too.
    pub(crate) fn poll_readable(&mut self, slot: u32) {
        let flags = (libc::POLLIN | libc::POLLRDHUP).cast_unsigned().into();
        let poll = opcode::PollAdd::new(types::Fixed(slot), flags).multi(true).build();
        self.push(poll.user_data(Kind::Poll.token(slot)));
    }

    /// Read the next commands from standard input.
    pub(crate) fn read_commands(&mut self) {
        let room = u32::try_from(COMMAND_BYTES).expect("small");
        let read = opcode::Read::new(types::Fd(0), self.commands.cast(), room).build();
        self.push(read.user_data(Kind::Commands.token(0)));
    }

    /// Answer a login.
    pub(crate) fn send_reply(&mut self, slot: u32, reply: &'static [u8]) {
        self.push(send(slot, reply));
    }

    /// Send the payload to every slot, in batches. Refused sends come back as [`Event::SendShort`].
    pub(crate) fn fan_out(&mut self, slots: &[u32]) -> io::Result<()> {
        for batch in slots.chunks(SUBMISSIONS_PER_ENTER) {
            for &slot in batch {
                self.push(send(slot, self.payload));
            }
            self.enter(0)?;
        }
        Ok(())
    }

    /// Hand over what is queued and wait for at least `wanted` completions.
    pub(crate) fn enter(&mut self, wanted: usize) -> io::Result<()> {
        self.submissions.sync();
        loop {
            self.counters.enters += 1;
            match self.submitter.submit_and_wait(wanted) {
                Ok(taken) => {
                    self.counters.submissions += u64::try_from(taken).expect("a count fits");
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Append what has completed.
    pub(crate) fn reap(&mut self, events: &mut Vec<Event>) {
        self.completions.sync();
        for completion in &mut self.completions {
            let (kind, slot) = Kind::of(completion.user_data());
            let result = completion.result();
            events.push(match kind {
                Kind::Accept => {
                    Event::Accepted { slot: u32::try_from(result).ok(), armed: cqueue::more(completion.flags()) }
                }
                Kind::Receive => Event::Received(slot, result),
                Kind::Send => Event::SendShort(slot, result),
                Kind::Commands => Event::Commands(result),
                Kind::Poll => Event::Readable,
            });
        }
    }

    fn area(&self, slot: u32) -> *mut [u8; RECEIVE_BYTES] {
        assert!(slot < self.area_count);
        self.areas.wrapping_add(usize::try_from(slot).expect("a slot fits"))
    }

    fn push(&mut self, entry: squeue::Entry) {
        if self.submissions.is_full() {
            self.enter(0).expect("the kernel takes what is queued");
            self.submissions.sync();
        }
        // SAFETY: every address in an entry points into memory that is never freed (payload, replies, areas, commands),
        // and receives write only into the area of their own slot, which is not read while one is under way.
        unsafe { self.submissions.push(&entry) }.expect("there is room after an enter");
    }
}

/// A send as the design prescribes: everything or an event, never waiting in the kernel.
fn send(slot: u32, bytes: &'static [u8]) -> squeue::Entry {
    let length = u32::try_from(bytes.len()).expect("payloads are small");
    opcode::Send::new(types::Fixed(slot), bytes.as_ptr(), length)
        .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL | libc::MSG_DONTWAIT)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS)
        .user_data(Kind::Send.token(slot))
}

/// What an entry asked for, kept in the upper half of its user data; the lower half is the slot.
#[derive(Clone, Copy)]
enum Kind {
    Accept,
    Receive,
    Poll,
    Send,
    Commands,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Accept, Kind::Receive, Kind::Poll, Kind::Send, Kind::Commands];

    fn token(self, slot: u32) -> u64 {
        (self as u64) << 32 | u64::from(slot)
    }

    fn of(token: u64) -> (Kind, u32) {
        let kind = Kind::ALL[usize::try_from(token >> 32).expect("a kind fits")];
        (kind, u32::try_from(token & u64::from(u32::MAX)).expect("masked"))
    }
}
