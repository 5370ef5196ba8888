//! Step 7 of a frame on its way in: op 7, from token to auth reply. Owns the order decide → tell the directory → reply
//! → join the room, so that no push can come before the reply and none is missed after it (C11). Decides on open tokens
//! itself and asks control about others. A login is a state of its connection, never a wait of the shard.

use halley_protocol::goim::{Frame, op};
use halley_protocol::login::open::open;
use halley_protocol::login::{AuthRefusal, Identity, uuid_v4};
use rand::Rng;

use crate::close::CloseReason;
use crate::conn::rate::SETTLE_MS;
use crate::conn::{ConnState, Flags, NO_ROOM, PendingLogin, PendingRequest};
use crate::limits::{AuthMode, REPORTS_WAITING_MAX};
use crate::mesh::msg::{ConnRef, Login, ShardToControl};

use super::{Application, Core};

impl<A: Application> Core<A> {
    /// Whether a second op 7 renews the login.
    pub(super) fn refreshes(&self) -> bool {
        self.settings.auth == AuthMode::Ask
    }

    pub(super) fn login(&mut self, slot: u32, frame: Frame<'_>) {
        let conn = self.conns.at(slot);
        conn.login = Some(Box::new(PendingLogin {
            version: frame.version,
            seq: frame.seq,
            identity: Identity::default(),
            login: None,
            room: NO_ROOM,
        }));
        match self.settings.auth {
            AuthMode::Open => {
                let random = &mut self.random;
                match open(frame.body, || uuid_v4(random.random())) {
                    Ok(identity) => self.allowed(slot, identity),
                    Err(refusal) => self.refused(slot, refusal),
                }
            }
            AuthMode::Ask if self.reports.len() >= REPORTS_WAITING_MAX => {
                self.refused(slot, AuthRefusal::Unavailable);
            }
            AuthMode::Ask => {
                conn.state = ConnState::Deciding;
                let conn = conn.reference(slot);
                self.reports.push_back(ShardToControl::Authenticate { conn, token: frame.body.into(), refresh: None });
            }
        }
    }

    /// A fresh token on a live connection.
    pub(super) fn refresh(&mut self, slot: u32, frame: Frame<'_>) {
        if self.reports.len() >= REPORTS_WAITING_MAX {
            self.counts.refusals[AuthRefusal::Unavailable as usize] += 1;
            return;
        }
        let conn = self.conns.at(slot);
        conn.extra().request = Some(PendingRequest::Refresh { version: frame.version, seq: frame.seq });
        let (mid, conn) = (conn.mid, conn.reference(slot));
        self.reports.push_back(ShardToControl::Authenticate { conn, token: frame.body.into(), refresh: Some(mid) });
    }

    /// Control has decided.
    pub(super) fn authenticated(&mut self, conn: ConnRef, result: Result<Box<Identity>, AuthRefusal>) {
        let Some(found) = self.conns.get(conn) else { return };
        match (found.state, result) {
            (ConnState::Deciding, Ok(identity)) => self.allowed(conn.slot, *identity),
            (ConnState::Online, Ok(identity)) => self.refreshed(conn.slot, *identity),
            (ConnState::Online, Err(AuthRefusal::Unavailable)) => self.undecided(conn.slot),
            (ConnState::Deciding | ConnState::Online, Err(refusal)) => self.refused(conn.slot, refusal),
            _ => {}
        }
    }

    fn refused(&mut self, slot: u32, refusal: AuthRefusal) {
        self.counts.refusals[refusal as usize] += 1;
        let reason = match refusal {
            AuthRefusal::Unavailable => CloseReason::AuthUnavailable,
            AuthRefusal::Internal => CloseReason::InternalError,
            _ => CloseReason::AuthRefused,
        };
        self.end(slot, reason);
    }

    /// Nobody had time for a refresh. The login that holds goes on until its own end; the client may ask again.
    fn undecided(&mut self, slot: u32) {
        self.counts.refusals[AuthRefusal::Unavailable as usize] += 1;
        let extra = self.conns.at(slot).extra();
        if matches!(extra.request, Some(PendingRequest::Refresh { .. })) {
            extra.request = None;
            self.resume(slot);
        }
    }

