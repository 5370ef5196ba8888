//! The listeners of the fake kernel: who waits at each, the accept that is armed on it, and when that one looks at the
//! backlog. Owns which slot a connection gets, which follows no rule.

use std::collections::VecDeque;

use rand::Rng;

use super::sockets::Socket;
use super::{ClientId, ServerEnd, SimIo};
use crate::io::{Errno, Event, ListenerId};

/// What is armed on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepting {
    No,
    One,
    Many,
}

/// One listener.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) backlog: VecDeque<ClientId>,
    pub(super) accepting: Accepting,
    /// The accept looks at the backlog: it was armed just now, or a client has woken it.
    pub(super) looking: bool,
    pub(super) events: VecDeque<Event>,
}

impl Door {
    /// Nobody waits, nothing is armed.
    pub(super) fn new() -> Door {
        Door { backlog: VecDeque::new(), accepting: Accepting::No, looking: false, events: VecDeque::new() }
    }

    /// Arm an accept, which looks at the backlog first.
    pub(super) fn arm(&mut self, accepting: Accepting) {
        assert_eq!(self.accepting, Accepting::No, "two accepts on one listener");
        self.accepting = accepting;
        self.looking = true;
    }
}

impl SimIo {
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
            self.sockets[slot] = Some(Socket::new(client, end));
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
    pub(super) fn collect_accepts(&mut self, events: &mut Vec<Event>) {
        for index in 0..self.doors.len() {
            self.accept(index);
            if !self.chance(self.faults.late) {
                events.extend(self.doors[index].events.drain(..));
            }
        }
    }
}
