//! The server side of TLS 1.2 and 1.3 for one connection, without a socket (RFC 8446, RFC 5246; goim §1.13 wss, C27).
//! Owns the protocol state, the received bytes that are no whole record yet, and the produced bytes that are not sent
//! yet. Decides nothing about the connection. It stands between the socket and `transport`. Received bytes go through
//! [`TlsSession::receive`] before anybody decodes them. Whatever is to be sent goes through [`TlsSession::send`], and
//! only [`TlsSession::outgoing`] reaches the kernel. `halley_service::tls` says who we are.
//!
//! What the caller keeps to: after every call it sends `outgoing` (handshake bytes and alerts are there too), it gives
//! `send` nothing while `outgoing` is not empty, so that the bytes of one send wait here at most, and it treats
//! [`TlsProgress::PeerClosed`] as the end of the stream.
//!
//! What we keep to, since the library (rustls' unbuffered interface) indexes, asserts and unwraps by what it has
//! counted:
//!
//! - What it has not told us to discard it finds again, unchanged, at the start of the next buffer: there are the parts
//!   of a handshake message that is not whole, decrypted and moved together in place. So `incoming` goes into every
//!   call, to write as well.
//! - After an error its counts are wrong. The alert is fetched while it has something to write, for then it looks at no
//!   buffer; with that the session has failed, and the library's state is gone.
//! - After our goodbye a bad record would make it send a second alert, which it asserts not to do. It is not asked
//!   again: its state is gone then too, and what still comes is thrown away, as is what follows the peer's goodbye.
//! - Early data is never accepted, so none is ever to be read.
//!
//! All calls go through one place (`TlsSession::call`), where a panic of the library is contained.

mod error;
mod wire;

use std::fmt;
use std::sync::Arc;

use halley_service::panics::contain;
use halley_service::tls::ServerConfig;
use rustls::server::UnbufferedServerConnection;

pub use error::TlsError;
pub use wire::{INCOMING_BYTES_MAX, TlsProgress};
use wire::{Wire, peer};

/// Bytes of plaintext in one record.
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// What encryption adds to a record at most: header, explicit nonce, content type and tag.
const RECORD_OVERHEAD_BYTES: usize = 5 + 8 + 1 + 16;
/// Whose panics are contained here.
const LIBRARY: &str = "rustls";

/// Whether the library may be called.
#[expect(clippy::large_enum_variant, reason = "most sessions are live, and each is on the heap as a whole")]
enum State {
    /// It may.
    Live(UnbufferedServerConnection),
    /// We have said that nothing more will be sent. What still comes is thrown away.
    SaidGoodbye,
    /// Never again; this is why.
    Failed(TlsError),
}

/// One session.
pub struct TlsSession {
    state: State,
    wire: Wire,
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = if let State::Failed(error) = &self.state { Some(error) } else { None };
        f.debug_struct("TlsSession")
            .field("progress", &self.wire.progress)
            .field("failed", &failed)
            .field("incoming", &self.wire.incoming.len())
            .field("outgoing", &self.outgoing().len())
            .finish_non_exhaustive()
    }
}

impl TlsSession {
    /// A session that waits for the client's first bytes. Fails for a configuration that no session can have.
    pub fn new(config: Arc<ServerConfig>) -> Result<TlsSession, TlsError> {
        let connection = contain(LIBRARY, || UnbufferedServerConnection::new(config));
        let connection = connection.map_err(|_| TlsError::Internal)?;
        Ok(TlsSession { state: State::Live(connection.map_err(peer)?), wire: Wire::new() })
    }

    /// Take what came from the socket, changing it on the way, and append the plaintext in it. Bytes that form no whole
    /// record are kept. After an error the session takes no more, and says the same again.
    pub fn receive(&mut self, ciphertext: &mut [u8], plaintext: &mut Vec<u8>) -> Result<TlsProgress, TlsError> {
        match &self.state {
            State::Failed(error) => Err(error.clone()),
            // What follows a goodbye is nobody's.
            State::SaidGoodbye => Ok(self.wire.progress),
            State::Live(_) if self.wire.progress == TlsProgress::PeerClosed => Ok(TlsProgress::PeerClosed),
            State::Live(_) => self.call(|connection, wire| wire.receive(connection, ciphertext, plaintext)),
        }
    }

