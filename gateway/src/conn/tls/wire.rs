//! What stands between the TLS library and the socket. Owns the bytes on both sides, and the progress that the library
//! reports. Makes the calls that the session has allowed, each with what waits unread. Never decides whether a call may
//! be made, nor what an error means. `super` is the only caller.

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError};

use super::error::TlsError;

/// Bytes of the longest record with its header (RFC 5246 §6.2.3). Nothing longer may wait: a server that asks for no
/// client certificate is sent no handshake message beyond one record.
pub const INCOMING_BYTES_MAX: usize = 16 * 1024 + 2048 + 5;
/// Bytes of a record that may wait before the handshake is over: hellos have some 2 KiB, and nobody was let in yet.
pub(super) const HANDSHAKE_BYTES_MAX: usize = 8 * 1024;

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

/// What stands between the library and the socket.
pub(super) struct Wire {
    /// Received bytes from the start of a record, or of a handshake message, that is not whole.
    pub(super) incoming: Vec<u8>,
    /// Produced bytes, of which `sent` are sent.
    pub(super) outgoing: Vec<u8>,
    pub(super) sent: usize,
    pub(super) progress: TlsProgress,
    /// Messages that end in `outgoing`.
    pub(super) messages: u32,
    /// The peer's first words were answered.
    pub(super) answered: bool,
}

impl Wire {
    /// Nothing has come, nothing is to be sent.
    pub(super) fn new() -> Wire {
        Wire {
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            progress: TlsProgress::Handshaking,
            messages: 0,
            answered: false,
        }
    }

    /// Take what came, behind what was kept.
    pub(super) fn receive(
        &mut self,
        connection: &mut UnbufferedServerConnection,
        ciphertext: &mut [u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<TlsProgress, TlsError> {
        if self.incoming.is_empty() {
            let taken = self.process(connection, ciphertext, plaintext)?;
            self.incoming = ciphertext[taken..].to_vec();
        } else {
            let mut incoming = std::mem::take(&mut self.incoming);
            incoming.reserve_exact(ciphertext.len());
            incoming.extend_from_slice(ciphertext);
            let taken = self.process(connection, &mut incoming, plaintext)?;
            incoming.drain(..taken);
            incoming.shrink_to_fit();
            self.incoming = incoming;
        }
        let shaking = self.progress == TlsProgress::Handshaking;
        if self.incoming.len() > if shaking { HANDSHAKE_BYTES_MAX } else { INCOMING_BYTES_MAX } {
            return Err(TlsError::Peer("a record is longer than allowed".to_owned()));
        }
        Ok(self.progress)
    }

    /// Handle whole records at the start of `buffer`; returns the bytes that are done with.
    fn process(
        &mut self,
        connection: &mut UnbufferedServerConnection,
        buffer: &mut [u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<usize, TlsError> {
        let mut taken = 0;
        loop {
            let status = connection.process_tls_records(&mut buffer[taken..]);
            let mut discard = status.discard;
            let mut more = true;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(peer)?;
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
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => more = false,
                Ok(_) => return Err(TlsError::Peer("data before the handshake".to_owned())),
                Err(error) => return Err(peer(error)),
            }
            taken += discard;
            if !more {
                return Ok(if self.progress == TlsProgress::PeerClosed { buffer.len() } else { taken });
            }
        }
    }

    /// Append the alert that goes with an error.
    pub(super) fn last_words(&mut self, connection: &mut UnbufferedServerConnection) {
        // Only while there is one: else the library would look for records, from where it believes itself to be in a
        // buffer that is not there.
        while connection.wants_write() {
            let Ok(ConnectionState::EncodeTlsData(mut data)) = connection.process_tls_records(&mut []).state else {
                return;
            };
            if encode_into(&mut self.outgoing, |out| data.encode(out)).is_err() {
                return;
            }
        }
    }

    /// Let `produce` write traffic into about `room` bytes at the end of `outgoing`.
    pub(super) fn write(
        &mut self,
        connection: &mut UnbufferedServerConnection,
        room: usize,
        mut produce: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), TlsError> {
        loop {
            // The state that can write is reached through what waits unread, which stays as it is: no record in it is
            // whole.
            match connection.process_tls_records(&mut self.incoming).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return append_exactly(&mut self.outgoing, room, |out| produce(&mut traffic, out));
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode_into(&mut self.outgoing, |out| data.encode(out))?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) => return Err(TlsError::NotOpen),
                Err(error) => return Err(peer(error)),
            }
        }
    }
}

/// What the library says of a peer.
pub(super) fn peer(error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TlsError::NotTls,
        other => TlsError::Peer(other.to_string()),
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
