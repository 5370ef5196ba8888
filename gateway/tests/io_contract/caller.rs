//! A caller that keeps its side of the contract, and checks the other side: each event against what was asked, each
//! byte against what was written.

use std::collections::HashMap;

use halley_gateway::io::{Event, Io, ListenerId, Wait};
use halley_gateway::mesh::msg::ConnRef;
use rand::Rng;
use rand::rngs::SmallRng;

use crate::ends::{Clients, End};

const LISTENER: ListenerId = ListenerId(0);
/// Turns after which a run that should have ended is stuck.
const TURNS_MAX: usize = 4_000;

/// What both sides know of one client, by its number.
#[derive(Debug, Default)]
struct Client {
    wrote: Vec<u8>,
    read: Vec<u8>,
    end: Option<End>,
    finished: bool,
    reset: bool,
    conn: Option<ConnRef>,
}

/// One connection, and what is outstanding for it.
#[derive(Debug, Default)]
struct Conn {
    /// Known once its first bytes, which name the client, are here.
    client: Option<usize>,
    received: Vec<u8>,
    /// Taken by the kernel, by its own account.
    taken: Vec<u8>,
    queue: Vec<u8>,
    /// Bytes of the send of this turn.
    sending: u32,
    polled: bool,
    receiving: bool,
    unread: bool,
    writable: bool,
    stalled: bool,
    naming: bool,
    closing: bool,
    /// All that the client wrote was received, so a close loses nothing.
    ended: bool,
}

#[derive(Default)]
pub struct Caller {
    accepting: bool,
    conns: HashMap<ConnRef, Conn>,
    owners: HashMap<u32, ConnRef>,
    clients: Vec<Client>,
    /// Ended connections with what the kernel had taken, and whether the end was an orderly one.
    ended: HashMap<usize, (Vec<u8>, bool)>,
    generation: u32,
    hungry: Vec<ConnRef>,
    counter: u32,
}

impl Caller {
    pub fn new() -> Caller {
        Caller::default()
    }

    pub fn some_connection(&self) -> ConnRef {
        *self.conns.keys().next().expect("a connection")
    }

    // ---- what clients do

    /// A client says its number first, in four bytes.
    pub fn connect(&mut self, clients: &mut impl Clients) {
        if self.clients.len() < 40 {
            clients.connect();
            let number = u32::try_from(self.clients.len()).unwrap().to_le_bytes();
            self.clients.push(Client::default());
            self.write(clients, self.clients.len() - 1, &number);
        }
    }

    fn write(&mut self, clients: &mut impl Clients, client: usize, bytes: &[u8]) {
        let written = clients.write(client, bytes);
        self.clients[client].wrote.extend_from_slice(&bytes[..written]);
    }

    fn pick(&self, random: &mut SmallRng) -> Option<usize> {
        let open: Vec<usize> =
            (0..self.clients.len()).filter(|&at| !self.clients[at].finished && !self.clients[at].reset).collect();
        (!open.is_empty()).then(|| open[random.random_range(0..open.len())])
    }

    pub fn client_writes(&mut self, clients: &mut impl Clients, random: &mut SmallRng) {
        let Some(client) = self.pick(random) else { return };
        let length = [1, 16, 700, 3_000][random.random_range(0..4)];
        self.counter += 1;
        let bytes = vec![self.counter.to_le_bytes()[0]; length];
        self.write(clients, client, &bytes);
    }

    pub fn client_reads(&mut self, clients: &mut impl Clients, random: &mut SmallRng) {
        if let Some(client) = self.pick(random) {
            self.read(clients, client);
        }
    }

    fn read(&mut self, clients: &mut impl Clients, client: usize) {
        let (bytes, end) = clients.read(client);
        self.clients[client].read.extend(bytes);
        self.clients[client].end = Some(end);
    }

    pub fn client_finishes(&mut self, clients: &mut impl Clients, random: &mut SmallRng) {
        if let Some(client) = self.pick(random) {
            clients.shutdown(client);
            self.clients[client].finished = true;
        }
    }

    pub fn client_resets(&mut self, clients: &mut impl Clients, random: &mut SmallRng) {
        if let Some(client) = self.pick(random) {
            clients.reset(client);
            self.clients[client].reset = true;
        }
    }

    // ---- what the caller does

    fn pick_conn(&self, random: &mut SmallRng) -> Option<ConnRef> {
        let mut open: Vec<ConnRef> =
            self.conns.iter().filter(|(_, state)| !state.closing).map(|(conn, _)| *conn).collect();
        open.sort_by_key(|conn| conn.generation);
        (!open.is_empty()).then(|| open[random.random_range(0..open.len())])
    }

