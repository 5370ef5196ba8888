//! Step 1 of a frame on its way in, and step 12 of a push on its way out: the kernel seam on io_uring. Owns one ring
//! with its direct descriptors and receive buffers. It makes submission entries of a shard's requests. `handover` gives
//! them to the kernel in batches; `completions` makes events of what comes back. It decides nothing about connections.
//! One thread makes it and uses it.
//!
//! Why it is built this way, in terms of what the kernel does:
//! - An idle connection has one multishot poll armed and no buffer; a receive never waits and takes a provided buffer.
//! - A send never waits and completes only when it was short or failed, so a delivery that works costs one entry and no
//!   completion, and its memory need only outlive the enter (`outgoing`).
//! - Closing a descriptor under an armed poll would send no FIN: `close` ends the polls, waits for everything
//!   outstanding of that slot (`slots`), and closes then. The close itself runs inside its enter, so the slot is free
//!   when that has returned.

mod buf_ring;
mod completions;
mod doors;
mod handover;
mod names;
mod ops;
mod outgoing;
pub mod probe;
mod ring;
mod slots;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use io_uring::squeue::Entry;

use super::{BufferId, Event, Io, IoCounters, ListenerId, Wait};
use crate::limits::{COMPLETION_ENTRIES, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS};
use crate::mesh::msg::{ConnRef, SharedPayload};
use crate::mesh::wake::Doorbell;

use buf_ring::BufRing;
use doors::Door;
use names::{IPV4_BYTES, IPV6_BYTES, Names};
use ops::Kind;
use outgoing::Outgoing;
pub use probe::StartError;
use probe::{Host, Step, explain};
use ring::{Completion, Mode, Ring};
use slots::{Facts, Slots};

/// What a ring is made of.
#[derive(Clone, Debug)]
pub struct UringConfig {
    /// Direct descriptors: connections this ring can hold, at most RLIMIT_NOFILE.
    pub slots: u32,
    /// Listening sockets, non-blocking or not, in the order of [`ListenerId`].
    pub listeners: Vec<Arc<OwnedFd>>,
    /// Rung by other threads to wake this one.
    pub doorbell: Arc<Doorbell>,
    /// Provided receive buffers, a power of two.
    pub receive_buffers: u16,
    /// Bytes of each.
    pub receive_buffer_bytes: u32,
    /// Entries of the completion queue, a power of two.
    pub completion_entries: u32,
}

impl UringConfig {
    /// The sizes of a shard.
    pub fn new(slots: u32, listeners: Vec<Arc<OwnedFd>>, doorbell: Arc<Doorbell>) -> UringConfig {
        UringConfig {
            slots,
            listeners,
            doorbell,
            receive_buffers: RECEIVE_BUFFERS,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            completion_entries: COMPLETION_ENTRIES,
        }
    }
}

/// A shard's way into the kernel. Bound to the thread that made it.
pub struct UringIo {
    /// First, so that the kernel has let go of the memory below when that is dropped.
    ring: Ring,
    buffers: BufRing,
    names: Names,
    outgoing: Outgoing,
    doors: Vec<Door>,
    doorbell: Arc<Doorbell>,
    doorbell_armed: bool,
    slots_max: u32,
    slots: Slots,
    /// Connections that need a poll for room that stays.
    watches: Vec<ConnRef>,
    /// Closing connections with nothing outstanding any more.
    joined: Vec<ConnRef>,
    /// Closes queued, each with the value of `pushed` after it.
    closes: VecDeque<(u64, ConnRef)>,
    /// Entries queued since the start.
    pushed: u64,
    /// Slots marked [`Facts::SENT`]; kept only where debug assertions are on.
    sent: Vec<u32>,
    /// Reused by `collect`.
    batch: Vec<Completion>,
    /// Failed and short sends, to be told first.
    failures: Vec<Event>,
    /// All other events, in order of completion.
    ready: Vec<Event>,
    counters: IoCounters,
}

impl UringIo {
    /// A ring for the calling thread, which must be the one that uses it.
    ///
    /// # Errors
    /// When this host does not allow it: [`StartError`] says why and what to do.
    pub fn new(config: UringConfig) -> Result<UringIo, StartError> {
        let ring = Ring::new(config.completion_entries)?;
        ring.register_descriptors(config.slots)?;
        let buffers = BufRing::new(ring.inner(), config.receive_buffers, config.receive_buffer_bytes);
        let buffers = buffers.map_err(|error| {
            let bytes = u64::from(config.receive_buffers) * u64::from(config.receive_buffer_bytes);
            explain(Step::Buffers { bytes }, error, &Host::look())
        })?;
        Ok(UringIo {
            ring,
            buffers,
            names: Names::new(),
            outgoing: Outgoing::new(),
            doors: config.listeners.into_iter().map(Door::new).collect(),
            doorbell: config.doorbell,
            doorbell_armed: false,
            slots_max: config.slots,
            slots: Slots::default(),
            watches: Vec::new(),
            joined: Vec::new(),
            closes: VecDeque::new(),
            pushed: 0,
            sent: Vec::new(),
            batch: Vec::new(),
            failures: Vec::new(),
            ready: Vec::new(),
            counters: IoCounters::default(),
        })
    }

    /// Makes room for one entry. Whatever the entry points to must be prepared after this, because it may enter the
    /// kernel and release what earlier entries pointed to.
    #[inline]
    fn reserve(&mut self) {
        if self.ring.is_full() {
            self.enter(Mode::Submit);
        }
    }

    /// Queues an entry after [`UringIo::reserve`].
    #[inline]
    fn push_reserved(&mut self, entry: &Entry) {
        self.ring.push(entry);
        self.pushed += 1;
    }

