//! The server side of TLS 1.2 and 1.3 for one connection, without a socket (RFC 8446, RFC 5246; goim §1.13 wss, C27).
//! Owns the protocol state, the received bytes that are no whole record yet and the produced bytes that are not sent
//! yet; decides nothing about the connection. It stands between the socket and `transport`: received bytes go through
//! [`TlsSession::receive`] before anybody decodes them, whatever is to be sent goes through [`TlsSession::send`], and
//! only [`TlsSession::outgoing`] reaches the kernel. `certificates` says who we are.
//!
//! What the caller keeps to: after every call it sends `outgoing` (handshake bytes and alerts are there too), it gives
//! `send` nothing while `outgoing` is not empty, so that the bytes of one send wait here at most, and it treats
//! [`TlsProgress::PeerClosed`] as the end of the stream.

pub mod certificates;

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError};

/// Bytes of the longest record with its header (RFC 5246 §6.2.3). Nothing longer may wait: a server that asks for no
/// client certificate is sent no handshake message beyond one record.
pub const INCOMING_BYTES_MAX: usize = 16 * 1024 + 2048 + 5;
/// Bytes of plaintext in one record.
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// What encryption adds to a record at most: header, explicit nonce, content type and tag.
const RECORD_OVERHEAD_BYTES: usize = 5 + 8 + 1 + 16;

/// Why a session cannot go on. Its last words, an alert, are in [`TlsSession::outgoing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The peer does not speak TLS at all: plain goim frames or HTTP on a TLS port.
    NotTls,
    /// The peer broke the protocol, or has no version, cipher or application protocol in common with us.
    Peer(String),
    /// The keys have encrypted as much as is safe and cannot be renewed (TLS 1.2).
    KeysExhausted,
    /// `send` before the handshake was over, or after `close_notify`: the caller's fault.
    NotOpen,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::NotTls => f.write_str("the peer does not speak TLS"),
            TlsError::Peer(reason) => write!(f, "TLS failed: {reason}"),
            TlsError::KeysExhausted => f.write_str("the TLS keys are used up"),
            TlsError::NotOpen => f.write_str("the TLS session is not open for sending"),
        }
    }
}

impl std::error::Error for TlsError {}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsProgress {
    /// The handshake is not over: nothing may be sent.
    Handshaking,
    /// Plaintext goes both ways.
    Open,
    /// The peer will send no more. It may still be sent to.
    PeerClosed,
}

/// One session.
pub struct TlsSession {
    connection: UnbufferedServerConnection,
    /// Received bytes from the start of a record, or of a handshake message, that is not whole.
    incoming: Vec<u8>,
    /// Produced bytes, of which `sent` are sent.
    outgoing: Vec<u8>,
    sent: usize,
    progress: TlsProgress,
    closed: bool,
    /// Messages that end in `outgoing`.
    messages: u32,
    /// The peer's first words were answered.
    answered: bool,
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession")
            .field("progress", &self.progress)
            .field("incoming", &self.incoming.len())
            .field("outgoing", &self.outgoing().len())
            .finish_non_exhaustive()
    }
}

impl TlsSession {
    /// A session that waits for the client's first bytes. Fails only for a configuration that no session can have.
    pub fn new(config: Arc<ServerConfig>) -> Result<TlsSession, TlsError> {
        Ok(TlsSession {
            connection: UnbufferedServerConnection::new(config).map_err(|error| TlsError::Peer(error.to_string()))?,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            messages: 0,
            answered: false,
            progress: TlsProgress::Handshaking,
            closed: false,
        })
    }

    /// Take what came from the socket, changing it on the way, and append the plaintext in it. Bytes that form no whole
    /// record are kept. After an error the session takes no more.
    pub fn receive(&mut self, ciphertext: &mut [u8], plaintext: &mut Vec<u8>) -> Result<TlsProgress, TlsError> {
        if self.incoming.is_empty() {
            let taken = self.process(ciphertext, plaintext)?;
            self.incoming = ciphertext[taken..].to_vec();
        } else {
            let mut incoming = std::mem::take(&mut self.incoming);
            incoming.reserve_exact(ciphertext.len());
            incoming.extend_from_slice(ciphertext);
            let taken = self.process(&mut incoming, plaintext)?;
            incoming.drain(..taken);
            incoming.shrink_to_fit();
            self.incoming = incoming;
        }
        if self.incoming.len() > INCOMING_BYTES_MAX {
            return Err(TlsError::Peer("a record is longer than allowed".to_owned()));
        }
        Ok(self.progress)
    }

    /// Encrypt for the peer, `messages` of which end in it; the result is appended to [`TlsSession::outgoing`].
    pub fn send(&mut self, plaintext: &[u8], messages: u32) -> Result<(), TlsError> {
        if self.progress == TlsProgress::Handshaking || self.closed {
            return Err(TlsError::NotOpen);
        }
        let records = plaintext.len().div_ceil(RECORD_BYTES_MAX);
        let room = plaintext.len() + records * RECORD_OVERHEAD_BYTES;
        self.write(room, |traffic, out| traffic.encrypt(plaintext, out))?;
        self.messages += messages;
        Ok(())
    }

