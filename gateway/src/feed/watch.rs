//! Who wants to hear of a user's or key's logins. Owns the watchers, bounded. One that does not keep up loses news,
//! which is counted for it. One that is gone is forgotten at the next news or the next watch.

use super::directory::{Logins, Place, Select};
use super::intake::{WatchNews, WatchSink};

/// Watchers at once; one more is turned away (its channel closes).
pub(super) const WATCHES_MAX: usize = 256;

/// The watchers, [`WATCHES_MAX`] at most.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watches: Vec<Watch>,
    refused: u64,
    dropped: u64,
}

#[derive(Debug)]
struct Watch {
    select: Select,
    news: WatchSink,
}

impl Watches {
    /// Watchers now.
    pub(super) fn len(&self) -> u64 {
        self.watches.len() as u64
    }

    /// Watchers turned away, since start.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// News lost because a watcher was slow, since start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Add a watcher and tell it the logins of now.
    pub(super) fn add(&mut self, select: Select, news: WatchSink, logins: &Logins) {
        self.watches.retain(|watch| !watch.news.is_closed());
        if self.watches.len() == WATCHES_MAX {
            self.refused += 1;
            return;
        }
        for place in logins.select(&select) {
            self.dropped += u64::from(!news.give(WatchNews::There(logins.describe(place))));
        }
        self.watches.push(Watch { select, news });
    }

    /// A login was stored.
    pub(super) fn opened(&mut self, logins: &Logins, place: Place) {
        self.tell(logins, place, || WatchNews::Opened(logins.describe(place)));
    }

    /// A login is about to be forgotten.
    pub(super) fn gone(&mut self, logins: &Logins, place: Place) {
        let (shard, conn) = logins.conn(place);
        self.tell(logins, place, || WatchNews::Gone { shard, conn });
    }

    fn tell(&mut self, logins: &Logins, place: Place, news: impl Fn() -> WatchNews) {
        let dropped = &mut self.dropped;
        self.watches.retain(|watch| {
            if !logins.is_meant(place, &watch.select) {
                return true;
            }
            *dropped += u64::from(!watch.news.give(news()));
            !watch.news.is_closed()
        });
    }
}