    /// Encrypt for the peer, `messages` of which end in it; the result is appended to [`TlsSession::outgoing`].
    pub fn send(&mut self, plaintext: &[u8], messages: u32) -> Result<(), TlsError> {
        if !self.may_send() {
            return Err(TlsError::NotOpen);
        }
        let records = plaintext.len().div_ceil(RECORD_BYTES_MAX);
        let room = plaintext.len() + records * RECORD_OVERHEAD_BYTES;
        self.call(|connection, wire| wire.write(connection, room, |traffic, out| traffic.encrypt(plaintext, out)))?;
        self.wire.messages += messages;
        Ok(())
    }

    /// Say that nothing more will be sent, so that the peer can tell our end from an attacker's. Does nothing before
    /// the handshake is over, when it was said already, or after an error.
    pub fn close_notify(&mut self) {
        if !self.may_send() {
            return;
        }
        let room = 2 + RECORD_OVERHEAD_BYTES;
        let said =
            self.call(|connection, wire| wire.write(connection, room, |traffic, out| traffic.queue_close_notify(out)));
        // With used up keys there is no way to say it; the socket's end must do.
        if said.is_ok() {
            self.leave_library(State::SaidGoodbye);
        }
    }

    fn may_send(&self) -> bool {
        matches!(self.state, State::Live(_)) && self.wire.progress != TlsProgress::Handshaking
    }

    /// Let `work` call the library. Whatever goes wrong in it, the session has failed with this.
    fn call<T>(
        &mut self,
        work: impl FnOnce(&mut UnbufferedServerConnection, &mut Wire) -> Result<T, TlsError>,
    ) -> Result<T, TlsError> {
        let State::Live(connection) = &mut self.state else { return Err(TlsError::NotOpen) };
        let wire = &mut self.wire;
        let produced = wire.outgoing.len();
        let done = contain(LIBRARY, || work(connection, wire).inspect_err(|_| wire.last_words(connection)));
        let error = match done {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => {
                // Half a record, perhaps.
                self.wire.outgoing.truncate(produced);
                TlsError::Internal
            }
        };
        self.leave_library(State::Failed(error.clone()));
        Err(error)
    }

    /// Make sure that the library is never called again.
    fn leave_library(&mut self, state: State) {
        let left = std::mem::replace(&mut self.state, state);
        // What a panic left behind may panic again.
        let _ = contain(LIBRARY, || drop(left));
        self.wire.incoming = Vec::new();
    }

    /// Bytes for the socket.
    pub fn outgoing(&self) -> &[u8] {
        &self.wire.outgoing[self.wire.sent..]
    }

    /// The first `bytes` of [`TlsSession::outgoing`] are sent.
    pub fn sent(&mut self, bytes: usize) {
        let wire = &mut self.wire;
        wire.sent += bytes;
        debug_assert!(wire.sent <= wire.outgoing.len());
        if wire.sent >= wire.outgoing.len() {
            // An idle session keeps no buffer.
            wire.outgoing = Vec::new();
            wire.sent = 0;
            wire.messages = 0;
        }
    }

    /// Nothing more will be sent: how many messages were lost with the record they end in, told once.
    pub fn take_unsent_messages(&mut self) -> u32 {
        std::mem::take(&mut self.wire.messages)
    }

    /// Where the session stands.
    pub fn progress(&self) -> TlsProgress {
        self.wire.progress
    }

    /// Whether the handshake is under way and its first answer is made: unless that asked for another try, the private
    /// key's work, its costly half, is done.
    pub fn is_answered(&self) -> bool {
        self.wire.answered
    }

    /// Bytes held in buffers, for the gauges.
    pub fn buffered_bytes(&self) -> usize {
        self.wire.incoming.capacity() + self.wire.outgoing.capacity()
    }
}

impl Drop for TlsSession {
    fn drop(&mut self) {
        self.leave_library(State::SaidGoodbye);
    }
}

#[cfg(test)]
mod tests;
