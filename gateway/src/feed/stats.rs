//! What feed counts. Owns the names and meanings of its counters: the loop publishes them once per turn and control
//! reads them.

use halley_service::counters::Published;

halley_service::counters! {
    /// Feed's own counters, plain integers.
    pub struct FeedCounts {
        /// Gauge: logins in the directory.
        pub logins: u64,
        /// Gauge: distinct keys among them.
        pub keys: u64,
        /// Gauge: distinct mids above 0 among them.
        pub mids: u64,
        /// Gauge: distinct source addresses among them.
        pub addresses: u64,
        /// Gauge: rooms that a shard has open, also those whose first member is on its way.
        pub rooms: u64,
        /// Gauge: rooms with members.
        pub rooms_peopled: u64,
        /// Gauge: memory of the directory, in bytes, as of up to 1,024 turns ago.
        pub directory_bytes: u64,
        /// Pushes to keys taken.
        pub pushes_keys: u64,
        /// Pushes to users taken.
        pub pushes_mids: u64,
        /// Pushes to a room taken.
        pub pushes_room: u64,
        /// Pushes to everybody taken.
        pub pushes_all: u64,
        /// Those of all these that no shard had anybody for.
        pub pushes_unmatched: u64,
        /// Orders to shed that all shards were given.
        pub sheds: u64,
        /// Gauge: requests that wait in the intake, after the last turn.
        pub requests_waiting: u64,
        /// Gauge: lists of all rooms under way.
        pub listings: u64,
        /// Turns in which a request could go no further because a shard's ring was full.
        pub requests_deferred: u64,
        /// Turns in which a shard's news was kept because the ring for the answer was full.
        pub news_deferred: u64,
        /// Logins stored since start.
        pub registered: u64,
        /// Connections closed because their key logged in again.
        pub kicked_key: u64,
        /// Connections closed because their user had too many.
        pub kicked_user: u64,
        /// Logins refused because their key had too many connections.
        pub refused_key: u64,
        /// Logins refused because their user had too many connections.
        pub refused_user: u64,
        /// Connections closed on an operator's wish.
        pub closed: u64,
        /// Gauge: receipts that wait for a shard's answer.
        pub receipts_open: u64,
        /// Receipts answered with what was known, because too many newer ones waited.
        pub receipts_expired: u64,
        /// Gauge: watches.
        pub watches: u64,
        /// Watches refused because there were too many.
        pub watches_refused: u64,
        /// News of watched logins dropped because the watcher was slow.
        pub watch_news_dropped: u64,
        /// Gauge: shards that have to be told a room's count, after the last turn.
        pub room_counts_waiting: u64,
        /// Turns of the loop.
        pub turns: u64,
    }
}

/// Where feed publishes them, once per turn.
pub type FeedStats = Published<FeedCounts>;