    /// Say that nothing more will be sent, so that the peer can tell our end from an attacker's. Does nothing before the
    /// handshake is over or when it was said already.
    pub fn close_notify(&mut self) {
        if self.progress != TlsProgress::Handshaking && !self.closed {
            // With used up keys there is no way to say it; the socket's end must do.
            let _ = self.write(2 + RECORD_OVERHEAD_BYTES, |traffic, out| traffic.queue_close_notify(out));
            self.closed = true;
        }
    }

    /// Bytes for the socket.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing[self.sent..]
    }

    /// The first `bytes` of [`TlsSession::outgoing`] are sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        debug_assert!(self.sent <= self.outgoing.len());
        if self.sent >= self.outgoing.len() {
            // An idle session keeps no buffer.
            self.outgoing = Vec::new();
            self.sent = 0;
            self.messages = 0;
        }
    }

    /// Nothing more will be sent: how many messages were lost with the record they end in, told once.
    pub fn take_unsent_messages(&mut self) -> u32 {
        std::mem::take(&mut self.messages)
    }

    /// Where the session stands.
    pub fn progress(&self) -> TlsProgress {
        self.progress
    }

    /// Whether the handshake is under way and its first answer is made: unless that asked for another try, the private key's work,
    /// its costly half, is done.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Bytes held in buffers, for the gauges.
    pub fn buffered_bytes(&self) -> usize {
        self.incoming.capacity() + self.outgoing.capacity()
    }

    /// Handle whole records at the start of `buffer`; returns the bytes that are done with.
    fn process(&mut self, buffer: &mut [u8], plaintext: &mut Vec<u8>) -> Result<usize, TlsError> {
        let mut taken = 0;
        loop {
            let status = self.connection.process_tls_records(&mut buffer[taken..]);
            let mut discard = status.discard;
            let mut more = true;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| TlsError::Peer(error.to_string()))?;
                        discard += record.discard;
                        plaintext.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode_into(&mut self.outgoing, |out| data.encode(out))?;
                    self.answered = true;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.progress = TlsProgress::PeerClosed,
                Ok(ConnectionState::WriteTraffic(_)) => {
                    if self.progress == TlsProgress::Handshaking {
                        self.progress = TlsProgress::Open;
                    }
                    more = false;
                }
                Ok(ConnectionState::BlockedHandshake) => more = false,
                // What follows the peer's goodbye is nobody's.
                Ok(ConnectionState::Closed) => return Ok(buffer.len()),
                Ok(_) => return Err(TlsError::Peer("data before the handshake".to_owned())),
                Err(error) => {
                    self.last_words();
                    return Err(match error {
                        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TlsError::NotTls,
                        other => TlsError::Peer(other.to_string()),
                    });
                }
            }
            taken += discard;
            if !more {
                return Ok(if self.progress == TlsProgress::PeerClosed { buffer.len() } else { taken });
            }
        }
    }

    /// Append the alert that goes with an error.
    fn last_words(&mut self) {
        self.closed = true;
        loop {
            match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    if encode_into(&mut self.outgoing, |out| data.encode(out)).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    /// Let `produce` write traffic into about `room` bytes at the end of `outgoing`.
    fn write(
        &mut self,
        room: usize,
        mut produce: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), TlsError> {
        // The state that can write is reached through what waits unread, which stays as it is: no record in it is whole.
        let mut incoming = std::mem::take(&mut self.incoming);
        let result = loop {
            match self.connection.process_tls_records(&mut incoming).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    break append_exactly(&mut self.outgoing, room, |out| produce(&mut traffic, out));
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    if let Err(error) = encode_into(&mut self.outgoing, |out| data.encode(out)) {
                        break Err(error);
                    }
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) | Err(_) => break Err(TlsError::NotOpen),
            }
        };
        self.incoming = incoming;
        result
    }
}

/// The state in which plaintext may be encrypted.
type Traffic<'c> = rustls::unbuffered::WriteTraffic<'c, rustls::server::ServerConnectionData>;

/// Append one piece of handshake.
fn encode_into(
    outgoing: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), TlsError> {
    let start = outgoing.len();
    let required = match encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => required_size,
        Ok(_) => return Ok(()),
        Err(EncodeError::AlreadyEncoded) => return Err(TlsError::NotOpen),
    };
    outgoing.resize(start + required, 0);
    let written = encode(&mut outgoing[start..]).unwrap_or(0);
    outgoing.truncate(start + written);
    Ok(())
}

/// Append what `produce` writes, giving it `room` bytes first and as many as it asks for then.
fn append_exactly(
    outgoing: &mut Vec<u8>,
    room: usize,
    mut produce: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), TlsError> {
    let start = outgoing.len();
    outgoing.resize(start + room, 0);
    let produced = match produce(&mut outgoing[start..]) {
        Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
            outgoing.resize(start + required_size, 0);
            produce(&mut outgoing[start..])
        }
        other => other,
    };
    outgoing.truncate(start + produced.as_ref().copied().unwrap_or(0));
    produced.map(drop).map_err(|_| TlsError::KeysExhausted)
}

#[cfg(test)]
mod tests;
