//! What one shard counts. Owns the names and meanings of its counters: the shard publishes them once per turn and
//! control reads them.

use halley_protocol::login::AuthRefusal;
use halley_service::counters::Published;
use halley_service::metrics::histogram::{Bounds, Buckets};

use crate::close::CloseReason;

/// Number of close reasons.
pub const CLOSE_REASONS: usize = CloseReason::ALL.len();
/// Number of auth refusals.
pub const AUTH_REFUSALS: usize = AuthRefusal::ALL.len();
/// What connections speak, as metrics name it.
pub const TRANSPORTS: [&str; 4] = ["tcp", "websocket", "tls", "wss"];

/// Bounds of the time from a push's record to the sockets, in milliseconds.
pub const LATENCY_BOUNDS: Bounds<12> =
    Bounds { upper: [1, 2, 5, 10, 25, 50, 100, 250, 1_000, 5_000, 15_000, 60_000], per_named: 1_000 };

/// The place in [`TRANSPORTS`] of a connection that speaks so.
pub fn transport(websocket: bool, tls: bool) -> usize {
    usize::from(websocket) + 2 * usize::from(tls)
}

halley_service::counters! {
    /// One shard's own counters, of which it works on plain integers.
    pub struct Counts {
        /// Gauge: connections that the shard may hold.
        pub capacity: u64,
        /// Gauge: connections, whatever their state.
        pub connections: u64,
        /// Gauge: connections that logged in.
        pub authenticated: u64,
        /// Gauge: connections not logged in yet.
        pub pending_handshakes: u64,
        /// Gauge: rooms with members, or held by a request under way.
        pub rooms: u64,
        /// Gauge: bytes waiting in all send queues.
        pub queued_bytes: u64,
        /// Gauge: bytes of partly received frames and messages.
        pub partial_bytes: u64,
        /// Gauge: bytes of TLS records that are not whole yet, or not sent yet.
        pub tls_buffered_bytes: u64,
        /// Gauge: messages for control that its ring had no room for.
        pub reports_waiting: u64,
        /// Gauge: direct descriptors in use.
        pub slots_used: u64,
        /// Accepted connections since start.
        pub accepted: u64,
        /// Times an accept ended with an error (out of descriptors and the like) and was armed again.
        pub accept_errors: u64,
        /// Logins since start.
        pub logins: u64,
        /// Gauge: paced broadcasts under way.
        pub broadcasts_paced: u64,
        /// Paced broadcasts that did not keep their pace: 64 others came, or the gateway drains.
        pub broadcasts_hurried: u64,
        /// Gauge: connections that an order to shed means and whose turn has not come.
        pub sheds_waiting: u64,
        /// Pushes that did not say when they were written.
        pub pushes_timeless: u64,
        /// Time from a push's record until the turn that took it has flushed within its budget, in milliseconds by
        /// [`LATENCY_BOUNDS`]; sends that begin in a later turn are not waited for. Of pushes to connections by name.
        pub latency_conns: Buckets<12>,
        /// The same of pushes to rooms.
        pub latency_rooms: Buckets<12>,
        /// The same of pushes to everybody, up to when a shard took them.
        pub latency_all: Buckets<12>,
        /// Frames received.
        pub frames_in: u64,
        /// Bytes received.
        pub bytes_in: u64,
        /// Pushes put in a connection's queue.
        pub deliveries: u64,
        /// Replies put in a connection's queue.
        pub replies: u64,
        /// Sends started.
        pub sends: u64,
        /// Bytes that the kernel took.
        pub bytes_out: u64,
        /// Sends that the kernel took only in part, or not at all for now.
        pub sends_short: u64,
        /// Pushes dropped: the queue of the connection was full (drop_newest).
        pub drops_queue_full: u64,
        /// Pushes dropped to make room for newer ones (drop_oldest).
        pub drops_oldest: u64,
        /// Pushes dropped: the shard's memory for queues was used up.
        pub drops_shard_full: u64,
        /// Pushes still queued when their connection ended.
        pub drops_closed: u64,
        /// Ops 12 refused: the room is beyond the client's authority, or no name of a room.
        pub denied_rooms: u64,
        /// Ops asked for by op 14 and refused: beyond the client's authority, or one too many.
        pub denied_ops: u64,
        /// Upstream messages (op 4 and unknown ops) answered.
        pub upstream: u64,
        /// Heartbeats answered.
        pub heartbeats: u64,
        /// Trace events lost because too many reports waited for control's ring.
        pub traces_lost: u64,
        /// Turns of the loop.
        pub turns: u64,
        /// Nanoseconds spent in turns, sleeping not counted.
        pub turn_ns: u64,
        /// Longest turn so far, in nanoseconds.
        pub turn_ns_max: u64,
        /// Calls of io_uring_enter.
        pub ring_enters: u64,
        /// Submission entries.
        pub ring_submissions: u64,
        /// Completions through the overflow list.
        pub ring_overflows: u64,
        /// Receives without a free buffer.
        pub ring_no_buffers: u64,
        /// Gauge: messages taken from feed's ring in the last turn.
        pub inbox_depth: u64,
        /// Times news for feed, or reports for control, found their ring full and were kept for the next turn.
        pub news_deferred: u64,
        /// Ended connections by reason, indexed by `CloseReason`.
        pub closes: [u64; CLOSE_REASONS],
        /// Refused logins by cause, indexed by `AuthRefusal`.
        pub refusals: [u64; AUTH_REFUSALS],
        /// Gauge: connections by what they speak, indexed as [`TRANSPORTS`].
        pub transports: [u64; TRANSPORTS.len()],
    }
}

/// Where a shard publishes them, once per turn.
pub type ShardStats = Published<Counts>;
