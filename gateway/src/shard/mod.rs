//! One shard: its connections, rooms, timers and counters, on one thread and one ring, shared with nobody.

pub mod stats;
