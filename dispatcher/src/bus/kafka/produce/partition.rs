//! One partition of a producer: what waits, what is under way, and under which id (P2, P3). Owns the order of its
//! records and the doubt about the batch that was sent; sends nothing and keeps no time of its own. [`super::core`]
//! decides when.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::act::{PushId, RequestId};
use super::batch::{BATCH_HEADER_BYTES, Batch, Identity, Stamped, record_bytes};
use super::fit::Fit;
use crate::backoff::Backoff;
use crate::bus::log::{Leader, NO_EPOCH};

/// One record on its way.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Which push it belongs to, and as which of its records.
    pub(super) push: PushId,
    pub(super) index: usize,
    pub(super) stamped: Stamped,
    /// After this time nothing is sent.
    pub(super) deadline: Duration,
    /// It was refused once for a producer id that the broker did not know.
    pub(super) renewed: bool,
}

impl Entry {
    /// What it weighs in a batch.
    pub(super) fn bytes(&self) -> usize {
        record_bytes(&self.stamped.record)
    }
}

/// The batch that has a sequence number.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) batch: Arc<Batch>,
    pub(super) entries: Vec<Entry>,
    /// Bytes of the batch.
    pub(super) bytes: usize,
    /// An attempt was written, or may have been, and was not answered with a definite code.
    pub(super) in_doubt: bool,
    /// The request that it travels in now.
    pub(super) request: Option<RequestId>,
    pub(super) attempts: u32,
}

impl UnderWay {
    /// When its first record is out of time; the others were admitted later.
    pub(super) fn deadline(&self) -> Duration {
        self.entries.first().map_or(Duration::MAX, |entry| entry.deadline)
    }
}

/// Under which id a partition's records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// None is held, and none asked for.
    Missing,
    /// One is asked for.
    Asked,
    /// Held, with the sequence number of the next record.
    Held { identity: Identity, sequence: i32 },
}

/// One partition.
#[derive(Debug)]
pub(super) struct Partition {
    /// Who leads it.
    pub(super) leader: Option<Leader>,
    /// The newest epoch that anybody told; older news is stale.
    pub(super) newest_epoch: i32,
    pub(super) naming: Naming,
    /// No id is asked for before.
    pub(super) naming_not_before: Duration,
    /// Failures to get one since there was one.
    pub(super) naming_backoff: Backoff,
    /// In the order of admission.
    pub(super) queue: VecDeque<Entry>,
    pub(super) under_way: Option<UnderWay>,
    /// Nothing is sent before.
    pub(super) not_before: Duration,
    /// Failures since a batch was last appended.
    pub(super) backoff: Backoff,
    /// The longest batch that its broker takes, as far as known.
    pub(super) fit: Fit,
    /// Bytes of records that wait or are under way.
    pub(super) bytes: usize,
    /// What went wrong last, for whoever runs out of time.
    pub(super) trouble: Option<Arc<str>>,
    /// Since when something goes wrong while records wait.
    pub(super) failing_since: Option<Duration>,
}

impl Partition {
    /// An empty one without a leader.
    pub(super) fn new(batch_bytes_max: usize) -> Partition {
        Partition {
            leader: None,
            newest_epoch: NO_EPOCH,
            naming: Naming::Missing,
            naming_not_before: Duration::ZERO,
            naming_backoff: Backoff::default(),
            queue: VecDeque::new(),
            under_way: None,
            not_before: Duration::ZERO,
            backoff: Backoff::default(),
            fit: Fit::new(batch_bytes_max),
            bytes: 0,
            trouble: None,
            failing_since: None,
        }
    }

    /// Whether something is left to be sent; what travels now is not.
    pub(super) fn has_work(&self) -> bool {
        match &self.under_way {
            Some(under_way) => under_way.request.is_none(),
            None => !self.queue.is_empty(),
        }
    }

    /// Keeps [`Partition::failing_since`].
    pub(super) fn look(&mut self, now: Duration) {
        let waits = self.under_way.is_some() || !self.queue.is_empty();
        match waits && self.trouble.is_some() {
            true => _ = self.failing_since.get_or_insert(now),
            false => self.failing_since = None,
        }
    }

