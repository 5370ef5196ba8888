//! What feed counts. Owns the counters as single-writer atomics that feed publishes once per turn of its loop and
//! control reads; the loop itself works on plain integers.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Feed's own copy, plain integers.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct FeedCounts { $($(#[$doc])* pub $name: u64,)* }

        /// The published copy, on cache lines of its own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct FeedStats { $($name: AtomicU64,)* }

        impl FeedStats {
            /// Feed: publish.
            pub fn publish(&self, counts: &FeedCounts) {
                $(self.$name.store(counts.$name, Ordering::Relaxed);)*
            }

            /// Anybody: read. Counters may be a turn apart from each other.
            pub fn read(&self) -> FeedCounts {
                FeedCounts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Gauge: logins in the directory.
    logins,
    /// Gauge: distinct keys among them.
    keys,
    /// Gauge: distinct mids above 0 among them.
    mids,
    /// Gauge: distinct source addresses among them.
    addresses,
    /// Gauge: rooms that a shard has open, also those whose first member is on its way.
    rooms,
    /// Gauge: rooms with members.
    rooms_peopled,
    /// Gauge: memory of the directory, in bytes, as of up to 1,024 turns ago.
    directory_bytes,
    /// Pushes to keys taken.
    pushes_keys,
    /// Pushes to users taken.
    pushes_mids,
    /// Pushes to a room taken.
    pushes_room,
    /// Pushes to everybody taken.
    pushes_all,
    /// Those of all these that no shard had anybody for.
    pushes_unmatched,
    /// Gauge: requests that wait in the intake, after the last turn.
    requests_waiting,
    /// Gauge: lists of all rooms under way.
    listings,
    /// Turns in which a request could go no further because a shard's ring was full.
    requests_deferred,
    /// Turns in which a shard's news was kept because the ring for the answer was full.
    news_deferred,
    /// Logins stored since start.
    registered,
    /// Connections closed because their key logged in again.
    kicked_key,
    /// Connections closed because their user had too many.
    kicked_user,
    /// Logins refused because their key had too many connections.
    refused_key,
    /// Logins refused because their user had too many connections.
    refused_user,
    /// Connections closed on an operator's wish.
    closed,
    /// Gauge: receipts that wait for a shard's answer.
    receipts_open,
    /// Receipts answered with what was known, because too many newer ones waited.
    receipts_expired,
    /// Gauge: watches.
    watches,
    /// Watches refused because there were too many.
    watches_refused,
    /// News of watched logins dropped because the watcher was slow.
    watch_news_dropped,
    /// Gauge: shards that have to be told a room's count, after the last turn.
    room_counts_waiting,
    /// Turns of the loop.
    turns,
}
