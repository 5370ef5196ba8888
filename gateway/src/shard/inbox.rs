//! Step 9 of a push on its way out, and step 9 of a frame on its way in: what feed says and then what control says,
//! each in the order it said it. Owns the budget of one turn and which message means what; pushes go on to `fanout`. It
//! stops early when a connection's queue grows faster than it is flushed, so that a burst is never mistaken for a slow
//! reader.

use crate::limits::INBOX_MESSAGES_PER_TURN;
use crate::mesh::msg::{ConnInfo, ConnRef, ControlToShard, FeedToShard, ShardToControl, TraceEvent};

use crate::conn::{Flags, NO_ROOM};

use super::{Application, Core, ShardLinks};

/// An order to drain that waits for what was there before it: pushes in the ring from feed, and broadcasts under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrainOrder {
    over_ms: u64,
    /// Messages from feed that come first; `None` before they are counted.
    messages_left: Option<usize>,
}

impl<A: Application> Core<A> {
    /// Handle what arrived; true when control says stop.
    pub(super) fn inbox(&mut self, links: &mut ShardLinks) -> bool {
        let mut depth = 0;
        // Once only broadcasts are left to wait for, no further one may come in between.
        let hurrying = self.drain_order.is_some_and(|order| order.messages_left == Some(0));
        while depth < INBOX_MESSAGES_PER_TURN && !self.pressure && !hurrying {
            let Some(message) = links.from_feed.pop() else { break };
            depth += 1;
            self.feed_says(message);
        }
        self.counts.inbox_depth = depth as u64;
        let mut stop = false;
        for _ in 0..INBOX_MESSAGES_PER_TURN {
            let Some(message) = links.from_control.pop() else { break };
            stop |= self.control_says(message);
        }
        if let Some(order) = &mut self.drain_order {
            let left = order.messages_left.map_or_else(|| links.from_feed.depth(), |left| left.saturating_sub(depth));
            order.messages_left = Some(left);
            let over_ms = order.over_ms;
            if left == 0 {
                self.hurry_broadcasts();
                if !self.broadcasts.is_pacing() {
                    self.drain_order = None;
                    self.begin_drain(over_ms);
                }
            }
        }
        stop
    }

    fn feed_says(&mut self, message: FeedToShard) {
        match message {
            FeedToShard::Push(push) => self.push(push),
            FeedToShard::Shed(order) => self.shed(order),
            FeedToShard::Registered { conn } => self.registered(conn),
            FeedToShard::Close { conn, reason } => {
                if self.conns.get(conn).is_some() {
                    self.end(conn.slot, reason);
                }
            }
            FeedToShard::Room { room, others } => {
                if let Some(index) = self.rooms.find(room) {
                    let room = self.rooms.at(index);
                    room.others = others;
                    room.known = true;
                    self.room_known(index);
                }
            }
        }
    }

    /// True for `Stop`.
    fn control_says(&mut self, message: ControlToShard) -> bool {
        match message {
            ControlToShard::Authenticated { conn, result } => self.authenticated(conn, result),
            ControlToShard::Describe { request, conn } => {
                let info = self.describe(conn);
                self.reports.push_back(ShardToControl::Described { request, info });
            }
            ControlToShard::Members { request, room, limit } => {
                let conns = match self.rooms.find(room) {
                    Some(index) => {
                        let members = &self.rooms.peek(index).members;
                        let conns = &self.conns;
                        members.iter().take(limit as usize).map(|slot| conns.peek(slot).reference(slot)).collect()
                    }
                    None => Box::default(),
                };
                self.reports.push_back(ShardToControl::Members { request, conns });
            }
            ControlToShard::Close { conn, reason } => {
                if self.conns.get(conn).is_some() {
                    self.end(conn.slot, reason);
                }
            }
            ControlToShard::Trace { conn, on } => {
                if let Some(found) = self.conns.get(conn) {
                    if on {
                        found.flags.set(Flags::TRACED);
                        // One for each command of control, whose number is bounded; without it a trace never says
                        // `traced`.
                        self.reports.push_back(ShardToControl::Traced { conn, event: TraceEvent::Began });
                    } else {
                        found.flags.clear(Flags::TRACED);
                    }
                }
            }
            ControlToShard::ServeListeners { owner, on } => self.acceptor.serve(owner, on, self.now.ms),
            ControlToShard::RefuseWhenFull { on } => self.acceptor.refuse_when_full(on, self.now.ms),
            ControlToShard::Settings(settings) => self.settings = settings,
            ControlToShard::Drain { over_ms } => {
                self.acceptor.stopped = true;
                self.drain_order = Some(DrainOrder { over_ms, messages_left: None });
            }
            ControlToShard::Shed(order) => self.shed(order),
            ControlToShard::Stop => return true,
        }
        false
    }

    fn describe(&mut self, conn: ConnRef) -> Option<Box<ConnInfo>> {
        let now = self.now;
        let found = self.conns.get(conn)?;
        let (room, accepts) = (found.room, found.accepts);
        let beat_ms = u64::from(now.tick().saturating_sub(found.heartbeat_tick)) * crate::limits::TICK_MS;
        let mut info = ConnInfo {
            conn,
            peer: found.peer(),
            transport: match (found.is_websocket(), found.tls.is_some()) {
                (false, false) => "tcp",
                (false, true) => "tcp+tls",
                (true, false) => "websocket",
                (true, true) => "websocket+tls",
            },
            state: found.state.label(),
            since_unix_s: u64::from(found.accepted_unix_s),
            age_s: now.unix_s.saturating_sub(u64::from(found.accepted_unix_s)),
            heartbeat_age_s: beat_ms / 1000,
            room: String::new(),
            accepts: Vec::new(),
            queued_bytes: u64::from(found.queue.bytes()),
            drops: u64::from(found.drops),
        };
        if room != NO_ROOM {
            info.room = self.rooms.peek(room).name.to_string();
        }
        info.accepts = self.accepts.ops(accepts).to_vec();
        Some(Box::new(info))
    }
}
