//! Step 3 of a push on its way out: the bus inside one process, a bounded log in memory. Owns the records between the
//! ingress's answer and the gateway's acceptance, and their offsets. Never drops a record it has answered for, and
//! never lets anybody wait for room. Its one partition makes the order total. The lock is held to move one record or
//! one batch of handles, never across a wait. Only the ingress and the consumer meet it, far from the sockets. Next:
//! [`crate::consume`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};

use super::{Consumer, Depth, Position, Producer, PublishError, Record, Stored};

/// The only partition.
const PARTITION: i32 = 0;

/// Counted for each record on top of its key and value: its place in the log and the two handles in it.
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
pub fn bus(limits: BusLimits, first_offset: i64) -> (EmbeddedProducer, EmbeddedConsumer) {
    let log = Log { records: VecDeque::new(), first_offset, bytes: 0 };
    let shared =
        Arc::new(Shared { limits, log: Mutex::new(log), arrived: Notify::new(), closed: watch::Sender::new(false) });
    (EmbeddedProducer { shared: shared.clone() }, EmbeddedConsumer { shared, next_offset: first_offset })
}

#[derive(Debug)]
struct Shared {
    limits: BusLimits,
    log: Mutex<Log>,
    arrived: Notify,
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Log {
    /// Published and not acked, in order.
    records: VecDeque<Record>,
    /// Offset of `records[0]`.
    first_offset: i64,
    bytes: usize,
}

impl Log {
    /// Offset that the next record gets.
    fn end_offset(&self) -> i64 {
        self.first_offset + i64::try_from(self.records.len()).expect("the log is bounded")
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn depth(&self) -> Depth {
        let log = self.log();
        Depth { records: log.records.len(), bytes: log.bytes }
    }

    fn close(&self) {
        // Under the lock, so that no publish that looked before can still add a record after the consumer saw the end.
        let _log = self.log();
        self.closed.send_replace(true);
        self.arrived.notify_one();
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }
}

fn record_bytes(record: &Record) -> usize {
    record.key.len() + record.value.len() + RECORD_OVERHEAD_BYTES
}

/// The ingress's end; cheap to clone.
#[derive(Clone, Debug)]
pub struct EmbeddedProducer {
    shared: Arc<Shared>,
}

#[async_trait::async_trait]
impl Producer for EmbeddedProducer {
    fn partition_of(&self, _key: &[u8]) -> Result<i32, PublishError> {
        Ok(PARTITION)
    }

    async fn publish(&self, records: Vec<Record>) -> Result<Vec<Position>, PublishError> {
        let bytes: usize = records.iter().map(record_bytes).sum();
        let positions = {
            let mut log = self.shared.log();
            if self.shared.is_closed() {
                return Err(PublishError::Closed);
            }
            let limits = self.shared.limits;
            if log.records.len() + records.len() > limits.records_max || bytes > limits.bytes_max - log.bytes {
                return Err(PublishError::Full);
            }
            let positions = (log.end_offset()..).zip(&records);
            let positions = positions.map(|(offset, _)| Position { partition: PARTITION, offset }).collect();
            log.bytes += bytes;
            log.records.extend(records);
            positions
        };
        self.shared.arrived.notify_one();
        Ok(positions)
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn depth(&self) -> Depth {
        self.shared.depth()
    }

    fn close(&self) {
        self.shared.close();
    }
}

/// The gateway's end. Dropping it closes the bus: records that nobody will deliver must not be answered for.
#[derive(Debug)]
pub struct EmbeddedConsumer {
    shared: Arc<Shared>,
    /// Offset of the first record not yet handed out.
    next_offset: i64,
}

impl EmbeddedConsumer {
    /// Hands out what is there; `None` when there is nothing.
    fn take(&mut self, records_max: usize) -> Option<Vec<Stored>> {
        let log = self.shared.log();
        let from = usize::try_from(self.next_offset - log.first_offset).expect("acks stay behind what was handed out");
        let batch: Vec<Stored> = (self.next_offset..)
            .zip(log.records.range(from..).take(records_max))
            .map(|(offset, record)| Stored {
                position: Position { partition: PARTITION, offset },
                record: record.clone(),
            })
            .collect();
        self.next_offset = batch.last()?.position.offset + 1;
        Some(batch)
    }
}

#[async_trait::async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next_batch(&mut self, records_max: usize) -> Option<Vec<Stored>> {
        loop {
            // Read before looking into the log: a record that came before the close is then seen below.
            let closed = self.shared.is_closed();
            if let Some(batch) = self.take(records_max.max(1)) {
                return Some(batch);
            }
            if closed {
                return None;
            }
            self.shared.arrived.notified().await;
        }
    }

    fn ack(&mut self, position: Position) {
        assert_eq!(position.partition, PARTITION, "the embedded bus has one partition");
        assert!(position.offset < self.next_offset, "acked a record that was not handed out");
        let mut log = self.shared.log();
        while log.first_offset <= position.offset {
            let record = log.records.pop_front().expect("records up to next_offset are in the log");
            log.bytes -= record_bytes(&record);
            log.first_offset += 1;
        }
    }

    fn closed(&self) -> BoxFuture<'static, ()> {
        let mut closed = self.shared.closed.subscribe();
        let shared = self.shared.clone();
        async move {
            // The sender lives in `shared`, so waiting cannot fail.
            let _ = closed.wait_for(|closed| *closed).await;
            drop(shared);
        }
        .boxed()
    }

    fn depth(&self) -> Depth {
        self.shared.depth()
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.shared.close();
    }
}
