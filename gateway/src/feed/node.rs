//! The feed loop. Owns the directory, the ends of the shards' rings and the order of phases; sleeps until a request or a
//! shard's news comes. It never waits for a ring: what does not fit is kept where it is and tried again, while everything
//! else goes on.
//!
//! Rings that are full cannot stand still together. Shards keep taking what feed writes whether or not feed takes their
//! news (they keep news as one state per slot), so every ring to a shard drains. Feed takes news as far as the answers fit,
//! so with those rings the rings from the shards drain too.

use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::mesh::async_wake::AsyncDoorbell;
use crate::mesh::msg::{FeedToShard, ShardToFeed};
use crate::mesh::port::{Receiver, Sender};
use crate::mesh::wake::Doorbell;

use super::deliver::Route;
use super::directory::{Directory, DirectoryLimits};
use super::intake::{Matched, Request};
use super::receipts::Receipts;
use super::requests::{Job, Listings};
use super::stats::{FeedCounts, FeedStats};
use super::watch::Watches;

/// How long to sleep before looking again at a ring that was full: shards do not ring when they make room.
const FULL_RING_RETRY: Duration = Duration::from_millis(1);

/// The rings between feed and one shard.
#[derive(Debug)]
pub struct ShardLink {
    /// To the shard.
    pub to: Sender<FeedToShard>,
    /// From the shard.
    pub from: Receiver<ShardToFeed>,
}

/// Turns from one look at the directory's size to the next.
const MEASURE_TURNS: u64 = 1024;

/// What the feed thread is made of.
#[derive(Debug)]
pub struct FeedParts {
    /// One per shard, in the order of their indexes; at most 65,535.
    pub shards: Vec<ShardLink>,
    /// Feed's own, which every `ShardLink::from` rings.
    pub doorbell: Arc<Doorbell>,
    /// The other end of the `Intake`.
    pub requests: mpsc::Receiver<Request>,
    /// Limits on logins, until a request changes them.
    pub limits: DirectoryLimits,
    /// Where to publish counters.
    pub stats: Arc<FeedStats>,
}

/// The feed thread, before and while it runs.
#[derive(Debug)]
pub struct FeedNode {
    feed: Feed,
    doorbell: Arc<Doorbell>,
    requests: mpsc::Receiver<Request>,
}

/// All that the phases of a turn work on.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) directory: Directory,
    pub(super) links: Links,
    pub(super) receipts: Receipts,
    pub(super) watches: Watches,
    pub(super) route: Route,
    /// The request under way.
    pub(super) job: Option<Job>,
    /// Answers to tell when the rings are flushed.
    pub(super) delivered: Vec<(oneshot::Sender<Vec<Matched>>, Vec<Matched>)>,
    /// The request that ended the last sleep.
    pub(super) next_request: Option<Request>,
    pub(super) listings: Listings,
    /// The shard whose ring the push under way found full.
    pub(super) full_shard: Option<u16>,
    /// Something could go no further in this turn because a ring was full.
    pub(super) stalled: bool,
    /// Something stopped in this turn at its budget.
    pub(super) more: bool,
    pub(super) counts: FeedCounts,
    stats: Arc<FeedStats>,
}

/// The rings of all shards, each with the piece of news that waits for room in a ring.
#[derive(Debug)]
pub(super) struct Links(Vec<(ShardLink, Option<ShardToFeed>)>);

impl FeedNode {
    /// Put the parts together.
    ///
    /// # Panics
    /// With more than 65,535 shards.
    pub fn new(parts: FeedParts) -> FeedNode {
        let FeedParts { shards, doorbell, requests, limits, stats } = parts;
        let count = u16::try_from(shards.len()).expect("at most 65,535 shards");
        let feed = Feed {
            directory: Directory::new(count, limits),
            links: Links(shards.into_iter().map(|link| (link, None)).collect()),
            receipts: Receipts::new(),
            watches: Watches::default(),
            route: Route::default(),
            job: None,
            delivered: Vec::new(),
            next_request: None,
            listings: Listings::default(),
            full_shard: None,
            stalled: false,
            more: false,
            counts: FeedCounts::default(),
            stats,
        };
        FeedNode { feed, doorbell, requests }
    }