    /// Whether everything but time is there to send: work, a leader, an id.
    pub(super) fn can_send(&self) -> bool {
        let named = self.under_way.is_some() || matches!(self.naming, Naming::Held { .. });
        self.has_work() && self.leader.is_some() && named
    }

    /// Whether it needs an id and has none. What is under way already has one.
    pub(super) fn wants_identity(&self) -> bool {
        self.under_way.is_none() && !self.queue.is_empty() && self.naming == Naming::Missing
    }

    /// News of who leads; older ones are not believed. Whether it is a newer leader than was known.
    pub(super) fn learn(&mut self, leader: Option<Leader>) -> bool {
        match leader {
            Some(leader) if leader.epoch < self.newest_epoch => false,
            Some(leader) => {
                let newer = self.leader != Some(leader);
                self.newest_epoch = leader.epoch;
                self.leader = Some(leader);
                newer
            }
            None => {
                self.leader = None;
                false
            }
        }
    }

    /// Forget the id: its next sequence number may be taken.
    pub(super) fn drop_identity(&mut self) {
        if matches!(self.naming, Naming::Held { .. }) {
            self.naming = Naming::Missing;
        }
    }

    /// The batch to be sent, of at most `bytes_max`: the one under way, else as many of those who wait as fit, under
    /// the id's next sequence number. One record goes even where its broker wants smaller batches: it has to say so.
    /// `None` if nothing fits.
    pub(super) fn batch(&mut self, bytes_max: usize) -> Option<&mut UnderWay> {
        if self.under_way.is_none() {
            self.under_way = Some(self.form(bytes_max)?);
        }
        self.under_way.as_mut().filter(|under_way| under_way.bytes <= bytes_max)
    }

    fn form(&mut self, bytes_max: usize) -> Option<UnderWay> {
        let Naming::Held { identity, sequence } = self.naming else { return None };
        let (mut bytes, mut count) = (BATCH_HEADER_BYTES, 0);
        for entry in &self.queue {
            let longer = bytes.saturating_add(entry.bytes());
            if longer > bytes_max || count > 0 && longer > self.fit.bytes() {
                break;
            }
            (bytes, count) = (longer, count + 1);
        }
        let entries: Vec<Entry> = self.queue.drain(..count).collect();
        entries.first()?;
        let records = entries.iter().map(|entry| entry.stamped.clone()).collect();
        let batch = Arc::new(Batch::new(identity, sequence, records));
        Some(UnderWay { batch, entries, bytes, in_doubt: false, request: None, attempts: 0 })
    }

    /// The batch under way is in the log: its sequence numbers are used.
    pub(super) fn appended(&mut self) -> Vec<Entry> {
        let Some(under_way) = self.under_way.take() else { return Vec::new() };
        self.fit.taken(under_way.bytes);
        if let Naming::Held { identity, sequence } = &mut self.naming
            && *identity == under_way.batch.identity
        {
            *sequence = under_way.batch.sequence_after();
        }
        self.released(under_way.entries)
    }

    /// Give the batch under way up. If it is in doubt its sequence numbers may be used, and so the id goes too (P2);
    /// if it was refused for certain they stand for whatever comes next.
    pub(super) fn give_up(&mut self) -> Vec<Entry> {
        let Some(under_way) = self.under_way.take() else { return Vec::new() };
        if under_way.in_doubt || under_way.request.is_some() {
            self.drop_identity();
        }
        self.released(under_way.entries)
    }

    /// Records that do not count any more.
    pub(super) fn released(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        self.bytes -= entries.iter().map(Entry::bytes).sum::<usize>();
        entries
    }

    /// Put the records of the batch under way back before all others. Only for one that is not in the log for certain.
    pub(super) fn take_apart(&mut self) {
        let Some(under_way) = self.under_way.take() else { return };
        debug_assert!(!under_way.in_doubt && under_way.request.is_none(), "what may be in the log is never sent anew");
        for entry in under_way.entries.into_iter().rev() {
            self.queue.push_front(entry);
        }
    }

    /// Records that wait and are out of time. They were admitted in order, so they stand in front.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<Entry> {
        let count = self.queue.iter().take_while(|entry| entry.deadline <= now).count();
        let entries = self.queue.drain(..count).collect();
        self.released(entries)
    }
}
