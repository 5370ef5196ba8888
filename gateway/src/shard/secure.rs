//! TLS connections: ciphertext → `transport`, send queue → ciphertext. Owns when a session is fed and drained; the session
//! itself is `conn::tls`. At most one record's worth of the queue waits as ciphertext, so the queue's bound still holds.

use crate::conn::close::CloseReason;
use crate::conn::tls::{TlsProgress, TlsSession};
use crate::conn::{ConnState, Flags};
use crate::io::{Io, SEND_COPY_BYTES_MAX};
use crate::mesh::msg::ConnRef;

use super::Core;

/// Plaintext encrypted at once: one record.
const SEAL_BYTES: usize = 16 * 1024;

impl Core {
    /// Begin a session on a fresh connection; false when there is no certificate to show.
    pub(super) fn secure(&mut self, slot: u32) -> bool {
        let session = self.settings.tls.clone().and_then(|config| TlsSession::new(config).ok());
        let secured = session.is_some();
        self.conns.at(slot).tls = session.map(Box::new);
        secured
    }

    /// Ciphertext came.
    pub(super) fn decrypt(&mut self, conn: ConnRef, bytes: &mut [u8]) {
        let slot = conn.slot;
        let Some(tls) = self.conns.at(slot).tls.as_mut() else { return };
        let mut plain = std::mem::take(&mut self.plain);
        let progress = tls.receive(bytes, &mut plain);
        if !tls.outgoing().is_empty() {
            self.mark_dirty(slot);
        }
        if !plain.is_empty() {
            self.take(slot, &mut plain);
        }
        plain.clear();
        self.plain = plain;
        match progress {
            // What waits is answered first: the end of the stream itself is read after it.
            Ok(TlsProgress::PeerClosed) if !self.conns.peek(slot).flags.has(Flags::PAUSED) => self.end_of_stream(conn),
            Ok(_) => {}
            Err(_) => self.end(slot, CloseReason::TlsFailed),
        }
    }

    /// Say goodbye inside the session as soon as everything before it is encrypted.
    pub(super) fn seal(&mut self, slot: u32) {
        if self.conns.peek(slot).tls.is_some() {
            self.mark_dirty(slot);
        }
    }

    /// Encrypt what waits, up to one record, and hand over the ciphertext.
    pub(super) fn send_secure<I: Io>(&mut self, io: &mut I, slot: u32) {
        let conn = self.conns.at(slot);
        let target = conn.reference(slot);
        let websocket = conn.is_websocket();
        let Some(tls) = conn.tls.as_mut() else { return };
        if tls.outgoing().is_empty() && !conn.queue.is_empty() {
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
                self.payloads.release(id);
            }
            self.counts.queued_bytes -= self.plain.len() as u64;
            if tls.send(&self.plain).is_err() {
                self.plain.clear();
                return self.abort(slot, CloseReason::TlsFailed);
            }
            self.plain.clear();
        }
        if conn.state == ConnState::Closing && conn.queue.is_empty() {
            tls.close_notify();
        }
        let out = tls.outgoing();
        let part = &out[..out.len().min(SEND_COPY_BYTES_MAX)];
        if part.is_empty() {
            return;
        }
        let bytes = io.send_copy(target, &mut std::iter::once(part));
        self.fly_secure(slot, bytes);
    }

    /// The kernel took ciphertext: more may follow.
    pub(super) fn secure_sent(&mut self, slot: u32, bytes: u32) {
        let conn = self.conns.at(slot);
        let Some(tls) = conn.tls.as_mut() else { return };
        tls.sent(bytes as usize);
        if conn.state == ConnState::Gone {
            return;
        }
        if !tls.outgoing().is_empty()
            || !conn.queue.is_empty()
            || (conn.state == ConnState::Closing && !conn.flags.has(Flags::STALLED))
        {
            self.mark_dirty(slot);
        }
    }
}
