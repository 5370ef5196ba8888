//! Step 4 of a push on its way out: from a log's batch to what a gateway takes. Owns the records of one batch, read and
//! framed but not handed over yet. What a gateway gets owns its memory, so that no answer of the log is kept for it
//! (rule R9). A record that is no push is counted, said once in the log, and skipped; `server` is never looked at
//! (rule G1). Next: [`super::run`].

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use halley_protocol::goim::{check_batch, op};
use halley_protocol::payload::Payload;
use halley_protocol::push::interest::Interest;
use halley_protocol::push::look::Look;
use halley_protocol::push::{Body, Delivery, Push, PushRecord, Target};
use tokio::sync::oneshot;
use tracing::warn;

use crate::bus::batch::{BatchReader, ReadLimits, Record, Unreadable};
use crate::receipts::{Counts, Receipts};

use super::reader::Batch;
use super::share::Gateways;
use super::stats::Consumed;

/// Counted for each delivery on top of its names and its message.
const DELIVERY_OVERHEAD_BYTES: usize = 160;

/// A push that is about to be handed over.
#[derive(Debug)]
pub(super) struct Ready {
    /// Offset of its record.
    pub(super) offset: i64,
    pub(super) delivery: Delivery,
    /// Who waits to hear what it matched.
    pub(super) waiting: Option<oneshot::Sender<Counts>>,
    pub(super) bytes: usize,
}

/// A batch of which a part may be handed over already.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) batch: Batch,
    /// Those that concern this gateway, in order.
    pub(super) ready: VecDeque<Ready>,
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
    /// Memory of the batch before, to be used again.
    spare: VecDeque<Ready>,
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
        Records { batches: BatchReader::new(ReadLimits::default()), pushes, spare: VecDeque::new() }
    }

    /// Reads a batch from the offset that is wanted of it to its end, or to where it cannot be read.
    pub(super) fn open(&mut self, batch: Batch, counts: &mut Consumed) -> Opened {
        let mut ready = std::mem::take(&mut self.spare);
        let mut looked_at = batch.from;
        let mut fault = None;
        match self.batches.open_sound(&batch.batch) {
            Err(why) => fault = Some(why),
            Ok(records) => {
                for record in records {
                    match record {
                        Ok(record) if record.offset < batch.from => {}
                        Ok(record) => {
                            looked_at = record.offset + 1;
                            ready.extend(self.pushes.look(batch.partition, &record, counts));
                        }
                        Err(why) => fault = Some(why),
                    }
                }
            }
        }
        Opened { batch, ready, looked_at, fault }
    }

    /// A batch was handed over or does not count any more.
    pub(super) fn close(&mut self, mut opened: Opened) {
        opened.ready.clear();
        self.spare = opened.ready;
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
        Ready { offset: record.offset, delivery, waiting, bytes }
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
