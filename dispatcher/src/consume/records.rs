//! Step 4 of a push on its way out: from a log's batch to what a gateway takes. Owns the place within the one batch
//! that is read; a record is read and framed when it is handed over, and none ahead of that. What a gateway gets owns
//! its memory, so that no answer of the log is kept for it (rule R9). A record that is no push is counted, said once in
//! the log, and skipped; `server` is never looked at (rule G1). Next: [`super::run`].

use std::sync::Arc;

use bytes::Bytes;
use halley_protocol::goim::{check_batch, op};
use halley_protocol::payload::Payload;
use halley_protocol::push::interest::Interest;
use halley_protocol::push::look::Look;
use halley_protocol::push::{Body, Delivery, Push, PushRecord, Target};
use tokio::sync::oneshot;
use tracing::warn;

use crate::bus::batch::{BatchReader, ReadLimits, Record, Unreadable, Walk};
use crate::receipts::{Counts, Receipts};

use super::reader::Batch;
use super::share::Gateways;
use super::stats::Consumed;

/// Counted for each delivery on top of its names and its message.
const DELIVERY_OVERHEAD_BYTES: usize = 160;

/// A push that is about to be handed over.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) delivery: Delivery,
    /// Who waits to hear what it matched.
    pub(super) waiting: Option<oneshot::Sender<Counts>>,
    pub(super) bytes: usize,
}

/// A batch of which a part may be handed over already.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) batch: Batch,
    /// What is left of it; nothing if it cannot be read at all.
    walk: Option<Walk>,
    /// Every record below was looked at.
    pub(super) looked_at: i64,
    /// Why the rest cannot be read.
    pub(super) fault: Option<Unreadable>,
}

/// Reads batches into deliveries.
#[derive(Debug)]
pub(super) struct Records {
    batches: BatchReader,
    pushes: Pushes,
}

/// Makes deliveries of records.
#[derive(Debug)]
struct Pushes {
    receipts: Arc<Receipts>,
    gateways: Arc<Gateways>,
    /// Who is here; without it every push passes.
    interest: Option<Arc<Interest>>,
    skipped_before: bool,
}

impl Records {
    pub(super) fn new(receipts: Arc<Receipts>, gateways: Arc<Gateways>, interest: Option<Arc<Interest>>) -> Records {
        let pushes = Pushes { receipts, gateways, interest, skipped_before: false };
        Records { batches: BatchReader::new(ReadLimits::default()), pushes }
    }

    /// Begins to read a batch, from the offset that is wanted of it on.
    pub(super) fn open(&mut self, batch: Batch) -> Opened {
        let looked_at = batch.from;
        let (walk, fault) = match self.batches.walk(&batch.batch) {
            Ok(walk) => (Some(walk), None),
            Err(why) => {
                // What it took until it was given up.
                self.batches.trim();
                (None, Some(why))
            }
        };
        Opened { batch, walk, looked_at, fault }
    }

    /// The next record that concerns this gateway; none at the end of the batch, or where it cannot be read.
    pub(super) fn read_next(&mut self, opened: &mut Opened, counts: &mut Consumed) -> Option<Ready> {
        let Opened { batch, walk, looked_at, fault } = opened;
        let walk = walk.as_mut()?;
        while let Some(record) = walk.read_next() {
            match record {
                Ok(record) if record.offset < batch.from => {}
                Ok(record) => {
                    *looked_at = record.offset.saturating_add(1);
                    if let Some(ready) = self.pushes.look(batch.partition, &record, counts) {
                        return Some(ready);
                    }
                }
                Err(why) => *fault = Some(why),
            }
        }
        None
    }

    /// A batch was handed over or does not count any more.
    pub(super) fn close(&mut self, opened: Opened) {
        if let Some(walk) = opened.walk {
            self.batches.close(walk);
        }
    }
}

impl Opened {
    /// Whether nothing more can come of it. Behind its last offset only a fault can be, which is looked for.
    pub(super) fn is_read(&mut self) -> bool {
        let Some(walk) = self.walk.as_mut().filter(|walk| self.fault.is_none() && !walk.is_read()) else { return true };
        if self.looked_at >= self.batch.until {
            self.fault = walk.read_next().and_then(Result::err);
            return true;
        }
        false
    }

    /// Bytes that it takes beside the answer that it came in.
    pub(super) fn inflated_bytes(&self) -> usize {
        self.walk.as_ref().map_or(0, Walk::inflated_bytes)
    }
}

impl Pushes {
    fn look(&mut self, partition: i32, record: &Record<'_>, counts: &mut Consumed) -> Option<Ready> {
        counts.records += 1;
        counts.timeless += u64::from(record.timestamp_ms.is_none());
        let value = record.value.unwrap_or_default();
        if self.interest.as_ref().is_some_and(|interest| !interest.concerns(&Look::at(value))) {
            counts.filtered += 1;
            return None;
        }
        match decode(value) {
            Ok((push, receipt)) => Some(self.ready(record, push, receipt)),
            Err(why) => {
                counts.skipped += 1;
                if !std::mem::replace(&mut self.skipped_before, true) {
                    let offset = record.offset;
                    warn!(partition, offset, why, "a record was skipped; further ones are only counted");
                }
                None
            }
        }
    }

    fn ready(&mut self, record: &Record<'_>, push: Push, receipt: u64) -> Ready {
        let Push { mut target, op, body } = push;
        self.gateways.share(&mut target);
        let payload = Payload::message(op, &body);
        let bytes = payload.bytes(true).len() + names_bytes(&target) + DELIVERY_OVERHEAD_BYTES;
        let waiting = self.receipts.redeem(receipt);
        let body = Some(Body::Framed(Arc::new(payload)));
        let written_ms = record.timestamp_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
        let delivery = Delivery { target, op, body, count: waiting.is_some(), written_ms };
        Ready { delivery, waiting, bytes }
    }
}

fn decode(value: &[u8]) -> Result<(Push, u64), String> {
    let record = PushRecord::decode(&Bytes::copy_from_slice(value)).map_err(|error| error.to_string())?;
    if record.push.op == op::RAW {
        // Clients trust the lengths in it, and other producers do not look.
        check_batch(&record.push.body).map_err(|error| format!("its message is no batch of frames: {error}"))?;
    }
    Ok((record.push, record.receipt))
}

fn names_bytes(target: &Target) -> usize {
    match target {
        Target::Keys(keys) => keys.iter().map(|key| key.len() + size_of::<String>()).sum(),
        Target::Mids(mids) => size_of_val(mids.as_slice()),
        Target::Room(room) => room.len(),
        Target::All { .. } => 0,
    }
}
