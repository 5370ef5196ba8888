//! Step 9 of a push on its way out, and step 9 of a frame on its way in: what feed says and then what control says,
//! each in the order it said it. Owns the budget of one turn and which message means what; pushes go on to `fanout`. It
//! stops early when a connection's queue grows faster than it is flushed, so that a burst is never mistaken for a slow
//! reader.

use crate::limits::INBOX_MESSAGES_PER_TURN;
use crate::mesh::msg::{ConnInfo, ConnRef, ControlToShard, FeedToShard, ShardToControl, TraceEvent};

use crate::conn::{Flags, NO_ROOM};

use super::{Application, Core, ShardLinks};

/// An order to drain that waits for what was there before it: pushes in the ring from feed, and the broadcasts that
/// were under way behind them. What comes later goes on beside it and is not waited for, so that it ends whatever
/// comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrainOrder {
    over_ms: u64,
    before: Before,
}

/// What comes before the connections go.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// Messages from feed, not counted yet.
    Uncounted,
    /// So many messages from feed.
    Messages(usize),
    /// Paced broadcasts, up to the one that was taken as this one.
    Broadcasts(u64),
}

impl<A: Application> Core<A> {
    /// Handle what arrived; true when control says stop.
    pub(super) fn inbox(&mut self, links: &mut ShardLinks) -> bool {
        // What was in the ring before an order to drain came; the order itself is looked at behind it.
        let ordered = match self.drain_order {
            Some(DrainOrder { before: Before::Messages(left), .. }) => left,
            _ => usize::MAX,
        };
        let mut depth = 0;
        while depth < INBOX_MESSAGES_PER_TURN.min(ordered) && !self.pressure {
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
        if let Some(order) = self.drain_order.take() {
            self.drain_order = self.before_drain(order, depth, || links.from_feed.depth());
        }
        stop
    }

    /// Go on with an order to drain: `None` when the drain has begun.
    fn before_drain(&mut self, order: DrainOrder, taken: usize, waiting: impl FnOnce() -> usize) -> Option<DrainOrder> {
        let before = match order.before {
            Before::Uncounted => Before::Messages(waiting()),
            Before::Messages(left) => Before::Messages(left.saturating_sub(taken)),
            before => before,
        };
        let before = match before {
            Before::Messages(0) => Before::Broadcasts(self.hurry_broadcasts()),
            before => before,
        };
        if let Before::Broadcasts(last) = before
            && !self.broadcasts.is_pacing_any(last)
        {
            self.begin_drain(order.over_ms);
            return None;
        }
        Some(DrainOrder { before, ..order })
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
            ControlToShard::Open => self.acceptor.open(),
            ControlToShard::ServeListeners { owner, on } => self.acceptor.serve(owner, on, self.now.ms),
            ControlToShard::RefuseWhenFull { on } => self.acceptor.refuse_when_full(on, self.now.ms),
            ControlToShard::Settings(settings) => self.settings = settings,
            ControlToShard::Drain { over_ms } => {
                self.acceptor.stopped = true;
                self.drain_order = Some(DrainOrder { over_ms, before: Before::Uncounted });
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
