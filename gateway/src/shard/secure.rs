//! Step 4 of a frame on its way in, and step 11 of a push on its way out, where there is TLS: ciphertext → `transport`,
//! send queue → ciphertext. Owns when a session is fed and drained, and what its failure means for the connection; the
//! session itself is `conn::tls`. At most one record's worth of the queue waits as ciphertext, so the queue's bound
//! still holds.

use crate::close::CloseReason;
use crate::conn::tls::{TlsError, TlsProgress, TlsSession};
use crate::conn::{ConnState, Flags};
use crate::io::{Io, SEND_COPY_BYTES_MAX};
use crate::mesh::msg::ConnRef;

use super::{Application, Core};

/// Plaintext encrypted at once: one record.
const SEAL_BYTES: usize = 16 * 1024;

impl<A: Application> Core<A> {
    /// Begin a session on a fresh connection, which must end when there is no certificate to show.
    pub(super) fn secure(&mut self, slot: u32) -> Result<(), CloseReason> {
        let config = self.settings.tls.clone().ok_or(CloseReason::TlsFailed)?;
        let session = TlsSession::new(config).map_err(|error| reason(&error))?;
        self.conns.at(slot).tls = Some(Box::new(session));
        Ok(())
    }

    /// Do something to a connection's session, and keep the account of what sessions hold.
    fn with_session<T>(&mut self, slot: u32, act: impl FnOnce(&mut TlsSession) -> T) -> Option<T> {
        let tls = self.conns.at(slot).tls.as_mut()?;
        let before = tls.buffered_bytes();
        let result = act(tls);
        let after = tls.buffered_bytes();
        self.counts.tls_buffered_bytes = self.counts.tls_buffered_bytes + after as u64 - before as u64;
        Some(result)
    }

    /// The session ends with its connection.
    pub(super) fn drop_session(&mut self, slot: u32) {
        if let Some(tls) = self.conns.at(slot).tls.take() {
            self.counts.tls_buffered_bytes -= tls.buffered_bytes() as u64;
        }
    }

    /// Ciphertext came.
    pub(super) fn decrypt(&mut self, conn: ConnRef, bytes: &mut [u8]) {
        let slot = conn.slot;
        let found = self.conns.peek(slot);
        let shaking = found.tls.as_ref().is_some_and(|tls| tls.progress() == TlsProgress::Handshaking);
        if shaking && !found.state.is_open() {
            // Nobody waits for the end of this handshake any more.
            return;
        }
        let mut plain = std::mem::take(&mut self.plain);
        let taken = self.with_session(slot, |tls| (tls.receive(bytes, &mut plain), !tls.outgoing().is_empty()));
        let Some((progress, answers)) = taken else { return };
        if answers {
            self.mark_dirty(slot);
        }
        if !plain.is_empty() {
            self.take(slot, &mut plain);
        }
        plain.clear();
        self.plain = plain;
        match progress {
            Ok(TlsProgress::PeerClosed) => self.end_of_secure_stream(conn),
            Ok(_) => {}
            // There are no last words, and there is no way to say goodbye.
            Err(TlsError::Internal) => self.abort(slot, CloseReason::InternalError),
            Err(error) => self.end(slot, reason(&error)),
        }
    }

    /// The peer has said goodbye inside TLS, if it has. What it asked for before is answered first: while some of that
    /// waits to be decoded, its goodbye waits too, until the connection is resumed.
    pub(super) fn end_of_secure_stream(&mut self, conn: ConnRef) {
        let Some(found) = self.conns.get(conn) else { return };
        let closed = found.tls.as_ref().is_some_and(|tls| tls.progress() == TlsProgress::PeerClosed);
        if closed && found.state.is_open() && !found.flags.has(Flags::PAUSED) {
            found.flags.set(Flags::PEER_CLOSED);
            self.end(conn.slot, CloseReason::PeerClosed);
        }
    }

    /// Say goodbye inside the session, at once or as soon as everything before it is encrypted.
    pub(super) fn seal(&mut self, slot: u32) {
        let nothing_before = self.conns.peek(slot).queue.is_empty();
        let sealed = self.with_session(slot, |tls| {
            if nothing_before {
                tls.close_notify();
            }
        });
        if sealed.is_some() {
            self.mark_dirty(slot);
        }
    }

    /// Encrypt what waits, up to one record, and hand over the ciphertext.
    pub(super) fn send_secure<I: Io>(&mut self, io: &mut I, slot: u32) {
        let conn = self.conns.at(slot);
        let target = conn.reference(slot);
        let Some(tls) = conn.tls.as_ref() else { return };
        if tls.outgoing().is_empty() && !conn.queue.is_empty() {
            let pushes = self.take_record(slot);
            let plain = std::mem::take(&mut self.plain);
            let sealed = self.with_session(slot, |tls| tls.send(&plain, pushes));
            self.plain = plain;
            self.plain.clear();
            if let Some(Err(error)) = sealed {
                self.counts.drops_closed += u64::from(pushes);
                return self.abort(slot, reason(&error));
            }
        }
        let conn = self.conns.peek(slot);
        let last = conn.queue.is_empty();
        if conn.state == ConnState::Closing && last {
            self.with_session(slot, TlsSession::close_notify);
        }
        let Some(tls) = self.conns.peek(slot).tls.as_ref() else { return };
        let out = tls.outgoing();
        let part = &out[..out.len().min(SEND_COPY_BYTES_MAX)];
        if part.is_empty() {
            return;
        }
        let more = !last || part.len() < out.len();
        let bytes = io.send_copy(target, &mut std::iter::once(part));
        self.fly_secure(slot, bytes);
        if more {
            // Not only when this is out: while somebody has more to send, nothing further is taken from feed.
            self.mark_dirty(slot);
        }
    }

    /// Move up to one record from the queue to `plain`; returns how many pushes ended in it.
    fn take_record(&mut self, slot: u32) -> u32 {
        let conn = self.conns.at(slot);
        let websocket = conn.is_websocket();
        let mut pushes = 0;
        self.plain.clear();
        while let Some((id, sent)) = conn.queue.head() {
            let rest = &self.payloads.bytes(id, websocket)[sent as usize..];
            let room = SEAL_BYTES - self.plain.len();
            if room == 0 {
                break;
            }
            self.plain.extend_from_slice(&rest[..rest.len().min(room)]);
            if rest.len() > room {
                conn.queue.advance(u32::try_from(room).unwrap_or(u32::MAX), &self.payloads);
                break;
            }
            conn.queue.pop(&self.payloads, websocket, &mut self.spares);
            pushes += u32::from(self.payloads.is_push(id));
            self.payloads.release(id);
        }
        self.counts.queued_bytes -= self.plain.len() as u64;
        pushes
    }

    /// The kernel took ciphertext: more may follow.
    pub(super) fn secure_sent(&mut self, slot: u32, bytes: u32) {
        let Some(left) = self.with_session(slot, |tls| {
            tls.sent(bytes as usize);
            !tls.outgoing().is_empty()
        }) else {
            return;
        };
        let conn = self.conns.peek(slot);
        if conn.state == ConnState::Gone {
            return;
        }
        let unsealed = conn.state == ConnState::Closing && !conn.flags.has(Flags::STALLED);
        if left || !conn.queue.is_empty() || unsealed {
            self.mark_dirty(slot);
        }
    }
}

/// How a connection ends whose session has failed.
fn reason(error: &TlsError) -> CloseReason {
    match error {
        TlsError::Internal => CloseReason::InternalError,
        TlsError::NotTls | TlsError::Peer(_) | TlsError::KeysExhausted | TlsError::NotOpen => CloseReason::TlsFailed,
    }
}
