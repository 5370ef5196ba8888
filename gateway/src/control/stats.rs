//! What the control loop counts. Owns the counters as single-writer atomics that the loop publishes once per turn and
//! `metrics` reads; the loop works on plain integers.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The loop's own copy, plain integers.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct ControlCounts { $($(#[$doc])* pub $name: u64,)* }

        /// The published copy.
        #[derive(Debug, Default)]
        pub struct ControlStats { $($name: AtomicU64,)* }

        impl ControlStats {
            /// Control: publish.
            pub fn publish(&self, counts: &ControlCounts) {
                $(self.$name.store(counts.$name, Ordering::Relaxed);)*
            }

            /// Anybody: read. Counters may be a turn apart from each other.
            pub fn read(&self) -> ControlCounts {
                ControlCounts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Gauge: signed logins that wait for a decision.
    logins_waiting,
    /// Gauge: messages that wait for room in a shard's ring.
    outbox_messages,
    /// Gauge: questions to shards without answer.
    questions,
    /// Gauge: pairs of a traced connection and a listener.
    traced,
    /// Signed logins decided, either way.
    logins_decided,
    /// Signed logins refused undecided: too many waited, or this one waited too long.
    logins_unavailable,
    /// Commands taken.
    commands,
    /// Commands refused because a shard was behind or too many questions were open.
    commands_refused,
    /// Events of traced connections, each counted once.
    trace_events,
    /// Events that a slow listener lost, counted for each listener.
    trace_events_lost,
}
