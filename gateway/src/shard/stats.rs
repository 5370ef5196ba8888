//! What one shard counts. Owns the counters as single-writer atomics that the shard publishes once per turn and control reads;
//! no other thread writes them, and the delivery path works on plain integers.

use std::sync::atomic::{AtomicU64, Ordering};

use halley_protocol::login::AuthRefusal;

use crate::close::CloseReason;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The shard's own copy, plain integers.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)*
            /// Ended connections by reason, indexed by `CloseReason`.
            pub closes: [u64; CLOSE_REASONS],
            /// Refused logins by cause, indexed by `AuthRefusal`.
            pub refusals: [u64; AUTH_REFUSALS],
        }

        /// The published copy, on cache lines of its own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct ShardStats { $($name: AtomicU64,)* closes: [AtomicU64; CLOSE_REASONS], refusals: [AtomicU64; AUTH_REFUSALS] }

        impl ShardStats {
            /// Shard: publish.
            pub fn publish(&self, counts: &Counts) {
                $(self.$name.store(counts.$name, Ordering::Relaxed);)*
                for (to, from) in self.closes.iter().zip(&counts.closes) { to.store(*from, Ordering::Relaxed); }
                for (to, from) in self.refusals.iter().zip(&counts.refusals) { to.store(*from, Ordering::Relaxed); }
            }

            /// Anybody: read. Counters may be a turn apart from each other.
            pub fn read(&self) -> Counts {
                Counts {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    closes: std::array::from_fn(|i| self.closes[i].load(Ordering::Relaxed)),
                    refusals: std::array::from_fn(|i| self.refusals[i].load(Ordering::Relaxed)),
                }
            }
        }
    };
}

/// Number of close reasons.
pub const CLOSE_REASONS: usize = CloseReason::ALL.len();
/// Number of auth refusals.
pub const AUTH_REFUSALS: usize = AuthRefusal::ALL.len();

counters! {
    /// Gauge: connections in the slab, whatever their state.
    connections,
    /// Gauge: connections that logged in.
    authenticated,
    /// Gauge: connections not logged in yet.
    pending_handshakes,
    /// Gauge: rooms with members, or held by a request under way.
    rooms,
    /// Gauge: bytes waiting in all send queues.
    queued_bytes,
    /// Gauge: bytes of partly received frames and messages.
    partial_bytes,
    /// Gauge: bytes of TLS records that are not whole yet, or not sent yet.
    tls_buffered_bytes,
    /// Gauge: messages for control that its ring had no room for.
    reports_waiting,
    /// Gauge: direct descriptors in use.
    slots_used,
    /// Accepted connections since start.
    accepted,
    /// Times an accept ended with an error (out of descriptors and the like) and was armed again.
    accept_errors,
    /// Logins since start.
    logins,
    /// Gauge: paced broadcasts under way.
    broadcasts_paced,
    /// Paced broadcasts that did not keep their pace: 64 others came, or the gateway drains.
    broadcasts_hurried,
    /// Frames received.
    frames_in,
    /// Bytes received.
    bytes_in,
    /// Pushes put in a connection's queue.
    deliveries,
    /// Replies put in a connection's queue.
    replies,
    /// Sends started.
    sends,
    /// Bytes handed to the kernel.
    bytes_out,
    /// Sends that the kernel took only in part, or not at all for now.
    sends_short,
    /// Pushes dropped: the queue of the connection was full (drop_newest).
    drops_queue_full,
    /// Pushes dropped to make room for newer ones (drop_oldest).
    drops_oldest,
    /// Pushes dropped: the shard's memory for queues was used up.
    drops_shard_full,
    /// Pushes still queued when their connection ended.
    drops_closed,
    /// Ops 12 and 14 beyond the client's authority.
    denied_rooms,
    /// As above, for op 14.
    denied_ops,
    /// Upstream messages (op 4 and unknown ops) answered.
    upstream,
    /// Heartbeats answered.
    heartbeats,
    /// Trace events lost because control's ring was full.
    traces_lost,
    /// Turns of the loop.
    turns,
    /// Nanoseconds spent in turns, sleeping not counted.
    turn_ns,
    /// Longest turn so far, in nanoseconds.
    turn_ns_max,
    /// Calls of io_uring_enter.
    ring_enters,
    /// Submission entries.
    ring_submissions,
    /// Completions through the overflow list.
    ring_overflows,
    /// Receives without a free buffer.
    ring_no_buffers,
    /// Gauge: messages waiting in the ring from feed at the last look.
    inbox_depth,
    /// Times news for feed, or reports for control, found their ring full and were kept for the next turn.
    news_deferred,
}
