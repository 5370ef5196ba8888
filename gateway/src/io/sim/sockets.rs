//! The virtual sockets of the fake kernel, as the server has them. Owns what is armed on each, what it has been sent,
//! and the events that are still to be told; checks that its caller keeps to the rules of [`super::Io`].

use std::collections::VecDeque;

use rand::Rng;

use super::client::Client;
use super::{ClientId, SimIo};
use crate::io::{Errno, Event};
use crate::mesh::msg::ConnRef;

/// The server's end of one connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) client: ClientId,
    pub(super) generation: Option<u32>,
    pub(super) inbox: VecDeque<u8>,
    pub(super) fin: bool,
    pub(super) reset: bool,
    pub(super) polled: bool,
    pub(super) receiving: bool,
    pub(super) wants_writable: bool,
    pub(super) naming: bool,
    pub(super) stalled: bool,
    pub(super) sent_this_turn: bool,
    pub(super) shut: bool,
    pub(super) closing: bool,
    pub(super) events: VecDeque<Event>,
}

impl Socket {
    /// As it is accepted: with what the client has written meanwhile.
    pub(super) fn new(client: ClientId, end: &mut Client) -> Socket {
        Socket {
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
        }
    }
}

impl SimIo {
    pub(super) fn socket_of(&self, client: ClientId) -> Option<u32> {
        self.clients[client.0].slot
    }

    /// Readiness changed: an armed poll tells, once per change.
    pub(super) fn announce(&mut self, slot: u32) {
        let ends = self.chance(self.faults.poll_ends);
        let Some(socket) = self.sockets[slot as usize].as_mut() else { return };
        let Some(generation) = socket.generation.filter(|_| socket.polled && !socket.closing) else { return };
        socket.polled = !ends;
        socket.events.push_back(Event::Readable { conn: ConnRef { slot, generation }, armed: !ends });
    }

    pub(super) fn space(&self, client: ClientId) -> usize {
        let client = &self.clients[client.0];
        client.window_bytes.saturating_sub(client.inbox.len())
    }

    pub(super) fn tell_writable(&mut self, slot: u32) {
        let Some(socket) = self.sockets[slot as usize].as_ref() else { return };
        let ready = self.space(socket.client) > 0 || socket.reset;
        let Some(socket) = self.sockets[slot as usize].as_mut() else { return };
        if let Some(generation) = socket.generation.filter(|_| ready && socket.wants_writable && !socket.closing) {
            socket.wants_writable = false;
            socket.events.push_back(Event::Writable { conn: ConnRef { slot, generation } });
        }
    }

    /// The socket of an operation, which must be the caller's and not closed.
    pub(super) fn socket(&mut self, conn: ConnRef) -> &mut Socket {
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

    pub(super) fn send(&mut self, conn: ConnRef, bytes: &[u8]) {
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

    /// Deliver what is queued on one socket, some of it perhaps later.
    pub(super) fn collect(&mut self, slot: usize, events: &mut Vec<Event>) {
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

    pub(super) fn open_slots(&self) -> Vec<usize> {
        (0..self.sockets.len()).filter(|slot| self.sockets[*slot].is_some()).collect()
    }
}
