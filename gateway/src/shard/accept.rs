//! Taking connections, and when not to. Owns what is armed on each listener, the accept rate, and the order of pending
//! handshakes. `receive` takes over as soon as a new connection has bytes. Accepting many at once stops well before the
//! descriptor table is full, because a connection accepted into a full table is lost. Near the end they are taken one
//! by one. The accept rate is one bucket a shard, in tokens. It may fall below zero, and it tells when it fills, which
//! the small clocks of `conn::rate` cannot.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::close::CloseReason;
use crate::conn::rate::Buckets;
use crate::conn::{ConnState, Flags};
use crate::io::{Errno, Io, ListenerId};
use crate::limits::Rate;
use crate::mesh::msg::{ConnRef, ShardToControl};

use super::stats::transport;
use super::{Application, Core, Listener, Order, Transport};

/// Free slots below which connections are accepted one by one: half the capacity, within these bounds. The upper one is
/// what two listeners may have queued.
const MANY_MARGIN: std::ops::RangeInclusive<u32> = 1024..=8192;
/// Handshakes looked at for one that has not said a word, when one must make room.
const PENDING_LOOK: usize = 64;
/// Capacity left unused before a full shard says that it has room again, as a fraction: one in so many slots.
const ROOM_AGAIN_FRACTION: u32 = 64;

/// Longest pause between two looks at listeners that changed hands, see [`Acceptor::look_again`].
const LOOK_AGAIN_MS_MAX: u64 = 1_024;

/// What is armed on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Armed {
    Nothing,
    One,
    Many,
    /// A cancel is on its way; `AcceptEnded` will tell.
    Ending,
}

#[derive(Clone, Copy, Debug)]
struct Door {
    listener: Listener,
    armed: Armed,
    /// Ours, or a full neighbour's that we serve.
    wanted: bool,
    /// After an error nothing is armed before this time.
    not_before_ms: u64,
}

/// The listeners, what is armed on them, and the room there is for what comes in.
#[derive(Debug)]
pub(super) struct Acceptor {
    doors: Vec<Door>,
    capacity: u32,
    used: u32,
    /// Handshakes in order of accept; ended ones are skipped when they come to the front.
    pending: VecDeque<ConnRef>,
    /// Tokens of the accept rate, in thousandths. Below zero when several listeners gave a connection for one token:
    /// the pace makes up for it.
    tokens: i64,
    refilled_ms: u64,
    refuse_when_full: bool,
    full_told: bool,
    /// When accepts are armed anew, and the pause that came before.
    look_again: Option<(u64, u64)>,
    /// Nobody listens yet.
    closed: bool,
    pub(super) stopped: bool,
}

impl Acceptor {
    pub(super) fn new(index: u16, listeners: Vec<Listener>, capacity: u32, open: bool) -> Acceptor {
        let doors = listeners
            .into_iter()
            .map(|listener| Door { listener, armed: Armed::Nothing, wanted: listener.owner == index, not_before_ms: 0 })
            .collect();
        Acceptor {
            doors,
            capacity,
            used: 0,
            pending: VecDeque::new(),
            tokens: i64::MAX,
            refilled_ms: 0,
            refuse_when_full: false,
            full_told: false,
            look_again: None,
            closed: !open,
            stopped: false,
        }
    }

    /// The listeners listen now.
    pub(super) fn open(&mut self) {
        self.closed = false;
    }

    /// Serve, or no longer, the listeners of a full neighbour.
    pub(super) fn serve(&mut self, owner: u16, on: bool, now_ms: u64) {
        for door in self.doors.iter_mut().filter(|door| door.listener.owner == owner) {
            door.wanted = on;
        }
        self.changes_hands(now_ms);
    }

    /// Accept and close, or leave waiting, when there is no room anywhere.
    pub(super) fn refuse_when_full(&mut self, on: bool, now_ms: u64) {
        self.refuse_when_full = on;
        self.changes_hands(now_ms);
    }

    /// Somebody begins or stops accepting on a listener that others accept on too.
    fn changes_hands(&mut self, now_ms: u64) {
        self.look_again = Some((now_ms + 1, 1));
    }

    /// Whether to arm every accept anew now. Of several accepts that wait on one listener the kernel wakes one for a
    /// connection. If that one is being cancelled, the connection stays in the queue and the others sleep on. An accept
    /// that is armed looks at the queue first, so arming again finds it. The others take a turn or two to cancel
    /// theirs; the pauses grow in case it is more.
    fn look_again(&mut self, now_ms: u64) -> bool {
        let Some((at_ms, pause_ms)) = self.look_again.filter(|(at_ms, _)| now_ms >= *at_ms) else {
            return false;
        };
        let pause_ms = pause_ms * 2;
        self.look_again = (pause_ms <= LOOK_AGAIN_MS_MAX).then_some((at_ms.max(now_ms) + pause_ms, pause_ms));
        true
    }

