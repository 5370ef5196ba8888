//! The rings between feed and the shards. Owns both ends that are feed's, and of each shard the piece of news that
//! waits for room in a ring; decides nothing about what travels, and never waits. Next: `shard::inbox`.

use std::ops::Range;

use crate::mesh::msg::{FeedToShard, ShardToFeed};
use crate::mesh::port::{Receiver, Sender};

/// The rings between feed and one shard.
#[derive(Debug)]
pub struct ShardLink {
    /// To the shard.
    pub to: Sender<FeedToShard>,
    /// From the shard.
    pub from: Receiver<ShardToFeed>,
}

/// The rings of all shards, each with the piece of news that waits for room in a ring.
#[derive(Debug)]
pub(super) struct Links(Vec<(ShardLink, Option<ShardToFeed>)>);

impl Links {
    /// Over these, in the order of the shards' indexes.
    pub(super) fn new(shards: Vec<ShardLink>) -> Links {
        Links(shards.into_iter().map(|link| (link, None)).collect())
    }

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
    pub(super) fn have_news(&mut self) -> bool {
        self.0.iter_mut().any(|(link, kept)| kept.is_none() && !link.from.is_empty())
    }

    /// Let the shards see what was written, and wake those that sleep.
    pub(super) fn flush(&mut self) {
        for (link, _) in &mut self.0 {
            link.to.flush();
        }
    }
}
