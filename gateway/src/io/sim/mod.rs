//! A seeded fake kernel for tests of shard code. Owns virtual sockets with finite windows, the clients at their other
//! ends, and every unpleasant thing the real kernel may do: short sends, full sockets, resets, late and interleaved
//! completions, polls that end, receives without a buffer, accepts that fail. It never sleeps, and it panics when its
//! caller breaks an obligation of [`Io`]. All chance comes from one seed, so a run can be replayed.
//!
//! Order is kept as the kernel keeps it: events of one socket come in the order in which they happened, failed sends
//! come in the turn of their send, and events of different sockets may come in any order and any number of turns later.
//! A slot may be accepted into again in the very turn of its `Closed`, after it.
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
mod doors;
mod faults;
mod sockets;

use std::net::{Ipv4Addr, SocketAddr};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{BufferId, Errno, Event, Io, IoCounters, ListenerId, SEND_COPY_BYTES_MAX, Wait};
use crate::mesh::msg::{ConnRef, SharedPayload};

use client::Client;
pub use client::{ClientId, ServerEnd};
use doors::{Accepting, Door};
pub use faults::Faults;
use sockets::Socket;

/// The fake kernel of one shard, with its clients.
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
            doors: (0..listeners).map(|_| Door::new()).collect(),
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
}

impl Io for SimIo {
    fn slots(&self) -> u32 {
        u32::try_from(self.sockets.len()).expect("slots are 32 bits")
    }

    fn accept_many(&mut self, listener: ListenerId) {
        self.doors[usize::from(listener.0)].arm(Accepting::Many);
    }

    fn accept_one(&mut self, listener: ListenerId) {
        self.doors[usize::from(listener.0)].arm(Accepting::One);
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
