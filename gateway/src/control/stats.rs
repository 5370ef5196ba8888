//! What the control loop counts. Owns the names and meanings of its counters: the loop publishes them once per turn and
//! `metrics` reads them.

use halley_service::counters::Published;

halley_service::counters! {
    /// The control loop's own counters, plain integers.
    pub struct ControlCounts {
        /// Gauge: signed logins that wait for a decision.
        pub logins_waiting: u64,
        /// Gauge: messages that wait for room in a shard's ring.
        pub outbox_messages: u64,
        /// Gauge: questions to shards without answer.
        pub questions: u64,
        /// Gauge: pairs of a traced connection and a listener.
        pub traced: u64,
        /// Signed logins decided, either way.
        pub logins_decided: u64,
        /// Signed logins refused undecided: too many waited, or this one waited too long.
        pub logins_unavailable: u64,
        /// Commands taken.
        pub commands: u64,
        /// Commands refused because a shard was behind or too many questions were open.
        pub commands_refused: u64,
        /// Events of traced connections, each counted once.
        pub trace_events: u64,
        /// Events that a slow listener lost, counted for each listener.
        pub trace_events_lost: u64,
    }
}

/// Where the loop publishes them, once per turn.
pub type ControlStats = Published<ControlCounts>;
