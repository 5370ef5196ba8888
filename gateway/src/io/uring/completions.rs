//! What the kernel's answers mean. Owns the translation of completions into events and the bookkeeping of what has
//! ended; it queues no request, because it runs while the kernel's answers are being read. The events go to `turn`'s
//! caller.

use io_uring::cqueue;

use super::ops::{self, Kind};
use super::ring::Completion;
use super::slots::Facts;
use super::{BufferId, Event, ListenerId, UringIo};
use crate::io::Errno;
use crate::mesh::msg::ConnRef;

impl Completion {
    /// No further completion of the same operation follows.
    fn is_last(self) -> bool {
        !cqueue::more(self.flags)
    }

    /// The count of a success, or why it failed.
    fn outcome(self) -> Result<u32, Errno> {
        u32::try_from(self.result).map_err(|_| Errno(-self.result))
    }
}

impl UringIo {
    /// Takes note of one completion.
    pub(super) fn complete(&mut self, completion: Completion) {
        let (kind, generation_low, slot) = ops::parts(completion.user_data);
        match kind {
            Kind::AcceptMany | Kind::AcceptOne => self.accept_completed(kind, slot, completion),
            Kind::Doorbell => {
                self.doorbell_armed = !completion.is_last();
                self.ready.push(Event::Woken);
            }
            Kind::Close => {
                debug_assert!(false, "a direct descriptor that was in use closes: {completion:?}");
            }
            // There was nothing to cancel any more: its own completion says how it ended.
            Kind::Cancel => {}
            _ => {
                let owner = self.slots.at(slot);
                if owner.facts.has(Facts::NEW) {
                    // A send that failed in the enter that also closed its connection and accepted the next one.
                    return;
                }
                let generation = ops::generation(owner.generation_high, generation_low);
                self.connection_completed(kind, ConnRef { slot, generation }, completion);
            }
        }
    }

    fn accept_completed(&mut self, kind: Kind, index: u32, completion: Completion) {
        let listener = ListenerId(u16::try_from(index).expect("listeners are few"));
        let door = &mut self.doors[usize::from(listener.0)];
        if completion.is_last() {
            door.armed = None;
        }
        let error = match completion.outcome() {
            Ok(slot) => {
                self.slots.accepted(slot, door.family);
                self.ready.push(Event::Accepted { listener, slot });
                // A multishot that ends with a connection could not leave its completion in the queue.
                (kind == Kind::AcceptMany).then_some(Errno(libc::EOVERFLOW))
            }
            Err(Errno(libc::ECANCELED)) => None,
            Err(error) => Some(error),
        };
        if completion.is_last() {
            self.ready.push(Event::AcceptEnded { listener, error });
        }
    }

    fn connection_completed(&mut self, kind: Kind, conn: ConnRef, completion: Completion) {
        let outcome = completion.outcome();
        let is_last = completion.is_last();
        let ended = match kind {
            Kind::PollReadable => Facts::POLL_READABLE,
            Kind::Receive => Facts::RECEIVE,
            Kind::PollWritable => Facts::POLL_WRITABLE,
            Kind::PeerName => Facts::PEER_NAME,
            Kind::ShutdownWrite => Facts::SHUTDOWN,
            _ => Facts::default(),
        };
        let facts = &mut self.slots.at(conn.slot).facts;
        if is_last {
            facts.clear(ended);
        }
        let facts = *facts;
        // A receive's buffer is ours now, and an answered question's place is free, whoever still wants to know.
        let buffer = cqueue::buffer_select(completion.flags).map(BufferId);
        if let Some(buffer) = buffer {
            self.buffers.lend(buffer);
            if facts.has(Facts::CLOSING) || outcome.is_err() || outcome == Ok(0) {
                self.buffers.recycle(buffer);
            }
        }
        let address = if kind == Kind::PeerName { self.names.answered(conn.slot, completion.result) } else { None };
        if facts.has(Facts::CLOSING) {
            // Only a send that failed in the same enter has no fact of its own: it changes nothing here.
            if is_last && kind != Kind::Send && !facts.any_outstanding() {
                self.joined.push(conn);
            }
            return;
        }
        let event = match kind {
            Kind::PollReadable => match outcome {
                Ok(events) => {
                    if ops::has_end(events) {
                        self.slots.at(conn.slot).facts.set(Facts::ENDING);
                    }
                    Event::Readable { conn, armed: !is_last }
                }
                Err(error) => Event::ReceiveFailed { conn, error },
            },
            Kind::Receive => self.received(conn, facts, completion, buffer),
            Kind::PollWritable => return self.room_polled(conn, outcome, is_last),
            Kind::PeerName => Event::PeerName { conn, address },
            Kind::Send => return self.send_incomplete(conn, outcome),
            _ => return,
        };
        self.ready.push(event);
    }

    fn received(&mut self, conn: ConnRef, facts: Facts, completion: Completion, buffer: Option<BufferId>) -> Event {
        match (completion.outcome(), buffer) {
            (Ok(0), _) => Event::EndOfStream { conn },
            (Ok(bytes), Some(buffer)) => {
                // Only TCP says what is left, and of what is left it counts a FIN but not a reset, whose edge may be
                // over. A full buffer may have left something in any case.
                let more = cqueue::sock_nonempty(completion.flags)
                    || bytes == self.buffers.buffer_bytes()
                    || facts.has(Facts::ENDING)
                    || facts.has(Facts::LOCAL);
                Event::Received { conn, buffer, bytes, more }
            }
            (Ok(_), None) => unreachable!("received data lies in a provided buffer"),
            (Err(Errno(libc::EAGAIN)), _) => Event::ReceiveEmpty { conn },
            (Err(Errno(libc::ENOBUFS)), _) => {
                self.counters.no_buffers += 1;
                Event::ReceiveNoBuffer { conn }
            }
            (Err(error), _) => Event::ReceiveFailed { conn, error },
        }
    }

    /// Without room it was a FIN that ended the poll, and would end any that follows: one that stays must watch from
    /// now on.
    fn room_polled(&mut self, conn: ConnRef, outcome: Result<u32, Errno>, is_last: bool) {
        let facts = &mut self.slots.at(conn.slot).facts;
        let has_room = outcome.is_err() || outcome.is_ok_and(ops::has_room);
        if !has_room {
            if is_last && facts.has(Facts::WANTS_ROOM) {
                self.watches.push(conn);
            }
        } else if facts.has(Facts::WANTS_ROOM) {
            self.room_seen(conn);
        } else {
            facts.set(Facts::ROOM);
        }
    }

    /// Sends complete only when the kernel did not take everything.
    fn send_incomplete(&mut self, conn: ConnRef, outcome: Result<u32, Errno>) {
        let event = match outcome {
            Ok(sent) => Event::SendShort { conn, sent },
            Err(Errno(libc::EAGAIN)) => Event::SendShort { conn, sent: 0 },
            Err(error) => Event::SendFailed { conn, error },
        };
        if matches!(event, Event::SendShort { .. }) {
            let facts = &mut self.slots.at(conn.slot).facts;
            facts.set(Facts::SHORT);
            facts.clear(Facts::ROOM);
        }
        self.failures.push(event);
    }
}
