//! The rings and doorbells between the threads: feed to and from every shard, control to and from every shard. Owns
//! which end goes where; nothing runs here.

use std::io;
use std::sync::Arc;

use crate::control::handle::{ControlDoor, ControlHandle};
use crate::control::node::ShardPort;
use crate::feed::links::ShardLink;
use crate::limits::{FROM_SHARD_RING_SLOTS, TO_SHARD_RING_SLOTS};
use crate::mesh::port::channel;
use crate::mesh::wake::Doorbell;
use crate::shard::ShardLinks;

/// Feed's ends.
pub(super) struct FeedEnds {
    /// By shard index.
    pub shards: Vec<ShardLink>,
    /// Rung by the shards.
    pub doorbell: Arc<Doorbell>,
}

/// Control's ends.
pub(super) struct ControlEnds {
    /// By shard index.
    pub shards: Vec<ShardPort>,
    /// Rung by the shards.
    pub doorbell: Arc<Doorbell>,
    /// Where commands come in.
    pub door: ControlDoor,
}

/// Every end.
pub(super) struct Wiring {
    /// By shard index.
    pub shards: Vec<ShardLinks>,
    /// Feed's.
    pub feed: FeedEnds,
    /// Control's.
    pub control: ControlEnds,
    /// The asking end of the control loop.
    pub handle: ControlHandle,
}

impl Wiring {
    /// Rings between feed, control and so many shards. Fails when the process has no descriptor left for a doorbell.
    pub(super) fn new(shards: usize) -> io::Result<Wiring> {
        let feed_bell = Arc::new(Doorbell::new()?);
        let control_bell = Arc::new(Doorbell::new()?);
        let (handle, door) = ControlHandle::new(shards);
        let mut feed = FeedEnds { shards: Vec::with_capacity(shards), doorbell: Arc::clone(&feed_bell) };
        let mut control = ControlEnds { shards: Vec::with_capacity(shards), doorbell: Arc::clone(&control_bell), door };
        let mut links = Vec::with_capacity(shards);
        for _ in 0..shards {
            let doorbell = Arc::new(Doorbell::new()?);
            let (feed_to, from_feed) = channel(TO_SHARD_RING_SLOTS, Arc::clone(&doorbell));
            let (to_feed, feed_from) = channel(FROM_SHARD_RING_SLOTS, Arc::clone(&feed_bell));
            let (control_to, from_control) = channel(TO_SHARD_RING_SLOTS, Arc::clone(&doorbell));
            let (to_control, control_from) = channel(FROM_SHARD_RING_SLOTS, Arc::clone(&control_bell));
            feed.shards.push(ShardLink { to: feed_to, from: feed_from });
            control.shards.push(ShardPort { to: control_to, from: control_from });
            links.push(ShardLinks { from_feed, to_feed, from_control, to_control, doorbell });
        }
        Ok(Wiring { shards: links, feed, control, handle })
    }
}
