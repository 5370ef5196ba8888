//! The bounds of the data plane in one place. Owns the compile-time limits with their relations and the run-time
//! settings a shard works by; reads no file (`config` does, and converts once into these types).

use std::sync::Arc;

use halley_service::tls::ServerConfig;

/// Slots in the ring that carries messages from feed, or from control, to one shard.
pub const TO_SHARD_RING_SLOTS: usize = 4096;
/// Slots in the ring from one shard to feed, or to control.
pub const FROM_SHARD_RING_SLOTS: usize = 4096;
/// Messages taken from one inbox ring in one turn.
pub const INBOX_MESSAGES_PER_TURN: usize = 1024;
/// TLS handshakes read on in one turn: a private key's work takes up to a millisecond, and pushes must not wait for a
/// crowd of it.
pub const TLS_HANDSHAKES_PER_TURN: usize = 4;
/// Deadlines handled in one turn, rounded up to whole groups of 256 slots: a crowd that came at once may time out at
/// once.
pub const DEADLINES_PER_TURN: usize = 4096;
/// Connections shed in one turn.
pub const SHEDS_PER_TURN: usize = 1024;
/// Connections started sending in one turn.
pub const FLUSH_SENDS_PER_TURN: usize = 8192;
/// Submission entries handed to the kernel in one enter.
pub const SUBMISSIONS_PER_ENTER: usize = 256;
/// Reports of a shard for control beyond which logins are refused as `Unavailable`: those of clients that left
/// meanwhile count.
pub const REPORTS_WAITING_MAX: usize = 16_384;
/// Entries of a shard's completion queue, a power of two: an accept burst of a whole backlog fits.
pub const COMPLETION_ENTRIES: u32 = 8192;
/// Provided receive buffers of one shard, a power of two.
pub const RECEIVE_BUFFERS: u16 = 512;
/// Bytes of one provided receive buffer.
pub const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// Length of one timer tick, in milliseconds: timeouts are late by at most this.
pub const TICK_MS: u64 = 250;
/// How long a closing connection may take to accept its last bytes and say goodbye, in milliseconds.
pub const CLOSE_DEADLINE_MS: u64 = 5_000;
/// Replies waiting in one connection beyond which we stop reading from it, in bytes.
pub const REPLY_BYTES_MAX: u32 = 64 * 1024;
/// How long a question between threads that one turn answers may wait, in milliseconds.
pub use halley_service::pulse::ANSWER_MS_MAX;
/// How long the question for all rooms may wait for its list, in milliseconds. Feed makes it over many turns, beside
/// its other work, and a list under way is finished before the next begins.
pub const LIST_MS_MAX: u64 = 30_000;
/// Paced broadcasts under way in one shard; one more finishes the oldest at once.
pub const PACED_BROADCASTS_MAX: usize = 64;
/// Headroom of direct descriptors above a shard's capacity, for accepting what will be refused.
pub const SPARE_SLOTS: u32 = 64;
/// Largest table of direct descriptors that the kernel allows one ring (`IORING_MAX_FIXED_FILES`).
pub const TABLE_SLOTS_MAX: u32 = 1 << 20;
/// Shards at most.
pub const SHARDS_MAX: u32 = 256;

const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());
const _: () = assert!(TO_SHARD_RING_SLOTS.is_power_of_two() && FROM_SHARD_RING_SLOTS.is_power_of_two());
const _: () = assert!(REPLY_BYTES_MAX as usize >= 8 * halley_protocol::goim::FRAME_BYTES_MAX);

/// What to do with a push to a connection whose queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowConsumer {
    /// The new push is dropped (goim's rule).
    DropNewest,
    /// The oldest waiting pushes are dropped until the new one fits.
    DropOldest,
    /// The connection is closed.
    Close,
}

/// How strictly client WebSocket frames are read.
pub use halley_protocol::websocket::Profile as WebSocketProfile;

/// A token bucket: `per_second` on average, `burst` at once. 0 per second = no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units a second on average; 0 = unlimited.
    pub per_second: u32,
    /// Units at once.
    pub burst: u32,
}

/// How logins are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// goim's unsigned JSON token, decided in the shard.
    Open,
    /// Somebody else decides (JWT on the control thread): the shard asks and waits.
    Ask,
}

/// What a shard works by. Replaced whole on reload; connections keep no copy (TLS sessions keep the configuration they
/// began with).
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// How logins are decided.
    pub auth: AuthMode,
    /// What TLS listeners present; without it their connections fail.
    pub tls: Option<Arc<ServerConfig>>,
    /// Time for TLS, upgrade and login together.
    pub handshake_timeout_ms: u64,
    /// Time without a heartbeat after which a connection ends (goim: heartbeat × heartbeatMax).
    pub heartbeat_timeout_ms: u64,
    /// Connections not yet authenticated, in this shard.
    pub pending_handshakes_max: u32,
    /// Bytes of one upgrade request.
    pub upgrade_bytes_max: usize,
    /// `Origin` values accepted; empty = every origin. A client that sends none is no web page and is always accepted.
    pub origins: Vec<String>,
    /// How strictly WebSocket frames are read.
    pub websocket_profile: WebSocketProfile,
    /// Bytes of one WebSocket message from a client.
    pub message_bytes_max: u32,
    /// Bytes of pushes that may wait in one connection.
    pub queue_bytes_max: u32,
    /// Bytes of pushes that may wait in this shard.
    pub shard_queue_bytes_max: u64,
    /// What to do beyond either.
    pub slow_consumer: SlowConsumer,
    /// Frames from one client after login.
    pub frames: Rate,
    /// Bytes from one client after login.
    pub bytes: Rate,
    /// Room changes of one client.
    pub room_changes: Rate,
    /// Accepts of this shard.
    pub accepts: Rate,
    /// Connections of one source address (IPv4 address or IPv6 /64), all shards together; 0 = no limit.
    pub connections_per_address_max: u32,
}

impl Default for ShardSettings {
    fn default() -> Self {
        ShardSettings {
            auth: AuthMode::Open,
            tls: None,
            handshake_timeout_ms: 8_000,
            heartbeat_timeout_ms: 480_000,
            pending_handshakes_max: 16_384,
            upgrade_bytes_max: 8 * 1024,
            origins: Vec::new(),
            websocket_profile: WebSocketProfile::Goim,
            message_bytes_max: 8 * 1024,
            queue_bytes_max: 64 * 1024,
            shard_queue_bytes_max: 256 * 1024 * 1024,
            slow_consumer: SlowConsumer::DropNewest,
            frames: Rate { per_second: 500, burst: 2_000 },
            bytes: Rate { per_second: 1024 * 1024, burst: 8 * 1024 * 1024 },
            room_changes: Rate { per_second: 50, burst: 500 },
            accepts: Rate { per_second: 0, burst: 0 },
            connections_per_address_max: 0,
        }
    }
}
