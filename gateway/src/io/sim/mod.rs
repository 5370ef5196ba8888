//! A seeded fake kernel for tests of shard code. Owns virtual sockets with finite windows, the clients at their other ends, and every
//! unpleasant thing the real kernel may do: short sends, full sockets, resets, late and interleaved completions, polls that
//! end, receives without a buffer, accepts that fail. It never sleeps, and it panics when its caller breaks an obligation of [`Io`].
//! All chance comes from one seed, so a run can be replayed.
//!
//! Order is kept as the kernel keeps it: events of one socket come in the order in which they happened, failed sends come in the turn
//! of their send, and events of different sockets may come in any order and any number of turns later. A slot may be accepted
//! into again in the very turn of its `Closed`, after it.
//!
//! ```
//! use halley_gateway::io::sim::{Faults, SimIo};
//! use halley_gateway::io::{Event, Io, ListenerId, Wait};
//! use halley_gateway::mesh::msg::ConnRef;
//!
//! let mut io = SimIo::new(7, Faults::NONE, 16, 1);
//! io.accept_many(ListenerId(0));
//! let client = io.connect(0, 64);
//! let mut events = Vec::new();
//! io.turn(Wait::No, &mut events);
//! let Event::Accepted { slot, .. } = events[0] else { panic!("{events:?}") };
//! let conn = ConnRef { slot, generation: 1 };
//! io.send_copy(conn, &mut [&b"hel"[..], &b"lo"[..]].into_iter());
//! io.turn(Wait::No, &mut events);
//! assert_eq!(io.read(client), b"hello");
//! ```

mod client;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{BufferId, Errno, Event, Io, IoCounters, ListenerId, SEND_COPY_BYTES_MAX, Wait};
use crate::mesh::msg::{ConnRef, SharedPayload};

use client::Client;
pub use client::{ClientId, ServerEnd};

/// How unpleasant the kernel is, each in percent of the chances it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A send takes only a part although there is room.
    pub short_send: u32,
    /// Completions of a socket stay behind for this turn.
    pub late: u32,
    /// A readiness poll ends with its event.
    pub poll_ends: u32,
    /// An accept ends with an error although a client waits.
    pub accept_error: u32,
    /// A multishot accept ends with the connection it accepted, because the completion queue is full.
    pub accept_overflow: u32,
    /// A receive finds no buffer.
    pub no_buffer: u32,
    /// A receive gives fewer bytes than there are.
    pub short_receive: u32,
    /// The kernel does not say who the peer is.
    pub nameless: u32,
    /// What was outstanding at a close is still told before `Closed`.
    pub told_after_close: u32,
    /// What came before a reset can still be read.
    pub data_before_reset: u32,
    /// The doorbell seems to have rung.
    pub woken: u32,
}

impl Faults {
    /// A kernel on a good day.
    pub const NONE: Faults = Faults {
        short_send: 0,
        late: 0,
        poll_ends: 0,
        accept_error: 0,
        accept_overflow: 0,
        no_buffer: 0,
        short_receive: 0,
        nameless: 0,
        told_after_close: 0,
        data_before_reset: 0,
        woken: 0,
    };
    /// Everything, often.
    pub const ALL: Faults = Faults {
        short_send: 20,
        late: 30,
        poll_ends: 10,
        accept_error: 5,
        accept_overflow: 10,
        no_buffer: 10,
        short_receive: 30,
        nameless: 10,
        told_after_close: 50,
        data_before_reset: 50,
        woken: 10,
    };
}

#[derive(Debug)]
struct Socket {
    client: ClientId,
    generation: Option<u32>,
    inbox: VecDeque<u8>,
    fin: bool,
    reset: bool,
    polled: bool,
    receiving: bool,
    wants_writable: bool,
    naming: bool,
    stalled: bool,
    sent_this_turn: bool,
    shut: bool,
    closing: bool,
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    No,
    One,
    Many,
}

