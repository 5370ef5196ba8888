//! Step 8 of a frame on its way in: what feed and control must know. It is told when their rings have room, and kept
//! until then. Owns the order: rooms before the logins that want them, so that feed knows a room when it allows a login
//! into it. What is kept is bounded: of rooms and connections one state a slot, of receipts and answers as many as were
//! asked for, of logins and traces a number. Next: `feed::news` and `control::node`.

use crate::conn::{ConnState, Flags};
use crate::mesh::msg::{ConnRef, ShardToControl, ShardToFeed, TraceEvent};

use super::{Application, Core, Order, ShardLinks};

/// Trace events that may wait for control; beyond they are lost, and counted.
const TRACES_WAITING_MAX: usize = 4096;

impl<A: Application> Core<A> {
    pub(super) fn mark_news(&mut self, slot: u32) {
        let conn = self.conns.at(slot);
        if !conn.flags.has(Flags::NEWS) {
            conn.flags.set(Flags::NEWS);
            self.news.push_back(conn.reference(slot));
        }
    }

    /// Report what happens to a traced connection; costs a test of one bit for all others.
    pub(super) fn trace(&mut self, slot: u32, event: impl FnOnce() -> TraceEvent) {
        let conn = self.conns.peek(slot);
        if !conn.flags.has(Flags::TRACED) {
            return;
        }
        if self.reports.len() < TRACES_WAITING_MAX {
            self.reports.push_back(ShardToControl::Traced { conn: conn.reference(slot), event: event() });
        } else {
            self.counts.traces_lost += 1;
        }
    }

    /// Tell what there is room for, from the next flush of the rings on; false when something had to be kept.
    // A call of its own: see `turn`.
    #[inline(never)]
    pub(super) fn tell(&mut self, links: &mut ShardLinks) -> bool {
        let told = self.tell_feed(links);
        let mut heard = true;
        while let Some(report) = self.reports.pop_front() {
            if let Err(report) = links.to_control.push(report) {
                self.reports.push_front(report);
                heard = false;
                break;
            }
        }
        self.counts.news_deferred += u64::from(!told) + u64::from(!heard);
        told && heard
    }

    fn tell_feed(&mut self, links: &mut ShardLinks) -> bool {
        while let Some(receipt) = self.receipts.pop_front() {
            if let Err(receipt) = links.to_feed.push(receipt) {
                self.receipts.push_front(receipt);
                return false;
            }
        }
        while let Some(room) = self.rooms.news.front() {
            if !self.tell_room(room, links) {
                return false;
            }
            self.rooms.news.pop_front();
        }
        while let Some(conn) = self.news.front() {
            if !self.tell_conn(conn, links) {
                return false;
            }
            self.news.pop_front();
        }
        true
    }

    fn tell_room(&mut self, index: u32, links: &mut ShardLinks) -> bool {
        let deserted = self.rooms.is_deserted(index);
        let reference = self.rooms.reference(index);
        let room = self.rooms.at(index);
        if room.announced || !deserted {
            let name = (!room.announced).then(|| room.name.clone());
            let news = ShardToFeed::Room { room: reference, name, online: room.local(), closed: deserted };
            if links.to_feed.push(news).is_err() {
                return false;
            }
            room.announced = true;
        }
        room.news = false;
        if deserted {
            self.rooms.forget(index);
        }
        true
    }

    fn tell_conn(&mut self, conn: ConnRef, links: &mut ShardLinks) -> bool {
        let Some(found) = self.conns.get(conn) else { return true };
        if found.state == ConnState::Registering
            && let Some(login) = found.login.as_mut().and_then(|pending| pending.login.take())
        {
            if let Err(ShardToFeed::Register { login, .. }) = links.to_feed.push(ShardToFeed::Register { conn, login })
            {
                if let Some(pending) = found.login.as_mut() {
                    pending.login = Some(login);
                }
                return false;
            }
            found.flags.set(Flags::REGISTERED);
        } else if !found.state.is_open() && found.flags.has(Flags::REGISTERED) {
            if links.to_feed.push(ShardToFeed::Gone { conn }).is_err() {
                return false;
            }
            found.flags.clear(Flags::REGISTERED);
        }
        found.flags.clear(Flags::NEWS);
        if found.flags.has(Flags::CLOSE_NOW) {
            self.orders.push(Order::Close(conn));
        }
        true
    }
}