    pub fn queue_bytes(&mut self, random: &mut SmallRng) {
        if let Some(conn) = self.pick_conn(random) {
            self.counter += 1;
            let bytes = vec![self.counter.to_le_bytes()[0]; [1, 26, 900, 20_000][random.random_range(0..4)]];
            self.conns.get_mut(&conn).unwrap().queue.extend(bytes);
        }
    }

    /// Closes a connection whatever it is doing.
    pub fn close_one(&mut self, io: &mut dyn Io, random: &mut SmallRng) {
        if let Some(conn) = self.pick_conn(random) {
            self.close(io, conn);
        }
    }

    fn close(&mut self, io: &mut dyn Io, conn: ConnRef) {
        let state = self.conns.get_mut(&conn).unwrap();
        if !state.closing {
            state.closing = true;
            io.close(conn);
        }
    }

    fn receive(&mut self, io: &mut dyn Io, conn: ConnRef) {
        let state = self.conns.get_mut(&conn).unwrap();
        if state.closing || state.ended {
            return;
        }
        if std::mem::replace(&mut state.receiving, true) {
            state.unread = true;
        } else {
            io.receive(conn);
        }
    }

    /// One turn, as a shard takes it.
    pub fn turn(&mut self, clients: &mut impl Clients) {
        self.take_turn(clients, Wait::No);
    }

    fn take_turn(&mut self, clients: &mut impl Clients, wait: Wait) {
        let io = clients.io();
        if !std::mem::replace(&mut self.accepting, true) {
            io.accept_many(LISTENER);
        }
        for conn in std::mem::take(&mut self.hungry) {
            if self.conns.contains_key(&conn) {
                self.receive(io, conn);
            }
        }
        let mut conns: Vec<ConnRef> = self.conns.keys().copied().collect();
        conns.sort_by_key(|conn| conn.generation);
        for conn in conns {
            let state = self.conns.get_mut(&conn).unwrap();
            if !state.closing && !state.stalled && !state.queue.is_empty() {
                let middle = state.queue.len() / 2;
                let (one, two) = state.queue.split_at(middle);
                state.sending = io.send_copy(conn, &mut [one, two].into_iter());
            }
        }
        let mut events = Vec::new();
        io.turn(wait, &mut events);
        self.settle_sends(io, &events);
        for event in events {
            self.note(io, event);
        }
    }

    /// Short sends come first; the sends without an event took everything.
    fn settle_sends(&mut self, io: &mut dyn Io, events: &[Event]) {
        let is_failure = |event: &&Event| matches!(event, Event::SendShort { .. } | Event::SendFailed { .. });
        let failures = events.iter().take_while(is_failure).count();
        assert!(!events[failures..].iter().any(|event| is_failure(&event)), "failures come first: {events:?}");
        let mut failed = Vec::new();
        for event in &events[..failures] {
            let (Event::SendShort { conn, .. } | Event::SendFailed { conn, .. }) = event else { unreachable!() };
            let state = self.conns.get_mut(conn).unwrap_or_else(|| panic!("{event:?} of nobody"));
            assert!(state.sending > 0, "{event:?} without a send");
            let Event::SendShort { sent, .. } = event else {
                state.sending = 0;
                failed.push(*conn);
                continue;
            };
            assert!(*sent < state.sending, "{event:?} of {}", state.sending);
            state.sending = *sent;
            if !state.closing {
                state.stalled = true;
                state.writable = true;
                io.poll_writable(*conn);
            }
        }
        for state in self.conns.values_mut() {
            let taken = std::mem::take(&mut state.sending) as usize;
            state.taken.extend(state.queue.drain(..taken));
        }
        for conn in failed {
            self.close(io, conn);
        }
    }

    fn note(&mut self, io: &mut dyn Io, event: Event) {
        match event {
            Event::Woken => {}
            Event::AcceptEnded { .. } => {
                assert!(std::mem::replace(&mut self.accepting, false), "{event:?} was told before");
            }
            Event::Accepted { slot, .. } => {
                assert!(slot < io.slots() && !self.owners.contains_key(&slot), "{event:?} into a slot in use");
                self.generation += 1;
                let conn = ConnRef { slot, generation: self.generation };
                self.owners.insert(slot, conn);
                self.conns.insert(conn, Conn { polled: true, naming: true, ..Conn::default() });
                io.peer_name(conn);
                io.poll_readable(conn);
            }
            Event::PeerName { conn, .. }
            | Event::Readable { conn, .. }
            | Event::Received { conn, .. }
            | Event::ReceiveEmpty { conn }
            | Event::ReceiveNoBuffer { conn }
            | Event::EndOfStream { conn }
            | Event::ReceiveFailed { conn, .. }
            | Event::SendShort { conn, .. }
            | Event::SendFailed { conn, .. }
            | Event::Writable { conn }
            | Event::Closed { conn } => self.note_of(io, conn, event),
        }
    }