#[derive(Debug)]
struct Door {
    backlog: VecDeque<ClientId>,
    accepting: Accepting,
    /// The accept looks at the backlog: it was armed just now, or a client has woken it.
    looking: bool,
    events: VecDeque<Event>,
}

/// See the module.
#[derive(Debug)]
pub struct SimIo {
    random: SmallRng,
    faults: Faults,
    sockets: Vec<Option<Socket>>,
    /// Generation of the last owner of each slot.
    owners: Vec<Option<u32>>,
    doors: Vec<Door>,
    clients: Vec<Client>,
    buffers: Vec<Vec<u8>>,
    buffers_free: Vec<u16>,
    buffer_bytes: usize,
    lent: usize,
    failures: Vec<Event>,
    counters: IoCounters,
}

impl SimIo {
    /// A kernel with so many descriptors and listeners.
    pub fn new(seed: u64, faults: Faults, slots: u32, listeners: usize) -> SimIo {
        let buffers = 8u16;
        SimIo {
            random: SmallRng::seed_from_u64(seed),
            faults,
            sockets: (0..slots).map(|_| None).collect(),
            owners: vec![None; slots as usize],
            doors: (0..listeners)
                .map(|_| Door {
                    backlog: VecDeque::new(),
                    accepting: Accepting::No,
                    looking: false,
                    events: VecDeque::new(),
                })
                .collect(),
            clients: Vec::new(),
            buffers: vec![Vec::new(); usize::from(buffers)],
            buffers_free: (0..buffers).collect(),
            buffer_bytes: 256,
            lent: 0,
            failures: Vec::new(),
            counters: IoCounters::default(),
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        percent > 0 && self.random.random_range(0..100) < percent
    }

    fn socket_of(&self, client: ClientId) -> Option<u32> {
        self.clients[client.0].slot
    }

    /// Readiness changed: an armed poll tells, once per change.
    fn announce(&mut self, slot: u32) {
        let ends = self.chance(self.faults.poll_ends);
        let Some(socket) = self.sockets[slot as usize].as_mut() else { return };
        let Some(generation) = socket.generation.filter(|_| socket.polled && !socket.closing) else { return };
        socket.polled = !ends;
        socket.events.push_back(Event::Readable { conn: ConnRef { slot, generation }, armed: !ends });
    }

    fn space(&self, client: ClientId) -> usize {
        let client = &self.clients[client.0];
        client.window_bytes.saturating_sub(client.inbox.len())
    }

    fn tell_writable(&mut self, slot: u32) {
        let Some(socket) = self.sockets[slot as usize].as_ref() else { return };
        let ready = self.space(socket.client) > 0 || socket.reset;
        let Some(socket) = self.sockets[slot as usize].as_mut() else { return };
        if let Some(generation) = socket.generation.filter(|_| ready && socket.wants_writable && !socket.closing) {
            socket.wants_writable = false;
            socket.events.push_back(Event::Writable { conn: ConnRef { slot, generation } });
        }
    }

    /// The socket of an operation, which must be the caller's and not closed.
    fn socket(&mut self, conn: ConnRef) -> &mut Socket {
        let owner = &mut self.owners[conn.slot as usize];
        let socket = self.sockets[conn.slot as usize].as_mut().expect("operation on a free slot");
        if socket.generation.is_none() {
            assert_ne!(*owner, Some(conn.generation), "a new connection has the generation of the one before");
            *owner = Some(conn.generation);
        }
        assert_eq!(*socket.generation.get_or_insert(conn.generation), conn.generation, "operation of an earlier owner");
        assert!(!socket.closing, "operation after close");
        socket
    }

    fn send(&mut self, conn: ConnRef, bytes: &[u8]) {
        assert!(!bytes.is_empty(), "an empty send");
        self.counters.sends += 1;
        self.counters.submissions += 1;
        let socket = self.socket(conn);
        assert!(!socket.sent_this_turn, "two sends of one connection in one turn");
        assert!(!socket.stalled, "a send before the socket was writable again");
        assert!(!socket.shut, "a send after FIN");
        socket.sent_this_turn = true;
        let (client, reset) = (socket.client, socket.reset);
        if reset {
            return self.failures.push(Event::SendFailed { conn, error: Errno(libc::EPIPE) });
        }
        let mut room = self.space(client).min(bytes.len());
        if self.chance(self.faults.short_send) {
            room = self.random.random_range(0..=room);
        }
        self.clients[client.0].inbox.extend(&bytes[..room]);
        if room < bytes.len() {
            self.socket(conn).stalled = true;
            self.failures.push(Event::SendShort { conn, sent: u32::try_from(room).expect("sends are small") });
        }
    }

    fn accept(&mut self, index: usize) {
        let listener = ListenerId(u16::try_from(index).expect("listeners are few"));
        while self.doors[index].accepting != Accepting::No && self.doors[index].looking {
            let Some(&client) = self.doors[index].backlog.front() else {
                self.doors[index].looking = false;
                return;
            };
            if self.chance(self.faults.accept_error) {
                self.doors[index].accepting = Accepting::No;
                let errors = [libc::ECONNABORTED, libc::EMFILE, libc::ENFILE, libc::ENOBUFS];
                let error = Some(Errno(errors[self.random.random_range(0..errors.len())]));
                return self.doors[index].events.push_back(Event::AcceptEnded { listener, error });
            }
            self.doors[index].backlog.pop_front();
            let Some(slot) = self.free_slot() else {
                // As the kernel does: the connection was taken off the backlog and has nowhere to go.
                self.clients[client.0].server = ServerEnd::Reset;
                self.doors[index].accepting = Accepting::No;
                let error = Some(Errno(libc::ENFILE));
                return self.doors[index].events.push_back(Event::AcceptEnded { listener, error });
            };
            let end = &mut self.clients[client.0];
            let slot_number = u32::try_from(slot).expect("slots are 32 bits");
            end.slot = Some(slot_number);
            self.sockets[slot] = Some(Socket {
                client,
                generation: None,
                inbox: std::mem::take(&mut end.early).into(),
                fin: end.fin_early,
                reset: end.gone,
                polled: false,
                receiving: false,
                wants_writable: false,
                naming: false,
                stalled: false,
                sent_this_turn: false,
                shut: false,
                closing: false,
                events: VecDeque::new(),
            });
            self.doors[index].events.push_back(Event::Accepted { listener, slot: slot_number });
            let one = self.doors[index].accepting == Accepting::One;
            if one || self.chance(self.faults.accept_overflow) {
                self.doors[index].accepting = Accepting::No;
                let error = (!one).then_some(Errno(libc::EOVERFLOW));
                self.doors[index].events.push_back(Event::AcceptEnded { listener, error });
            }
        }
    }

    /// Any free slot: the kernel's choice follows no rule that a shard could know.
    fn free_slot(&mut self) -> Option<usize> {
        let start = self.random.random_range(0..self.sockets.len().max(1));
        let (before, after) = self.sockets.split_at(start);
        let free = after.iter().position(Option::is_none).map(|at| start + at);
        free.or_else(|| before.iter().position(Option::is_none))
    }

    /// Take what waits in the backlogs, and tell what has happened on the listeners.
    fn collect_accepts(&mut self, events: &mut Vec<Event>) {
        for index in 0..self.doors.len() {
            self.accept(index);
            if !self.chance(self.faults.late) {
                events.extend(self.doors[index].events.drain(..));
            }
        }
    }

    /// Deliver what is queued on one socket, some of it perhaps later.
    fn collect(&mut self, slot: usize, events: &mut Vec<Event>) {
        if self.chance(self.faults.late) {
            return;
        }
        let Some(socket) = self.sockets[slot].as_mut() else { return };
        while let Some(event) = socket.events.pop_front() {
            match event {
                Event::Received { .. }
                | Event::ReceiveEmpty { .. }
                | Event::ReceiveNoBuffer { .. }
                | Event::EndOfStream { .. }
                | Event::ReceiveFailed { .. } => socket.receiving = false,
                Event::Writable { .. } => socket.stalled = false,
                Event::PeerName { .. } => socket.naming = false,
                _ => {}
            }
            if let Event::Received { .. } = event {
                self.lent += 1;
            }
            events.push(event);
            if let Event::Closed { .. } = event {
                self.sockets[slot] = None;
                return;
            }
        }
    }

    fn open_slots(&self) -> Vec<usize> {
        (0..self.sockets.len()).filter(|slot| self.sockets[*slot].is_some()).collect()
    }
}

impl Io for SimIo {
    fn slots(&self) -> u32 {
        u32::try_from(self.sockets.len()).expect("slots are 32 bits")
    }

