//! Why a TLS session cannot go on. Owns the closed list of causes and how they read; `shard::secure` makes the end of a
//! connection of them.

use std::fmt;

/// Why a session cannot go on. Its last words, an alert, are in [`TlsSession::outgoing`](super::TlsSession::outgoing).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The peer does not speak TLS at all: plain goim frames or HTTP on a TLS port.
    NotTls,
    /// The peer broke the protocol, or has no version, cipher or application protocol in common with us.
    Peer(String),
    /// The keys have encrypted as much as is safe and cannot be renewed (TLS 1.2).
    KeysExhausted,
    /// `send` before the handshake was over, after `close_notify`, or after an error: the caller's fault.
    NotOpen,
    /// The library panicked: a bug, ours or its own. There are no last words.
    Internal,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::NotTls => f.write_str("the peer does not speak TLS"),
            TlsError::Peer(reason) => write!(f, "TLS failed: {reason}"),
            TlsError::KeysExhausted => f.write_str("the TLS keys are used up"),
            TlsError::NotOpen => f.write_str("the TLS session is not open for sending"),
            TlsError::Internal => f.write_str("the TLS library failed"),
        }
    }
}

impl std::error::Error for TlsError {}
