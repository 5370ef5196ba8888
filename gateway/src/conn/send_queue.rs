//! Step 10 of a push on its way out: what one connection still has to send, in order. Owns ids of payloads and byte
//! counts; never the bytes, never the socket. Filled by replies and fan-out, emptied by `shard::flush` and
//! `shard::secure`; a partly sent head stays at the head until its tail is out.

use std::collections::VecDeque;

use super::payloads::{PayloadId, Payloads};

/// Queues kept for reuse by one shard, so that a second waiting item costs no allocation.
pub type SpareQueues = Vec<Queue>;

/// Waiting items behind the head. Boxed: an idle connection pays for a thin pointer only.
type Queue = Box<VecDeque<PayloadId>>;

/// Spare queues kept at most; beyond, memory goes back.
pub const SPARE_QUEUES_MAX: usize = 1024;

/// What one connection has to send. One waiting item lives in the struct itself, more in a queue borrowed from the
/// shard's spares.
#[derive(Debug)]
pub struct SendQueue {
    rest: Option<Queue>,
    head: PayloadId,
    /// Bytes of the head that are sent already.
    head_sent: u32,
    bytes: u32,
    reply_bytes: u32,
}

fn size(payloads: &Payloads, id: PayloadId, websocket: bool) -> u32 {
    u32::try_from(payloads.bytes(id, websocket).len()).unwrap_or(u32::MAX)
}

impl SendQueue {
    /// Without items, and without memory.
    pub const fn new() -> SendQueue {
        SendQueue { rest: None, head: PayloadId::NONE, head_sent: 0, bytes: 0, reply_bytes: 0 }
    }

    /// Whether nothing is left to hand over.
    pub fn is_empty(&self) -> bool {
        self.head == PayloadId::NONE
    }

    /// Bytes waiting, of pushes and replies, as they go on the wire before encryption.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Bytes of replies among them.
    pub fn reply_bytes(&self) -> u32 {
        self.reply_bytes
    }

    /// Items waiting, a partly sent one among them.
    pub fn len(&self) -> usize {
        usize::from(!self.is_empty()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    /// The head and how many of its bytes are sent already.
    pub fn head(&self) -> Option<(PayloadId, u32)> {
        (!self.is_empty()).then_some((self.head, self.head_sent))
    }

    /// Append an item whose reference now belongs to the queue.
    pub fn push(&mut self, id: PayloadId, payloads: &Payloads, websocket: bool, spares: &mut SpareQueues) {
        self.count(size(payloads, id, websocket), payloads.is_push(id), true);
        if self.is_empty() {
            self.head = id;
        } else {
            self.rest.get_or_insert_with(|| spares.pop().unwrap_or_default()).push_back(id);
        }
    }

    /// Take the head off; its reference is the caller's now. Also tells how many of its bytes are sent already.
    pub fn pop(&mut self, payloads: &Payloads, websocket: bool, spares: &mut SpareQueues) -> Option<(PayloadId, u32)> {
        let (id, sent) = self.head()?;
        self.count(size(payloads, id, websocket) - sent, payloads.is_push(id), false);
        self.head_sent = 0;
        self.head = self.rest.as_mut().and_then(|rest| rest.pop_front()).unwrap_or(PayloadId::NONE);
        if self.rest.as_ref().is_some_and(|rest| rest.is_empty()) {
            self.retire(spares);
        }
        Some((id, sent))
    }

    /// Put an item back at the head, `sent` bytes of which are out. Its reference is the queue's again.
    pub fn restore(
        &mut self,
        id: PayloadId,
        sent: u32,
        payloads: &Payloads,
        websocket: bool,
        spares: &mut SpareQueues,
    ) {
        debug_assert!(self.head_sent == 0, "only one item can be partly sent");
        self.count(size(payloads, id, websocket) - sent, payloads.is_push(id), true);
        if !self.is_empty() {
            let head = self.head;
            self.rest.get_or_insert_with(|| spares.pop().unwrap_or_default()).push_front(head);
        }
        self.head = id;
        self.head_sent = sent;
    }

    /// More bytes of the head are out, but not all of them.
    pub fn advance(&mut self, bytes: u32, payloads: &Payloads) {
        self.head_sent += bytes;
        self.count(bytes, payloads.is_push(self.head), false);
    }

    /// Take out the oldest push that has not begun to leave; its reference is the caller's.
    pub fn drop_oldest_push(
        &mut self,
        payloads: &Payloads,
        websocket: bool,
        spares: &mut SpareQueues,
    ) -> Option<PayloadId> {
        let (head, sent) = self.head()?;
        if sent == 0 && payloads.is_push(head) {
            return self.pop(payloads, websocket, spares).map(|(id, _)| id);
        }
        let rest = self.rest.as_mut()?;
        let index = rest.iter().position(|id| payloads.is_push(*id))?;
        let id = rest.remove(index)?;
        let empty = rest.is_empty();
        self.count(size(payloads, id, websocket), true, false);
        if empty {
            self.retire(spares);
        }
        Some(id)
    }

    fn retire(&mut self, spares: &mut SpareQueues) {
        if let Some(rest) = self.rest.take()
            && spares.len() < SPARE_QUEUES_MAX
        {
            spares.push(rest);
        }
    }

    fn count(&mut self, bytes: u32, push: bool, add: bool) {
        let step = |total: u32| if add { total + bytes } else { total - bytes };
        self.bytes = step(self.bytes);
        if !push {
            self.reply_bytes = step(self.reply_bytes);
        }
    }
}

impl Default for SendQueue {
    fn default() -> Self {
        SendQueue::new()
    }
}