    /// Serve until `stop` resolves. Runs in a tokio runtime whose other tasks get their turn after each of feed's. Fails only when
    /// the runtime cannot watch the doorbell.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> std::io::Result<()> {
        let bell = AsyncDoorbell::new(Arc::clone(&self.doorbell))?;
        let mut stop = pin!(stop);
        let mut asked = true;
        loop {
            self.turn();
            if self.feed.more || !self.may_sleep() {
                tokio::select! {
                    biased;
                    () = &mut stop => return Ok(()),
                    () = tokio::task::yield_now() => continue,
                }
            }
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                rung = bell.rung() => rung?,
                request = self.requests.recv(), if asked && self.feed.takes_requests() => {
                    asked = request.is_some();
                    self.feed.next_request = request;
                }
                () = tokio::time::sleep(FULL_RING_RETRY), if self.feed.stalled => {}
            }
            self.doorbell.awake();
        }
    }

    /// Announce sleep, unless a shard said something since the last look.
    fn may_sleep(&mut self) -> bool {
        self.doorbell.sleepy();
        let may = !self.feed.links.have_news();
        if !may {
            self.doorbell.awake();
        }
        may
    }

    /// Everything there is to do now, within the budgets. Whatever comes first may take the last room in a ring, so
    /// the first is another one each turn.
    pub(super) fn turn(&mut self) {
        let feed = &mut self.feed;
        feed.stalled = false;
        feed.more = false;
        for phase in 0..3 {
            match (feed.counts.turns + phase) % 3 {
                0 => feed.hear(),
                1 => feed.serve(&mut self.requests),
                _ => feed.tell_counts(),
            }
        }
        // Counts that changed after their phase must not wait for the next news.
        feed.more |= !feed.stalled && feed.directory.rooms.stale_len() > 0;
        feed.list_rooms();
        feed.links.flush();
        // Whoever asked may have stopped waiting.
        feed.delivered.drain(..).for_each(|(reply, accepted)| drop(reply.send(accepted)));
        feed.counts.requests_waiting = self.requests.len() as u64;
        feed.publish();
    }
}

impl Feed {
    /// Whether a request would be looked at in the next turn.
    fn takes_requests(&self) -> bool {
        self.job.is_none() && self.next_request.is_none()
    }

    fn publish(&mut self) {
        let (counts, directory) = (&mut self.counts, &self.directory);
        if counts.turns.is_multiple_of(MEASURE_TURNS) {
            counts.directory_bytes = directory.heap_bytes() as u64;
        }
        counts.turns += 1;
        counts.logins = directory.logins.count();
        counts.keys = directory.logins.keys();
        counts.mids = directory.logins.mids();
        counts.addresses = directory.logins.addresses();
        counts.rooms = directory.rooms.opened();
        counts.rooms_peopled = directory.rooms.peopled();
        counts.room_counts_waiting = directory.rooms.stale_len() as u64;
        counts.receipts_open = self.receipts.open_len();
        counts.receipts_expired = self.receipts.expired();
        counts.listings = self.listings.len() as u64;
        counts.watches = self.watches.len();
        counts.watches_refused = self.watches.refused();
        counts.watch_news_dropped = self.watches.dropped();
        self.stats.publish(counts);
    }
}

impl Links {
    /// Every shard's index.
    pub(super) fn shards(&self) -> Range<u16> {
        0..u16::try_from(self.0.len()).expect("checked when made")
    }

    /// Free slots in the ring to a shard.
    pub(super) fn free(&mut self, shard: u16) -> usize {
        self.0[usize::from(shard)].0.to.free()
    }

    /// Write to a shard, whose ring was seen to have room.
    pub(super) fn push(&mut self, shard: u16, message: FeedToShard) {
        let written = self.0[usize::from(shard)].0.to.push(message);
        debug_assert!(written.is_ok(), "wrote to a ring without looking for room");
    }

    /// The oldest news of a shard, kept or new.
    pub(super) fn next_news(&mut self, shard: u16) -> Option<ShardToFeed> {
        let (link, kept) = &mut self.0[usize::from(shard)];
        kept.take().or_else(|| link.from.pop())
    }

    /// Keep news for the next turn.
    pub(super) fn keep_news(&mut self, shard: u16, news: ShardToFeed) {
        self.0[usize::from(shard)].1 = Some(news);
    }

    /// Whether there is news that could be taken at once.
    fn have_news(&mut self) -> bool {
        self.0.iter_mut().any(|(link, kept)| kept.is_none() && !link.from.is_empty())
    }

    fn flush(&mut self) {
        for (link, _) in &mut self.0 {
            link.to.flush();
        }
    }
}

#[cfg(test)]
mod tests;
