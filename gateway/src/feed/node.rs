//! The feed loop. Owns the order of phases and the sleep, until a request or a shard's news comes; what a phase does is
//! `requests`', `news`' and `deliver`'s. It never waits for a ring: what does not fit is kept where it is and tried
//! again, while everything else goes on.
//!
//! Rings that are full cannot stand still together. Shards keep taking what feed writes whether or not feed takes their
//! news (they keep news as one state per slot), so every ring to a shard drains. Feed takes news as far as the answers
//! fit, so with those rings the rings from the shards drain too.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use halley_protocol::push::interest::Interest;
use tokio::sync::mpsc;

use crate::mesh::async_wake::AsyncDoorbell;
use crate::mesh::wake::Doorbell;

use super::directory::DirectoryLimits;
use super::intake::Request;
use super::links::ShardLink;
use super::state::Feed;
use super::stats::FeedStats;

/// How long to sleep before looking again at a ring that was full: shards do not ring when they make room.
const FULL_RING_RETRY: Duration = Duration::from_millis(1);

/// What the feed thread is made of.
#[derive(Debug)]
pub struct FeedParts {
    /// One per shard, in the order of their indexes; at most 65,535.
    pub shards: Vec<ShardLink>,
    /// Feed's own, which every `ShardLink::from` rings.
    pub doorbell: Arc<Doorbell>,
    /// What came through the door, see `Intake::new`.
    pub requests: mpsc::Receiver<Request>,
    /// Limits on logins, until a request changes them.
    pub limits: DirectoryLimits,
    /// Kept up to date with who is here, where somebody reads a log by it.
    pub interest: Option<Arc<Interest>>,
    /// Where to publish counters, once a turn.
    pub stats: Arc<FeedStats>,
}

/// The feed thread, before and while it runs.
#[derive(Debug)]
pub struct FeedNode {
    feed: Feed,
    doorbell: Arc<Doorbell>,
    requests: mpsc::Receiver<Request>,
}

impl FeedNode {
    /// Put the parts together.
    ///
    /// # Panics
    /// With more than 65,535 shards.
    pub fn new(parts: FeedParts) -> FeedNode {
        let FeedParts { shards, doorbell, requests, limits, interest, stats } = parts;
        let mut feed = Feed::new(shards, limits, stats);
        interest.iter().for_each(|interest| feed.directory.tell(interest));
        FeedNode { feed, doorbell, requests }
    }

    /// Serve until `stop` resolves. Runs in a tokio runtime whose other tasks get their turn after each of feed's.
    /// Fails only when the runtime cannot watch the doorbell.
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

#[cfg(test)]
mod tests;
