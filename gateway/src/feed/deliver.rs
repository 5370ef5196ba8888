//! Step 7 of a push on its way out: one push to the rings of the shards that have somebody for it. Owns framing, which
//! happens once for all shards, unless whoever read the push from a log has framed it. Owns the rule that a push goes
//! to all of its shards, or to none yet when one of their rings is full. `route` finds which shards these are. Next:
//! `shard::inbox`.

use std::sync::Arc;

use halley_protocol::payload::Payload;
use halley_protocol::push::{Body, Delivery, Target};

use crate::mesh::msg::{FeedToShard, ShardPush, SharedPayload};

use super::intake::Matched;
use super::state::Feed;

impl Feed {
    /// Hand one push to its shards; `None` when a ring is full and nothing was done.
    pub(super) fn deliver(&mut self, push: &Delivery) -> Option<Matched> {
        if self.full_shard.is_some_and(|shard| self.links.free(shard) == 0) {
            return None;
        }
        self.full_shard = None;
        let mut targets = self.route.find(&push.target, &self.directory);
        if let Some(&(shard, _)) = targets.iter().find(|(shard, _)| self.links.free(*shard) == 0) {
            self.full_shard = Some(shard);
            self.route.reuse(targets);
            return None;
        }
        self.count_push(&push.target, targets.is_empty());
        let payload = if targets.is_empty() { None } else { push.body.as_ref().map(|body| frame(push.op, body)) };
        let mut receipt = 0;
        let mut matched = None;
        if push.count {
            let (id, answer) = self.receipts.open(targets.len());
            receipt = id;
            matched = Some(answer);
        }
        // So late that it wraps is no latency; and 0 means none.
        let written_ms = if push.written_ms == 0 { 0 } else { (push.written_ms & u64::from(u32::MAX)).max(1) };
        let written_ms = u32::try_from(written_ms).unwrap_or(0);
        // Without a body and a receipt there is nothing a shard could do.
        if payload.is_some() || receipt != 0 {
            for (shard, target) in targets.drain(..) {
                let push = ShardPush { target, op: push.op, payload: payload.clone(), receipt, written_ms };
                self.links.push(shard, FeedToShard::Push(push));
            }
        }
        self.route.reuse(targets);
        Some(matched)
    }

    fn count_push(&mut self, target: &Target, unmatched: bool) {
        let counts = &mut self.counts;
        *match target {
            Target::Keys(_) => &mut counts.pushes_keys,
            Target::Mids(_) => &mut counts.pushes_mids,
            Target::Room(_) => &mut counts.pushes_room,
            Target::All { .. } => &mut counts.pushes_all,
        } += 1;
        counts.pushes_unmatched += u64::from(unmatched);
    }
}

fn frame(op: i32, body: &Body) -> SharedPayload {
    Arc::new(match body {
        Body::Framed(payload) => return payload.clone(),
        Body::Message(body) => Payload::message(op, body),
        Body::Raw(frames) => Payload::raw(frames),
        Body::Plain { version, op, seq, body } => Payload::plain(*version, *op, *seq, body),
    })
}