    fn accept_many(&mut self, listener: ListenerId) {
        let door = &mut self.doors[usize::from(listener.0)];
        assert_eq!(door.accepting, Accepting::No, "two accepts on one listener");
        door.accepting = Accepting::Many;
        door.looking = true;
    }

    fn accept_one(&mut self, listener: ListenerId) {
        let door = &mut self.doors[usize::from(listener.0)];
        assert_eq!(door.accepting, Accepting::No, "two accepts on one listener");
        door.accepting = Accepting::One;
        door.looking = true;
    }

    fn cancel_accept(&mut self, listener: ListenerId) {
        let door = &mut self.doors[usize::from(listener.0)];
        if door.accepting != Accepting::No {
            door.accepting = Accepting::No;
            door.events.push_back(Event::AcceptEnded { listener, error: None });
        }
    }

    fn peer_name(&mut self, conn: ConnRef) {
        let nameless = self.chance(self.faults.nameless);
        let socket = self.socket(conn);
        assert!(!socket.naming, "two questions for the peer's name");
        socket.naming = true;
        let host = u8::try_from(socket.client.0 % 200).unwrap_or_default();
        let address = (!nameless).then(|| SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 4000)));
        socket.events.push_back(Event::PeerName { conn, address });
    }

    fn poll_readable(&mut self, conn: ConnRef) {
        let socket = self.socket(conn);
        assert!(!socket.polled, "two readiness polls");
        socket.polled = true;
        if !socket.inbox.is_empty() || socket.fin || socket.reset {
            self.announce(conn.slot);
        }
    }

    fn receive(&mut self, conn: ConnRef) {
        let no_buffer = self.chance(self.faults.no_buffer);
        let short = self.chance(self.faults.short_receive);
        let most = if short { self.random.random_range(1..=self.buffer_bytes) } else { self.buffer_bytes };
        let buffer = self.buffers_free.last().copied().filter(|_| !no_buffer);
        let socket = self.socket(conn);
        assert!(!socket.receiving, "two receives on one connection");
        socket.receiving = true;
        let event = if !socket.inbox.is_empty() {
            match buffer {
                Some(buffer) => {
                    let taken: Vec<u8> = socket.inbox.drain(..most.min(socket.inbox.len())).collect();
                    let (bytes, more) = (
                        u32::try_from(taken.len()).expect("small"),
                        !socket.inbox.is_empty() || socket.fin || socket.reset,
                    );
                    self.buffers[usize::from(buffer)] = taken;
                    self.buffers_free.pop();
                    Event::Received { conn, buffer: BufferId(buffer), bytes, more }
                }
                None => {
                    self.counters.no_buffers += 1;
                    Event::ReceiveNoBuffer { conn }
                }
            }
        } else if socket.reset {
            Event::ReceiveFailed { conn, error: Errno(libc::ECONNRESET) }
        } else if socket.fin {
            Event::EndOfStream { conn }
        } else {
            Event::ReceiveEmpty { conn }
        };
        self.socket(conn).events.push_back(event);
    }

    fn buffer(&mut self, buffer: BufferId, bytes: u32) -> &mut [u8] {
        assert!(!self.buffers_free.contains(&buffer.0), "a buffer that holds no data");
        &mut self.buffers[usize::from(buffer.0)][..bytes as usize]
    }

    fn recycle(&mut self, buffer: BufferId) {
        assert!(!self.buffers_free.contains(&buffer.0), "a buffer given back twice");
        self.buffers_free.push(buffer.0);
        self.lent -= 1;
    }

    fn send_payload(&mut self, conn: ConnRef, payload: &SharedPayload, websocket: bool, from: u32) {
        let bytes = payload.bytes(websocket)[from as usize..].to_vec();
        self.send(conn, &bytes);
    }

    fn send_copy(&mut self, conn: ConnRef, parts: &mut dyn Iterator<Item = &[u8]>) -> u32 {
        let mut bytes: Vec<u8> = parts.flatten().copied().collect();
        bytes.truncate(SEND_COPY_BYTES_MAX);
        self.send(conn, &bytes);
        u32::try_from(bytes.len()).expect("bounded")
    }

    fn poll_writable(&mut self, conn: ConnRef) {
        let socket = self.socket(conn);
        assert!(!socket.wants_writable, "two polls for writing");
        socket.wants_writable = true;
        self.tell_writable(conn.slot);
    }

    fn shutdown_write(&mut self, conn: ConnRef) {
        let socket = self.socket(conn);
        assert!(!socket.shut, "two FINs");
        assert!(!socket.stalled, "a FIN before the tail of a short send");
        socket.shut = true;
        let client = socket.client;
        if self.clients[client.0].server == ServerEnd::Open {
            self.clients[client.0].server = ServerEnd::Closed;
        }
    }

    fn close(&mut self, conn: ConnRef) {
        let told = self.chance(self.faults.told_after_close);
        let socket = self.socket(conn);
        socket.closing = true;
        if told && socket.wants_writable {
            socket.events.push_back(Event::Writable { conn });
        }
        // The kernel seam may swallow what the caller has not been told yet; buffers come back by themselves then.
        let swallowed: Vec<Event> = if told { Vec::new() } else { socket.events.drain(..).collect() };
        socket.events.push_back(Event::Closed { conn });
        let (client, unread) = (socket.client, !socket.inbox.is_empty());
        for event in swallowed {
            if let Event::Received { buffer, .. } = event {
                self.buffers_free.push(buffer.0);
            }
        }
        let end = &mut self.clients[client.0];
        end.slot = None;
        if unread {
            // Unread bytes turn the close into a reset, which destroys what is on its way.
            end.server = ServerEnd::Reset;
            end.inbox.clear();
        } else if end.server == ServerEnd::Open {
            end.server = ServerEnd::Closed;
        }
    }

    fn turn(&mut self, _wait: Wait, events: &mut Vec<Event>) {
        assert_eq!(self.lent, 0, "a receive buffer was kept over a turn");
        self.counters.enters += 1;
        events.append(&mut self.failures);
        for socket in self.sockets.iter_mut().flatten() {
            socket.sent_this_turn = false;
        }
        if self.chance(self.faults.woken) {
            events.push(Event::Woken);
        }
        // Sockets in any order; new ones only after their `Accepted`, and a slot that closes before its next owner.
        let mut slots = self.open_slots();
        let accepts_first = self.random.random_bool(0.5);
        if accepts_first {
            self.collect_accepts(events);
        }
        while !slots.is_empty() {
            let at = self.random.random_range(0..slots.len());
            self.collect(slots.swap_remove(at), events);
        }
        if !accepts_first {
            self.collect_accepts(events);
        }
    }

    fn counters(&self) -> IoCounters {
        self.counters
    }
}
