//! Who listens to what happens to which connection. Owns the table of sinks and its bound; decides nothing about what
//! is shown (`trace_stream` does) and never waits for a listener: what a slow one misses is counted for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::mesh::msg::{ConnRef, TraceEvent};

/// Connections traced at once, over all listeners.
pub const TRACED_CONNS_MAX: usize = 1024;
/// Events that may wait for one listener; more are lost to it, and counted.
pub const TRACE_EVENTS_MAX: usize = 1024;

/// Something that happened to a traced connection.
#[derive(Clone, Debug)]
pub struct TraceRecord {
    /// Shard index.
    pub shard: u16,
    /// The connection.
    pub conn: ConnRef,
    /// What happened.
    pub event: TraceEvent,
}

/// The giving end of one listener, cloned for each connection it listens to.
#[derive(Clone, Debug)]
pub struct TraceSink {
    records: mpsc::Sender<TraceRecord>,
    lost: Arc<AtomicU64>,
}

/// The taking end of one listener.
#[derive(Debug)]
pub struct TraceSource {
    /// Events in their order; ends when no connection is listened to and no [`TraceSink`] is left.
    pub records: mpsc::Receiver<TraceRecord>,
    lost: Arc<AtomicU64>,
}

impl TraceSource {
    /// Events lost since the last call because this listener was slow.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

impl TraceSink {
    /// A listener to nothing yet.
    pub fn new() -> (TraceSink, TraceSource) {
        let (sender, records) = mpsc::channel(TRACE_EVENTS_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        (TraceSink { records: sender, lost: Arc::clone(&lost) }, TraceSource { records, lost })
    }

    /// Give one event, or count it as lost; returns whether it was lost.
    fn give(&self, record: TraceRecord) -> bool {
        let lost = matches!(self.records.try_send(record), Err(mpsc::error::TrySendError::Full(_)));
        self.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
        lost
    }
}

/// What the shard must be told after a change of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Stop reporting it.
    Off,
    /// Nothing changes for the shard.
    Same,
}

/// The sinks of every traced connection.
#[derive(Debug, Default)]
pub struct TraceTable {
    sinks: HashMap<(u16, ConnRef), Vec<TraceSink>>,
    total: usize,
    lost: u64,
}

impl TraceTable {
    /// Listen to a connection, unless [`TRACED_CONNS_MAX`] are listened to; says whether it is so from now on.
    #[must_use = "who is not listened to must be told so"]
    pub fn add(&mut self, shard: u16, conn: ConnRef, sink: TraceSink) -> bool {
        let room = self.total < TRACED_CONNS_MAX;
        if room {
            self.sinks.entry((shard, conn)).or_default().push(sink);
            self.total += 1;
        }
        room
    }

    /// Give an event to everybody who listens. The last event of a connection, and the last listener's leaving, end its
    /// entry.
    pub fn give(&mut self, shard: u16, conn: ConnRef, event: &TraceEvent) -> Report {
        let Some(sinks) = self.sinks.get_mut(&(shard, conn)) else {
            return Report::Off;
        };
        let before = sinks.len();
        sinks.retain(|sink| !sink.records.is_closed());
        for sink in sinks.iter() {
            self.lost += u64::from(sink.give(TraceRecord { shard, conn, event: event.clone() }));
        }
        let (left, ended) = (sinks.len(), matches!(event, TraceEvent::Closed { .. }));
        self.total -= before - if ended { 0 } else { left };
        if left == 0 || ended {
            self.sinks.remove(&(shard, conn));
        }
        if left == 0 && !ended { Report::Off } else { Report::Same }
    }

    /// Take the newest listener of a connection back: the shard could not be told of it.
    pub fn withdraw(&mut self, shard: u16, conn: ConnRef) {
        if let Some(sinks) = self.sinks.get_mut(&(shard, conn)) {
            self.total -= usize::from(sinks.pop().is_some());
            if sinks.is_empty() {
                self.sinks.remove(&(shard, conn));
            }
        }
    }

    /// Forget listeners that left. Returns the connections nobody listens to any more.
    pub fn drop_closed(&mut self) -> Vec<(u16, ConnRef)> {
        let mut ended = Vec::new();
        self.sinks.retain(|&traced, sinks| {
            sinks.retain(|sink| !sink.records.is_closed());
            if sinks.is_empty() {
                ended.push(traced);
            }
            !sinks.is_empty()
        });
        self.total = self.sinks.values().map(Vec::len).sum();
        ended
    }

    /// Pairs of a connection and a listener.
    pub fn len(&self) -> usize {
        self.total
    }

    /// Events lost to slow listeners so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether nothing is traced.
    pub fn is_empty(&self) -> bool {
        self.sinks.is_empty()
    }
}