    fn push(&mut self, entry: &Entry) {
        self.reserve();
        self.push_reserved(entry);
    }

    /// Notes that an operation begins that its connection may have only one of.
    fn begin(&mut self, conn: ConnRef, fact: Facts) {
        let slot = self.slots.of(conn);
        debug_assert!(!slot.facts.has(fact), "{conn:?} has one of {fact:?} outstanding");
        slot.facts.set(fact);
    }

    /// The connection's one send until the next turn.
    #[inline]
    fn begin_send(&mut self, conn: ConnRef) {
        if cfg!(debug_assertions) {
            self.begin(conn, Facts::SENT);
            assert!(!self.slots.at(conn.slot).facts.has(Facts::SHORT), "{conn:?} waits to become writable");
            self.sent.push(conn.slot);
        } else {
            self.slots.of(conn);
        }
        self.counters.sends += 1;
    }

    /// Tells a caller that waits for room.
    fn room_seen(&mut self, conn: ConnRef) {
        let facts = &mut self.slots.at(conn.slot).facts;
        facts.clear(Facts::WANTS_ROOM);
        facts.clear(Facts::ROOM);
        facts.clear(Facts::SHORT);
        self.ready.push(Event::Writable { conn });
    }
}

impl Io for UringIo {
    fn slots(&self) -> u32 {
        self.slots_max
    }

    fn accept_many(&mut self, listener: ListenerId) {
        self.arm_accept(listener, Kind::AcceptMany);
    }

    fn accept_one(&mut self, listener: ListenerId) {
        self.arm_accept(listener, Kind::AcceptOne);
    }

    fn cancel_accept(&mut self, listener: ListenerId) {
        self.end_accept(listener);
    }

    fn peer_name(&mut self, conn: ConnRef) {
        self.reserve();
        let facts = self.slots.of(conn).facts;
        let length = if facts.has(Facts::IPV6) { IPV6_BYTES } else { IPV4_BYTES };
        let place = if facts.has(Facts::LOCAL) { None } else { self.names.ask(conn.slot) };
        let Some(place) = place else {
            self.ready.push(Event::PeerName { conn, address: None });
            return;
        };
        self.begin(conn, Facts::PEER_NAME);
        self.push_reserved(&ops::peer_name(conn, place, length));
    }

    fn poll_readable(&mut self, conn: ConnRef) {
        self.begin(conn, Facts::POLL_READABLE);
        self.push(&ops::poll_readable(conn));
    }

    fn receive(&mut self, conn: ConnRef) {
        self.begin(conn, Facts::RECEIVE);
        self.push(&ops::receive(conn));
    }

    fn buffer(&mut self, buffer: BufferId, bytes: u32) -> &mut [u8] {
        self.buffers.bytes(buffer, bytes)
    }

    fn recycle(&mut self, buffer: BufferId) {
        self.buffers.recycle(buffer);
    }

    fn send_payload(&mut self, conn: ConnRef, payload: &SharedPayload, websocket: bool, from: u32) {
        self.begin_send(conn);
        self.reserve();
        self.outgoing.hold(payload);
        let bytes = &payload.bytes(websocket)[from as usize..];
        let length = u32::try_from(bytes.len()).expect("a payload is smaller than 4 GiB");
        self.push_reserved(&ops::send(conn, bytes.as_ptr(), length));
    }

    fn send_copy(&mut self, conn: ConnRef, parts: &mut dyn Iterator<Item = &[u8]>) -> u32 {
        if !self.outgoing.has_room() {
            self.enter(Mode::Submit);
        }
        self.reserve();
        let bytes = self.outgoing.copy(parts);
        if bytes.is_empty() {
            return 0;
        }
        let length = u32::try_from(bytes.len()).expect("a copy is at most SEND_COPY_BYTES_MAX");
        let entry = ops::send(conn, bytes.as_ptr(), length);
        self.begin_send(conn);
        self.push_reserved(&entry);
        length
    }

    fn poll_writable(&mut self, conn: ConnRef) {
        self.begin(conn, Facts::WANTS_ROOM);
        let facts = &mut self.slots.at(conn.slot).facts;
        if !facts.has(Facts::POLL_WRITABLE) {
            facts.set(Facts::POLL_WRITABLE);
            self.push(&ops::poll_writable(conn));
        } else if facts.has(Facts::ROOM) {
            // The poll that stays has told already.
            self.room_seen(conn);
        }
    }

    fn shutdown_write(&mut self, conn: ConnRef) {
        self.begin(conn, Facts::SHUTDOWN);
        self.push(&ops::shutdown_write(conn));
    }

    fn close(&mut self, conn: ConnRef) {
        let slot = self.slots.of(conn);
        slot.facts.set(Facts::CLOSING);
        let facts = slot.facts;
        for (fact, kind) in [(Facts::POLL_READABLE, Kind::PollReadable), (Facts::POLL_WRITABLE, Kind::PollWritable)] {
            if facts.has(fact) {
                self.push(&ops::cancel_poll(kind, conn));
            }
        }
        if !facts.any_outstanding() {
            self.joined.push(conn);
        }
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) {
        self.follow_up();
        let nothing_to_tell = self.failures.is_empty() && self.ready.is_empty() && self.closes.is_empty();
        self.enter(match wait {
            Wait::AtMost(time) if nothing_to_tell && !time.is_zero() => Mode::Sleep(time),
            _ => Mode::Reap,
        });
        events.append(&mut self.failures);
        events.append(&mut self.ready);
        for slot in self.sent.drain(..) {
            self.slots.at(slot).facts.clear(Facts::SENT);
        }
    }

    fn counters(&self) -> IoCounters {
        IoCounters { enters: self.ring.enters, submissions: self.ring.submissions, ..self.counters }
    }
}
