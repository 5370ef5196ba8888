//! Step 3 of a push on its way out: the log inside one process, bounded, in memory. Owns the batches between the
//! ingress's answer and the gateway's acceptance, and their offsets. Never drops a record it has answered for, and
//! never lets anybody wait for room. Its one partition makes the order total; source 0 leads it in epoch 0, for ever.
//! The lock is held to move a batch or to hand out batches, never across a wait. Only the ingress and the consumer meet
//! it, far from the sockets. Next: [`crate::consume`].

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, watch};

use super::batch::BatchBuilder;
use super::batch::writer::placed_at;
use super::log::{
    Answer, Ask, AskId, Edge, EdgeOf, Leader, Log, Place, ReadFrom, Refusal, Slice, TopicId, Topology, Trouble,
};
use super::{Depth, Position, Producer, PublishError, Record};

/// The only partition.
const PARTITION: i32 = 0;
/// Who leads it, and since when.
const LEADER: Leader = Leader { source: 0, epoch: 0 };
/// The only topic.
const TOPIC: TopicId = TopicId([0; 16]);

/// Counted for each record on top of its key and value: its place in the log and what frames it there.
pub const RECORD_OVERHEAD_BYTES: usize = 96;

/// How much the bus may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusLimits {
    /// Records published and not yet accepted by the gateway.
    pub records_max: usize,
    /// Their bytes: keys, values and [`RECORD_OVERHEAD_BYTES`] each.
    pub bytes_max: usize,
}

impl Default for BusLimits {
    fn default() -> Self {
        BusLimits { records_max: 65_536, bytes_max: 64 * 1024 * 1024 }
    }
}

/// A new bus. Offsets count up from `first_offset`: give the microseconds of the Unix epoch and no push id repeats
/// after a restart, as long as a process takes fewer than a million pushes a second on average.
pub fn bus(limits: BusLimits, first_offset: i64) -> (EmbeddedProducer, EmbeddedLog) {
    let kept = Kept { batches: VecDeque::new(), end: first_offset, depth: Depth::default() };
    let (kept, closed) = (Mutex::new(kept), watch::Sender::new(false));
    let shared = Arc::new(Shared { limits, kept, arrived: Notify::new(), closed });
    (EmbeddedProducer { shared: shared.clone() }, EmbeddedLog { shared, answers: VecDeque::new(), reading: None })
}

#[derive(Debug)]
struct Shared {
    limits: BusLimits,
    kept: Mutex<Kept>,
    arrived: Notify,
    closed: watch::Sender<bool>,
}

/// What was published and is not done with.
#[derive(Debug)]
struct Kept {
    batches: VecDeque<KeptBatch>,
    /// Offset that the next record gets.
    end: i64,
    depth: Depth,
}

#[derive(Debug)]
struct KeptBatch {
    /// Of its first record.
    base: i64,
    /// Of the record behind it.
    next: i64,
    bytes: Bytes,
    depth: Depth,
}

impl Kept {
    /// The first offset that is still there.
    fn start(&self) -> i64 {
        self.batches.front().map_or(self.end, |batch| batch.base)
    }

    /// Whole batches from the one with this offset on: at least one, then as many as fit.
    fn read(&self, offset: i64, bytes_max: usize) -> Bytes {
        let first = self.batches.partition_point(|batch| batch.next <= offset);
        let mut bytes = 0;
        let fits = |batch: &&KeptBatch| {
            bytes += batch.bytes.len();
            bytes == batch.bytes.len() || bytes <= bytes_max
        };
        let count = self.batches.range(first..).take_while(fits).count();
        let found = self.batches.range(first..first + count);
        if count == 1 {
            // One batch keeps its own memory.
            return found.map(|batch| batch.bytes.clone()).next().unwrap_or_default();
        }
        let mut together = BytesMut::with_capacity(found.clone().map(|batch| batch.bytes.len()).sum());
        found.for_each(|batch| together.extend_from_slice(&batch.bytes));
        together.freeze()
    }

    fn forget(&mut self, below: i64) {
        while self.batches.front().is_some_and(|batch| batch.next <= below) {
            let Some(batch) = self.batches.pop_front() else { return };
            self.depth.records -= batch.depth.records;
            self.depth.bytes -= batch.depth.bytes;
        }
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        // Under the lock, so that no publish that looked before can still add a record after the reader saw the end.
        let _kept = self.kept();
        self.closed.send_replace(true);
        self.arrived.notify_one();
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }
}

fn depth_of(records: &[Record]) -> Depth {
    let bytes = records.iter().map(|record| record.key.len() + record.value.len() + RECORD_OVERHEAD_BYTES).sum();
    Depth { records: records.len(), bytes }
}

/// The records of one push as one batch, without a place yet.
fn batch_of(records: &[Record], bytes_max: usize) -> Result<Bytes, PublishError> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(since_epoch.as_millis()).unwrap_or_default();
    // Its own frame may take more than what is counted for a record.
    let mut builder = BatchBuilder::new(bytes_max.saturating_add(RECORD_OVERHEAD_BYTES));
    for record in records {
        let bytes = record.key.len() + record.value.len();
        let too_large = |_| PublishError::TooLarge { bytes, bytes_max: Some(bytes_max) };
        builder.push(Some(&record.key), Some(&record.value), now_ms).map_err(too_large)?;
    }
    builder.finish().ok_or(PublishError::Full)
}

