//! Step 9 of a frame on its way in: what shards say: logins, departures, rooms, receipts. Owns what each means for the
//! directory, and the answer it gets. A piece of news is taken only as far as its answers fit the rings. What does not
//! fit is kept and tried again, and nothing after it in its shard's ring is looked at. So the order of a shard's news
//! is the order of their effect.

use crate::close::CloseReason;
use crate::mesh::msg::{ConnRef, FeedToShard, Login, RoomRef, ShardToFeed};

use super::directory::{Admission, Place};
use super::state::Feed;

/// News of one shard taken in one turn.
const NEWS_PER_SHARD: usize = 512;
/// Room counts told in one turn.
const COUNTS_PER_TURN: usize = 1024;

impl Feed {
    /// Take the shards' news, as far as the answers fit.
    pub(super) fn hear(&mut self) {
        for shard in self.links.shards() {
            for taken in 0.. {
                if taken == NEWS_PER_SHARD {
                    self.more = true;
                    break;
                }
                let Some(news) = self.links.next_news(shard) else { break };
                if let Some(kept) = self.hear_one(shard, news) {
                    self.links.keep_news(shard, kept);
                    self.counts.news_deferred += 1;
                    self.stalled = true;
                    break;
                }
            }
        }
    }

    /// Tell shards how many members rooms have elsewhere; only the newest count of each room is ever told.
    pub(super) fn tell_counts(&mut self) {
        for _ in 0..COUNTS_PER_TURN.min(self.directory.rooms.stale_len()) {
            let Some(count) = self.directory.rooms.stale() else { return };
            if self.links.free(count.shard) == 0 {
                self.directory.rooms.postpone();
                self.stalled = true;
                continue;
            }
            self.links.push(count.shard, FeedToShard::Room { room: count.room, others: count.others });
            self.directory.rooms.told(&count);
        }
    }

    /// Forget a login that is stored.
    pub(super) fn forget(&mut self, place: Place) {
        self.watches.gone(&self.directory.logins, place);
        self.directory.logins.remove(place);
    }

    /// Close a connection and forget its login; false when its shard's ring is full.
    pub(super) fn evict(&mut self, place: Place, reason: CloseReason) -> bool {
        let (shard, conn) = self.directory.logins.conn(place);
        if self.links.free(shard) == 0 {
            return false;
        }
        self.links.push(shard, FeedToShard::Close { conn, reason });
        self.forget(place);
        true
    }

    /// Returns the news when an answer does not fit.
    fn hear_one(&mut self, shard: u16, news: ShardToFeed) -> Option<ShardToFeed> {
        match news {
            ShardToFeed::Register { conn, login } => {
                (!self.register(shard, conn, &login)).then_some(ShardToFeed::Register { conn, login })
            }
            ShardToFeed::Gone { conn } => {
                // Nothing to do for one that was closed from here: its login is forgotten since.
                if let Some(place) = self.directory.logins.find(shard, conn) {
                    self.forget(place);
                }
                None
            }
            ShardToFeed::Room { room, name: Some(name), online, closed } => {
                if self.links.free(shard) == 0 {
                    return Some(ShardToFeed::Room { room, name: Some(name), online, closed });
                }
                let others = self.directory.rooms.open(shard, room, &name, online);
                self.links.push(shard, FeedToShard::Room { room, others });
                self.room_closed(shard, room, closed);
                None
            }
            ShardToFeed::Room { room, name: None, online, closed } => {
                self.directory.rooms.update(shard, room, online);
                self.room_closed(shard, room, closed);
                None
            }
            ShardToFeed::Receipt { id, matched } => {
                self.receipts.answer(id, matched);
                None
            }
        }
    }

    fn room_closed(&mut self, shard: u16, room: RoomRef, closed: bool) {
        if closed {
            self.directory.rooms.leave(shard, room);
        }
    }

    /// Store a login, close those it displaces, answer it; false when an answer does not fit. Logins closed until then
    /// stay closed.
    fn register(&mut self, shard: u16, conn: ConnRef, login: &Login) -> bool {
        // The shard has given the slot to this connection, so whoever had it is gone.
        if let Some(place) = self.directory.logins.at_slot(shard, conn.slot) {
            self.forget(place);
        }
        loop {
            match self.directory.admission(login) {
                Admission::Admit => break,
                Admission::Refuse(reason) => return self.refuse(shard, conn, reason),
                Admission::Evict(place, reason) => {
                    if !self.evict(place, reason) {
                        return false;
                    }
                    *match reason {
                        CloseReason::KeyReplaced => &mut self.counts.kicked_key,
                        _ => &mut self.counts.kicked_user,
                    } += 1;
                }
            }
        }
        if self.links.free(shard) == 0 {
            return false;
        }
        match self.directory.logins.insert(shard, conn, login) {
            Some(place) => {
                self.links.push(shard, FeedToShard::Registered { conn });
                self.watches.opened(&self.directory.logins, place);
                self.counts.registered += 1;
                true
            }
            None => self.refuse(shard, conn, CloseReason::AuthRefused),
        }
    }

    fn refuse(&mut self, shard: u16, conn: ConnRef, reason: CloseReason) -> bool {
        if self.links.free(shard) == 0 {
            return false;
        }
        self.links.push(shard, FeedToShard::Close { conn, reason });
        match reason {
            CloseReason::KeyLimit => self.counts.refused_key += 1,
            CloseReason::UserLimit => self.counts.refused_user += 1,
            _ => {}
        }
        true
    }
}