    pub(super) fn slot_freed(&mut self) {
        self.used -= 1;
    }

    pub(super) fn used(&self) -> u32 {
        self.used
    }

    fn many_margin(&self) -> u32 {
        (self.capacity / 2).clamp(*MANY_MARGIN.start(), *MANY_MARGIN.end())
    }

    /// Milliseconds until something may be armed that may not be now.
    pub(super) fn wait_ms(&self, rate: Rate, now_ms: u64) -> Option<u64> {
        let token = (self.tokens < 1000 && rate.per_second > 0 && !self.stopped)
            .then(|| (1000 - self.tokens).unsigned_abs().div_ceil(u64::from(rate.per_second)));
        let door =
            self.doors.iter().filter_map(|door| door.not_before_ms.checked_sub(now_ms)).filter(|ms| *ms > 0).min();
        let look = self.look_again.map(|(at_ms, _)| at_ms.saturating_sub(now_ms));
        token.into_iter().chain(door).chain(look).min()
    }

    fn refill(&mut self, rate: Rate, now_ms: u64) {
        if rate.per_second == 0 {
            self.tokens = i64::MAX;
            return;
        }
        let full = i64::from(rate.burst.max(1)) * 1000;
        let gained = (now_ms - self.refilled_ms).saturating_mul(u64::from(rate.per_second));
        let gained = i64::try_from(gained).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(gained).min(full);
        self.refilled_ms = now_ms;
    }

    /// What should be armed on every wanted listener now.
    fn wish(&self, rate: Rate) -> Armed {
        if self.closed || self.stopped || self.tokens < 1000 {
            return Armed::Nothing;
        }
        let free = self.capacity.saturating_sub(self.used);
        if free == 0 {
            return if self.refuse_when_full && self.used < self.capacity + crate::limits::SPARE_SLOTS / 2 {
                Armed::One
            } else {
                Armed::Nothing
            };
        }
        // A paced accept goes one by one too, so that the pace holds to the connection.
        if rate.per_second == 0 && free > self.many_margin() { Armed::Many } else { Armed::One }
    }
}

impl<A: Application> Core<A> {
    /// Bring what is armed in line with what there is room for.
    pub(super) fn accept_as_needed<I: Io>(&mut self, io: &mut I) {
        let rate = self.settings.accepts;
        let acceptor = &mut self.acceptor;
        acceptor.refill(rate, self.now.ms);
        let wish = acceptor.wish(rate);
        let free = acceptor.capacity.saturating_sub(acceptor.used);
        let again = acceptor.look_again(self.now.ms);
        for (index, door) in acceptor.doors.iter_mut().enumerate() {
            let listener = ListenerId(u16::try_from(index).expect("listeners are few"));
            let wish = if door.wanted { wish } else { Armed::Nothing };
            match (door.armed, wish) {
                (Armed::Nothing, _) if self.now.ms < door.not_before_ms => {}
                (Armed::Nothing, Armed::Many) => {
                    io.accept_many(listener);
                    door.armed = Armed::Many;
                }
                (Armed::Nothing, Armed::One) => {
                    io.accept_one(listener);
                    door.armed = Armed::One;
                }
                (Armed::Many | Armed::One, _) if again => {
                    io.cancel_accept(listener);
                    door.armed = Armed::Ending;
                }
                (Armed::Many, Armed::Nothing | Armed::One) | (Armed::One, Armed::Nothing) => {
                    io.cancel_accept(listener);
                    door.armed = Armed::Ending;
                }
                _ => {}
            }
        }
        let full = free == 0;
        let has_room = free > acceptor.capacity / ROOM_AGAIN_FRACTION;
        if full != acceptor.full_told && (full || has_room) && !acceptor.stopped {
            acceptor.full_told = full;
            acceptor.changes_hands(self.now.ms);
            self.reports.push_back(ShardToControl::Full { full });
        }
    }

    pub(super) fn accept_ended(&mut self, listener: ListenerId, error: Option<Errno>) {
        let door = &mut self.acceptor.doors[usize::from(listener.0)];
        door.armed = Armed::Nothing;
        if error.is_some() {
            // Out of descriptors or memory, or a client that left early: never the end of this listener (C20).
            self.counts.accept_errors += 1;
            door.not_before_ms = self.now.ms + 10;
        }
    }