    /// What an event of a connection changes.
    fn note_of(&mut self, io: &mut dyn Io, conn: ConnRef, event: Event) {
        let state = self.conns.get_mut(&conn).unwrap_or_else(|| panic!("{event:?} of a connection that is not"));
        match event {
            Event::PeerName { address, .. } => {
                assert!(std::mem::replace(&mut state.naming, false), "{event:?} was not asked for");
                assert!(address.is_none_or(|address| address.ip().is_loopback()));
            }
            Event::Readable { armed, .. } => {
                assert!(state.polled, "{event:?} was not asked for");
                state.polled = armed;
                if !armed && !state.closing {
                    state.polled = true;
                    io.poll_readable(conn);
                }
                self.receive(io, conn);
            }
            Event::Received { buffer, bytes, more, .. } => {
                assert!(std::mem::replace(&mut state.receiving, false), "{event:?} was not asked for");
                assert!(bytes > 0);
                state.received.extend_from_slice(io.buffer(buffer, bytes));
                io.recycle(buffer);
                if std::mem::take(&mut state.unread) || more {
                    self.receive(io, conn);
                }
                self.introduce(conn);
            }
            Event::ReceiveEmpty { .. } => {
                assert!(std::mem::replace(&mut state.receiving, false), "{event:?} was not asked for");
                if std::mem::take(&mut state.unread) {
                    self.receive(io, conn);
                }
            }
            Event::ReceiveNoBuffer { .. } => {
                assert!(std::mem::replace(&mut state.receiving, false), "{event:?} was not asked for");
                self.hungry.push(conn);
            }
            Event::EndOfStream { .. } => {
                assert!(std::mem::replace(&mut state.receiving, false), "{event:?} was not asked for");
                state.ended = true;
            }
            Event::ReceiveFailed { .. } => {
                assert!(std::mem::replace(&mut state.receiving, false) || state.polled, "{event:?} was not asked for");
                self.close(io, conn);
            }
            Event::Writable { .. } => {
                assert!(std::mem::replace(&mut state.writable, false), "{event:?} was not asked for");
                state.stalled = false;
            }
            Event::Closed { .. } => {
                assert!(state.closing, "{event:?} was not asked for");
                let state = self.conns.remove(&conn).unwrap();
                self.owners.remove(&conn.slot);
                if let Some(client) = state.client {
                    self.clients[client].conn = None;
                    self.ended.insert(client, (state.taken, state.ended && state.queue.is_empty()));
                }
            }
            _ => {}
        }
    }

    /// The first four bytes say which client it is; all of them are what that client wrote.
    fn introduce(&mut self, conn: ConnRef) {
        let state = self.conns.get_mut(&conn).unwrap();
        if state.client.is_none()
            && let Some(number) = state.received.first_chunk::<4>()
        {
            let client = u32::from_le_bytes(*number) as usize;
            state.client = Some(client);
            self.clients[client].conn = Some(conn);
        }
        if let Some(client) = state.client {
            assert!(self.clients[client].wrote.starts_with(&state.received), "bytes from client {client} differ");
        }
    }

    // ---- the end

    /// Everybody reads, finishes and is answered; then all accounts must agree.
    pub fn finish(&mut self, clients: &mut impl Clients) {
        for client in 0..self.clients.len() {
            if !self.clients[client].reset {
                clients.take_all(client);
                clients.shutdown(client);
                self.clients[client].finished = true;
            }
        }
        let patience = clients.patience();
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "stuck with {:?} {:?}", self.conns, self.clients);
            for client in 0..self.clients.len() {
                if !self.clients[client].reset {
                    self.read(clients, client);
                }
            }
            let done: Vec<ConnRef> = self
                .conns
                .iter()
                .filter(|(_, state)| state.ended && state.queue.is_empty() && !state.closing)
                .map(|(conn, _)| *conn)
                .collect();
            for conn in done {
                self.close(clients.io(), conn);
            }
            self.take_turn(clients, patience);
            let open = |client: &Client| !client.reset && client.end.is_none_or(|end| end == End::Open);
            if self.conns.is_empty() && !self.clients.iter().any(open) {
                break;
            }
        }
        for (number, client) in self.clients.iter().enumerate() {
            let Some((taken, orderly)) = self.ended.get(&number) else { continue };
            assert!(taken.starts_with(&client.read), "bytes to client {number} differ");
            if *orderly && !client.reset {
                assert_eq!(client.end, Some(End::Closed), "client {number} ended in order");
                assert_eq!(client.read.len(), taken.len(), "client {number} misses bytes");
            }
        }
    }
}