    fn refreshed(&mut self, slot: u32, identity: Identity) {
        let conn = self.conns.at(slot);
        let extra = conn.extra();
        let Some(PendingRequest::Refresh { version, seq }) = extra.request else { return };
        extra.request = None;
        extra.authority = identity.authority;
        extra.expires_at_s = identity.expires_at_s;
        self.apply_authority(slot);
        self.arm_deadline(slot);
        self.reply(slot, Frame { version, op: op::AUTH, seq, body: &[] }, op::AUTH_REPLY, &[]);
        self.resume(slot);
    }

    /// A renewed login may reach less than before: leave what it no longer may.
    fn apply_authority(&mut self, slot: u32) {
        let conn = self.conns.peek(slot);
        let Some(authority) = conn.extra.as_ref().and_then(|extra| extra.authority.clone()) else { return };
        if conn.room != NO_ROOM && !authority.allows_room(&self.rooms.peek(conn.room).name) {
            self.leave_room(slot);
        }
        let mut ops = self.accepts.ops(self.conns.peek(slot).accepts).to_vec();
        ops.retain(|op| authority.allows_op(*op));
        self.set_accepts(slot, ops);
    }

    /// The token is good: hold the room, tell the directory.
    fn allowed(&mut self, slot: u32, identity: Identity) {
        let room = if identity.room.is_empty() { NO_ROOM } else { self.rooms.hold(&identity.room) };
        let conn = self.conns.at(slot);
        let peer = conn.peer();
        let Some(pending) = conn.login.as_mut() else { return };
        pending.room = room;
        pending.login = Some(Box::new(Login { key: identity.key.clone(), mid: identity.mid, peer }));
        pending.identity = identity;
        conn.state = ConnState::Registering;
        self.mark_news(slot);
    }

    /// The directory knows the connection: from here on pushes come, so the reply goes first.
    pub(super) fn registered(&mut self, conn: ConnRef) {
        let tick = self.now.tick();
        let Some(found) = self.conns.get(conn) else { return };
        if found.state != ConnState::Registering {
            return;
        }
        let Some(pending) = found.login.take() else { return };
        let identity = pending.identity;
        found.state = ConnState::Online;
        found.mid = identity.mid;
        found.heartbeat_tick = tick;
        if identity.authority.is_some() || identity.expires_at_s.is_some() {
            let extra = found.extra();
            extra.authority = identity.authority;
            extra.expires_at_s = identity.expires_at_s;
        }
        self.counts.pending_handshakes -= 1;
        self.counts.authenticated += 1;
        self.counts.logins += 1;
        self.set_accepts(conn.slot, identity.accepts);
        let request = Frame { version: pending.version, op: op::AUTH, seq: pending.seq, body: &[] };
        self.reply(conn.slot, request, op::AUTH_REPLY, &[]);
        if pending.room != NO_ROOM {
            self.enter_room(conn.slot, pending.room);
        }
        self.arm_deadline(conn.slot);
        self.resume(conn.slot);
    }

    /// Give back what a login under way holds.
    pub(super) fn abandon_login(&mut self, slot: u32) {
        let conn = self.conns.at(slot);
        let mut held = NO_ROOM;
        if let Some(pending) = conn.login.take() {
            held = pending.room;
        }
        if let Some(extra) = conn.extra.take()
            && let Some(PendingRequest::ChangeRoom { room, .. }) = extra.request
        {
            held = room;
        }
        if held != NO_ROOM {
            self.rooms.let_go(held);
        }
    }

    /// The next time this connection must be looked at: the missing heartbeat, or the end of its token.
    pub(super) fn arm_deadline(&mut self, slot: u32) {
        let beat = self.now.tick_after(self.settings.heartbeat_timeout_ms.min(SETTLE_MS));
        let conn = self.conns.at(slot);
        let expiry = conn.extra.as_ref().and_then(|extra| extra.expires_at_s);
        let tick = match expiry {
            Some(at_s) => beat.min(self.now.tick_after(at_s.saturating_sub(self.now.unix_s).saturating_mul(1000))),
            None => beat,
        };
        self.deadlines.set(slot, tick);
    }

    /// Whether feed was told of the connection and must be told of its end.
    pub(super) fn is_registered(&self, slot: u32) -> bool {
        self.conns.peek(slot).flags.has(Flags::REGISTERED)
    }
}
