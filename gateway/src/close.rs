//! Every way a connection can end has a name here. Owns the list and what follows from each name: the metric label, the
//! WebSocket close code, whether the peer, we or the operator caused it. It never closes anything: `conn` and `shard`
//! do.

use halley_protocol::websocket::CloseCode;

/// Who caused the end of a connection. `control::ends` logs by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client left, or broke a rule.
    Peer,
    /// We could not go on serving it.
    Ours,
    /// An operator, a newer login or a policy ended it.
    Policy,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = ($label:literal, $fault:ident, $code:expr, $text:literal),)*) => {
        /// Why a connection ended. The discriminant indexes the counters of `shard::stats`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum CloseReason { $($(#[$doc])* $name,)* }

        impl CloseReason {
            /// Every reason, in the order of the discriminants.
            pub const ALL: &'static [CloseReason] = &[$(CloseReason::$name,)*];

            /// The metric label.
            pub const fn label(self) -> &'static str { match self { $(CloseReason::$name => $label,)* } }

            /// Who caused it.
            pub const fn fault(self) -> Fault { match self { $(CloseReason::$name => Fault::$fault,)* } }

            /// Status of the WebSocket close frame (RFC 6455 §7.4); `None` sends no frame (the peer is gone, or never
            /// finished its upgrade).
            pub const fn code(self) -> Option<CloseCode> { match self { $(CloseReason::$name => $code,)* } }

            /// The close frame's reason text, at most 123 bytes.
            pub const fn text(self) -> &'static str { match self { $(CloseReason::$name => $text,)* } }
        }
    };
}

reasons! {
    /// The peer closed: EOF on TCP, a close frame on WebSocket.
    PeerClosed = ("peer_closed", Peer, Some(CloseCode::NORMAL), ""),
    /// The peer, or the network for it, reset the connection.
    PeerReset = ("peer_reset", Peer, None, ""),
    /// Connected and left without a byte, as load balancers do to see whether the port answers. Not an error.
    Probe = ("probe", Peer, None, ""),
    /// A goim frame with a length or header length that cannot be (goim §1.11).
    BadFrame = ("bad_frame", Peer, Some(CloseCode::PROTOCOL_ERROR), "malformed goim frame"),
    /// A violation of RFC 6455 framing.
    WebSocketProtocol = ("websocket_protocol", Peer, Some(CloseCode::PROTOCOL_ERROR), "websocket protocol error"),
    /// Text that is not UTF-8, in the strict profile.
    InvalidText = ("invalid_text", Peer, Some(CloseCode::INVALID_PAYLOAD), "text is not utf-8"),
    /// A WebSocket message over `message_bytes_max`.
    MessageTooBig = ("message_too_big", Peer, Some(CloseCode::TOO_BIG), "message too big"),
    /// The upgrade request was answered with an HTTP error.
    UpgradeRefused = ("upgrade_refused", Peer, None, ""),
    /// Not authenticated within `handshake_timeout_ms`.
    HandshakeTimeout = ("handshake_timeout", Peer, Some(CloseCode::POLICY), "login took too long"),
    /// No heartbeat within the allowed time.
    HeartbeatTimeout = ("heartbeat_timeout", Peer, Some(CloseCode::POLICY), "no heartbeat"),
    /// The token was refused.
    AuthRefused = ("auth_refused", Peer, Some(CloseCode::POLICY), "token refused"),
    /// The authority that decides on tokens did not answer, or too many logins waited for it.
    AuthUnavailable = ("auth_unavailable", Ours, Some(CloseCode::TRY_AGAIN), "login is not possible now"),
    /// The token's time ended and no refresh came.
    TokenExpired = ("token_expired", Policy, Some(CloseCode::new(4003)), "token expired"),
    /// The same key logged in again and took this connection's place.
    KeyReplaced = ("key_replaced", Policy, Some(CloseCode::new(4001)), "the same key logged in again"),
    /// The key already has `max_connections_per_key` connections and the policy is `reject_new`.
    KeyLimit = ("key_limit", Policy, Some(CloseCode::new(4005)), "too many connections of this key"),
    /// The user has `max_connections_per_mid` connections; the oldest or the newest goes.
    UserLimit = ("user_limit", Policy, Some(CloseCode::new(4002)), "too many connections of this user"),
    /// Pushes waited beyond the queue bound and the policy is `close`.
    SlowConsumer = ("slow_consumer", Peer, Some(CloseCode::new(4004)), "reads too slowly"),
    /// The peer did not take the last bytes within the closing deadline.
    CloseTimeout = ("close_timeout", Peer, None, ""),
    /// More frames a second than allowed.
    FrameRate = ("frame_rate", Peer, Some(CloseCode::POLICY), "too many frames"),
    /// More bytes a second than allowed.
    ByteRate = ("byte_rate", Peer, Some(CloseCode::POLICY), "too many bytes"),
    /// More room changes a second than allowed.
    RoomChangeRate = ("room_change_rate", Peer, Some(CloseCode::POLICY), "too many room changes"),
    /// The address has `max_connections_per_address` connections.
    AddressLimit = ("address_limit", Peer, Some(CloseCode::TRY_AGAIN), "too many connections from this address"),
    /// More handshakes were pending than `max_pending_handshakes`.
    HandshakeLimit = ("handshake_limit", Ours, Some(CloseCode::TRY_AGAIN), "too many logins at once"),
    /// Every shard is full.
    ServerFull = ("server_full", Ours, None, ""),
    /// The TLS handshake or a TLS record failed.
    TlsFailed = ("tls_failed", Peer, None, ""),
    /// An operator closed it.
    ClosedByOperator = ("closed_by_operator", Policy, Some(CloseCode::new(4006)), "closed by operator"),
    /// The gateway is stopping; the client should reconnect elsewhere.
    Drain = ("drain", Policy, Some(CloseCode::RESTART), "gateway restarts, please reconnect"),
    /// Pushes were left out that the connection may have been meant by; after a new login it lacks nothing it can know.
    FeedGap = ("feed_gap", Ours, Some(CloseCode::RESTART), "pushes were missed, please reconnect"),
    /// The kernel refused an operation that should work.
    IoFailed = ("io_failed", Ours, Some(CloseCode::INTERNAL), "internal error"),
    /// A library panicked on what the client had sent.
    InternalError = ("internal_error", Ours, Some(CloseCode::INTERNAL), "internal error"),
}
