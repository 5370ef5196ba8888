//! All that the phases of feed's turn work on. Owns the directory, the rings, what is under way and the counters; does
//! nothing with them: `deliver`, `news` and `requests` do, each in its phase, and `node` above them keeps the order of
//! phases.

use std::collections::VecDeque;
use std::sync::Arc;

use halley_protocol::push::Delivery;
use tokio::sync::oneshot;

use crate::close::CloseReason;
use crate::mesh::msg::{ConnRef, Shed};

use super::directory::{Directory, DirectoryLimits};
use super::intake::{Matched, Request, RoomList};
use super::links::{Links, ShardLink};
use super::listings::Listings;
use super::receipts::Receipts;
use super::route::Route;
use super::stats::{FeedCounts, FeedStats};
use super::watch::Watches;

/// Turns from one look at the directory's size to the next.
const MEASURE_TURNS: u64 = 1024;

/// A request that was begun.
#[derive(Debug)]
pub(super) enum Job {
    /// Pushes still to deliver, and the answers for those before.
    Deliver { deliveries: VecDeque<Delivery>, accepted: Vec<Matched>, reply: oneshot::Sender<Vec<Matched>> },
    /// Connections still to close, and how many were.
    Close { conns: Vec<(u16, ConnRef)>, reason: CloseReason, closed: u64, reply: oneshot::Sender<u64> },
    /// An order to shed, before any shard has it.
    Shed { order: Shed, reply: oneshot::Sender<Vec<Matched>> },
    /// Waits for a place among those who wait for lists.
    List { reply: oneshot::Sender<RoomList> },
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
    /// What this turn and those before it did.
    pub(super) counts: FeedCounts,
    stats: Arc<FeedStats>,
}

impl Feed {
    /// Nobody is logged in and nothing is asked.
    pub(super) fn new(shards: Vec<ShardLink>, limits: DirectoryLimits, stats: Arc<FeedStats>) -> Feed {
        let count = u16::try_from(shards.len()).expect("at most 65,535 shards");
        Feed {
            directory: Directory::new(count, limits),
            links: Links::new(shards),
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
        }
    }

    /// Whether a request would be looked at in the next turn.
    pub(super) fn takes_requests(&self) -> bool {
        self.job.is_none() && self.next_request.is_none()
    }

    /// Show the counters of the turn that ends.
    pub(super) fn publish(&mut self) {
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