    // A call of its own: see `turn`.
    #[inline(never)]
    pub(super) fn accepted(&mut self, listener: ListenerId, slot: u32) {
        self.conns.reach(slot);
        self.acceptor.used += 1;
        if self.acceptor.tokens != i64::MAX {
            let doors = i64::try_from(self.acceptor.doors.len()).unwrap_or(i64::MAX / 1000);
            // No deeper than one for each listener: what came in while a rate was being set is not paid for.
            self.acceptor.tokens = (self.acceptor.tokens - 1000).max(-1000 * doors);
        }
        self.counts.accepted += 1;
        self.counts.slots_used = u64::from(self.acceptor.used);
        let door = self.acceptor.doors[usize::from(listener.0)];
        // One accept is armed per listener, so several may come in for the last slot at once: those are served from the
        // spare slots, since refusing one is only right when every shard is full.
        let beyond = self.acceptor.used > self.acceptor.capacity;
        let refuse = self.acceptor.stopped || (beyond && self.acceptor.refuse_when_full);
        let old = self.conns.at(slot);
        debug_assert_eq!(old.state, ConnState::Free, "the kernel reuses a slot only after Closed");
        let generation = old.generation.wrapping_add(1);
        old.reset(generation);
        old.state = ConnState::WaitAuth;
        old.accepted_unix_s = u32::try_from(self.now.unix_s).unwrap_or(u32::MAX);
        old.heartbeat_tick = self.now.tick();
        old.buckets = Buckets::full(self.now.us);
        let conn = old.reference(slot);
        if door.listener.transport == Transport::WebSocket {
            old.flags.set(Flags::WEBSOCKET);
            old.state = ConnState::Upgrade;
        }
        self.counts.connections += 1;
        self.counts.pending_handshakes += 1;
        let refused = match refuse {
            true if self.acceptor.stopped => Some(CloseReason::Drain),
            true => Some(CloseReason::ServerFull),
            false if door.listener.tls => self.secure(slot).err(),
            false => None,
        };
        // Refused before TLS begins it speaks none, here and when it has gone.
        *self.of_its_kind(slot) += 1;
        if let Some(reason) = refused {
            return self.abort(slot, reason);
        }
        self.deadlines.set(slot, self.now.tick_after(self.settings.handshake_timeout_ms));
        self.orders.push(Order::PeerName(conn));
        self.orders.push(Order::PollReadable(conn));
        self.bound_handshakes(conn);
    }

    /// Connections that speak what this one does.
    pub(super) fn of_its_kind(&mut self, slot: u32) -> &mut u64 {
        let conn = self.conns.peek(slot);
        &mut self.counts.transports[transport(conn.is_websocket(), conn.tls.is_some())]
    }

    /// Beyond the bound an old handshake makes room, first of all one that has not said a word: an honest one takes
    /// milliseconds, so it is the old and silent ones that cost.
    fn bound_handshakes(&mut self, newest: ConnRef) {
        self.acceptor.pending.push_back(newest);
        while let Some(&oldest) = self.acceptor.pending.front() {
            let pending = self.conns.get(oldest).is_some_and(|conn| conn.state.is_handshake());
            if pending && self.counts.pending_handshakes <= u64::from(self.settings.pending_handshakes_max) {
                break;
            }
            if !pending {
                self.acceptor.pending.pop_front();
                continue;
            }
            let silent = self.acceptor.pending.iter().take(PENDING_LOOK).position(|&conn| {
                let conns = &self.conns;
                let found = conns.peek(conn.slot);
                found.generation == conn.generation && found.state.is_handshake() && !found.flags.has(Flags::SPOKE)
            });
            if let Some(victim) = self.acceptor.pending.remove(silent.unwrap_or_default()) {
                self.end(victim.slot, CloseReason::HandshakeLimit);
            }
        }
    }

    /// Memory of a burst of logins goes back once it is over.
    pub(super) fn trim_pending(&mut self) {
        while let Some(&oldest) = self.acceptor.pending.front() {
            if self.conns.get(oldest).is_some_and(|conn| conn.state.is_handshake()) {
                return;
            }
            self.acceptor.pending.pop_front();
        }
        if self.acceptor.pending.capacity() > 64 {
            self.acceptor.pending.shrink_to(64);
        }
    }

    pub(super) fn peer_named(&mut self, conn: ConnRef, address: Option<SocketAddr>) {
        let limit = self.settings.connections_per_address_max;
        let Some(found) = self.conns.get(conn) else { return };
        let asked_before = found.flags.has(Flags::PEER_KNOWN);
        found.flags.set(Flags::PEER_KNOWN);
        let Some(address) = address else {
            // The kernel may have had too many questions at once: a limit that is on deserves a second one.
            if limit > 0 && !asked_before && found.state != ConnState::Gone {
                self.orders.push(Order::PeerName(conn));
            }
            return;
        };
        found.set_peer(address);
        if limit == 0 || !found.state.is_open() {
            return;
        }
        if self.quota.take(address.ip(), limit) {
            found.flags.set(Flags::ADDRESS_HELD);
        } else {
            self.end(conn.slot, CloseReason::AddressLimit);
        }
    }
}