/// The ingress's end; cheap to clone.
#[derive(Clone, Debug)]
pub struct EmbeddedProducer {
    shared: Arc<Shared>,
}

impl EmbeddedProducer {
    /// Resolves when the bus takes nothing more.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closed = self.shared.closed.subscribe();
        let shared = Arc::clone(&self.shared);
        async move {
            // The sender lives in `shared`, so waiting cannot fail.
            let _ = closed.wait_for(|closed| *closed).await;
            drop(shared);
        }
    }
}

#[async_trait::async_trait]
impl Producer for EmbeddedProducer {
    fn partition_of(&self, _key: &[u8]) -> Result<i32, PublishError> {
        Ok(PARTITION)
    }

    async fn publish(&self, records: Vec<Record>) -> Result<Vec<Position>, PublishError> {
        let depth = depth_of(&records);
        let limits = self.shared.limits;
        if depth.records == 0 {
            return Ok(Vec::new());
        }
        if depth.records > limits.records_max || depth.bytes > limits.bytes_max {
            return Err(if self.shared.is_closed() { PublishError::Closed } else { PublishError::Full });
        }
        let batch = batch_of(&records, limits.bytes_max)?;
        let base = {
            let mut kept = self.shared.kept();
            if self.shared.is_closed() {
                return Err(PublishError::Closed);
            }
            let is_full = kept.depth.records + depth.records > limits.records_max
                || depth.bytes > limits.bytes_max - kept.depth.bytes;
            if is_full {
                return Err(PublishError::Full);
            }
            let base = kept.end;
            let next = base + i64::try_from(depth.records).expect("the log is bounded");
            kept.end = next;
            kept.depth.records += depth.records;
            kept.depth.bytes += depth.bytes;
            kept.batches.push_back(KeptBatch { base, next, bytes: placed_at(batch, base, LEADER.epoch), depth });
            base
        };
        self.shared.arrived.notify_one();
        let position = |(offset, _): (i64, &Record)| Position { partition: PARTITION, offset };
        Ok((base..).zip(&records).map(position).collect())
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn depth(&self) -> Depth {
        self.shared.kept().depth
    }

    fn close(&self) {
        self.shared.close();
    }
}

/// The reader's end. Dropping it closes the bus: records that nobody will deliver must not be answered for.
#[derive(Debug)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    /// Answers that are there already: one question of a kind is under way.
    answers: VecDeque<(AskId, Answer)>,
    /// The read that waits for a record.
    reading: Option<(AskId, ReadFrom, u32)>,
}

impl EmbeddedLog {
    fn edge(&self, edge: Edge, of: &EdgeOf) -> (i32, Result<Place, Refusal>) {
        if of.partition != PARTITION {
            return (of.partition, Err(Refusal::UnknownTopic));
        }
        let kept = self.shared.kept();
        let offset = if edge == Edge::Start { kept.start() } else { kept.end };
        (PARTITION, Ok(Place { offset, epoch: LEADER.epoch }))
    }

    /// The answer to the read under way, if there is one by now.
    fn read(&mut self) -> Option<(AskId, Answer)> {
        let (id, from, bytes_max) = self.reading?;
        let kept = self.shared.kept();
        let slice = if (kept.start()..kept.end).contains(&from.place.offset) {
            let bytes_max = usize::try_from(bytes_max.min(from.bytes_max)).unwrap_or(usize::MAX);
            let batches = kept.read(from.place.offset, bytes_max);
            Ok(Slice { batches, high_watermark: kept.end, log_start: kept.start() })
        } else if from.place.offset == kept.end {
            return None;
        } else {
            Err(Refusal::OutOfRange)
        };
        drop(kept);
        self.reading = None;
        Some((id, Answer::Read { throttle: Duration::ZERO, slices: vec![(PARTITION, slice)] }))
    }
}

impl Log for EmbeddedLog {
    const FORGETS: bool = true;

    fn ask(&mut self, id: AskId, ask: Ask) {
        let answer = match ask {
            Ask::Topology => Answer::Topology(Topology { topic: TOPIC, leaders: vec![Some(LEADER)] }),
            Ask::Edges { edge, partitions, .. } => {
                Answer::Edges(partitions.iter().map(|of| self.edge(edge, of)).collect())
            }
            Ask::Read { from, bytes_max, .. } => match from.first() {
                Some(from) if from.partition == PARTITION => {
                    self.reading = Some((id, *from, bytes_max));
                    return;
                }
                _ => Answer::Failed(Trouble::Refused("the log inside the process has one partition".into())),
            },
        };
        self.answers.push_back((id, answer));
    }

    async fn answer(&mut self) -> (AskId, Answer) {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return answer;
            }
            if let Some(answer) = self.read() {
                return answer;
            }
            // One that arrived since then has left a permit.
            self.shared.arrived.notified().await;
        }
    }

    fn forget(&mut self, partition: i32, below: i64) {
        if partition == PARTITION {
            self.shared.kept().forget(below);
        }
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.shared.close();
    }
}
