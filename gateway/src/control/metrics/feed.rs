//! The metrics of the feed thread. Owns their names; the numbers are what feed published last.

use std::sync::Arc;

use halley_service::metrics::{Collect, Exposition, Kind, Plain};

use crate::feed::stats::{FeedCounts, FeedStats};

const PLAIN: &[Plain<FeedCounts>] = &[
    ("halley_directory_logins", Kind::Gauge, "Logins in the directory.", |c| c.logins),
    ("halley_directory_keys", Kind::Gauge, "Distinct connection keys among them.", |c| c.keys),
    ("halley_directory_mids", Kind::Gauge, "Distinct users among them.", |c| c.mids),
    ("halley_directory_addresses", Kind::Gauge, "Distinct source addresses among them.", |c| c.addresses),
    ("halley_directory_rooms_open", Kind::Gauge, "Rooms that a shard has open.", |c| c.rooms),
    ("halley_directory_rooms", Kind::Gauge, "Rooms with members, each counted once.", |c| c.rooms_peopled),
    ("halley_directory_bytes", Kind::Gauge, "Memory of the directory.", |c| c.directory_bytes),
    ("halley_feed_pushes_unmatched_total", Kind::Counter, "Pushes that no shard had anybody for.", |c| {
        c.pushes_unmatched
    }),
    ("halley_feed_requests_waiting", Kind::Gauge, "Requests that wait for feed.", |c| c.requests_waiting),
    ("halley_feed_listings", Kind::Gauge, "Requests waiting for a list of all rooms.", |c| c.listings),
    ("halley_feed_sheds_total", Kind::Counter, "Orders to shed that the shards were given.", |c| c.sheds),
    ("halley_feed_requests_deferred_total", Kind::Counter, "Turns in which a push waited for a shard's ring.", |c| {
        c.requests_deferred
    }),
    ("halley_feed_news_deferred_total", Kind::Counter, "Turns in which a shard's news waited for a ring.", |c| {
        c.news_deferred
    }),
    ("halley_feed_registered_total", Kind::Counter, "Logins stored.", |c| c.registered),
    ("halley_feed_closed_total", Kind::Counter, "Connections closed on an operator's wish.", |c| c.closed),
    ("halley_feed_receipts_open", Kind::Gauge, "Counts that wait for a shard's answer.", |c| c.receipts_open),
    ("halley_feed_receipts_expired_total", Kind::Counter, "Counts answered in part, since too many waited.", |c| {
        c.receipts_expired
    }),
    ("halley_feed_watches", Kind::Gauge, "Users watched.", |c| c.watches),
    ("halley_feed_watches_refused_total", Kind::Counter, "Watches refused, since there were too many.", |c| {
        c.watches_refused
    }),
    ("halley_feed_watch_news_dropped_total", Kind::Counter, "News that a slow watcher lost.", |c| c.watch_news_dropped),
    ("halley_feed_room_counts_waiting", Kind::Gauge, "Shards that have to be told a room's count.", |c| {
        c.room_counts_waiting
    }),
    ("halley_feed_turns_total", Kind::Counter, "Turns of the feed loop.", |c| c.turns),
];

/// What feed counts.
#[derive(Debug)]
pub struct Feed(pub Arc<FeedStats>);

impl Collect for Feed {
    fn collect(&self, out: &mut Exposition) {
        let counts = self.0.read();
        out.family("halley_feed_pushes_total", Kind::Counter, "Pushes taken, by kind of target.")
            .sample(&[("kind", &"keys")], counts.pushes_keys)
            .sample(&[("kind", &"mids")], counts.pushes_mids)
            .sample(&[("kind", &"room")], counts.pushes_room)
            .sample(&[("kind", &"all")], counts.pushes_all);
        out.family("halley_feed_limited_total", Kind::Counter, "Connections that a limit on keys or users ended.")
            .sample(&[("limit", &"key"), ("ended", &"oldest")], counts.kicked_key)
            .sample(&[("limit", &"key"), ("ended", &"new")], counts.refused_key)
            .sample(&[("limit", &"user"), ("ended", &"oldest")], counts.kicked_user)
            .sample(&[("limit", &"user"), ("ended", &"new")], counts.refused_user);
        out.plain(PLAIN, &counts);
    }
}
