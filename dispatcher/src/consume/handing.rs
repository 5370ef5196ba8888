//! Step 4 of a push on its way out: all of reading that decides and waits for nothing. Owns the positions' reader, the
//! batch that is being read, the handovers that the gateway has not answered, and how reading begins and ends. Whoever
//! runs it owns the waiting: it asks the log what the reader wants to know, reserves places and hands in answers. What
//! goes through a place is told to the reader in the same call (rule R1). Run by [`super::run`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use halley_protocol::push::interest::Interest;
use tokio::sync::oneshot;
use tracing::warn;

use crate::gateways::{GatewayGone, Handover, Matched, Place};
use crate::receipts::{Counts as MatchCounts, Receipts};

use super::reader::{Reader, Settings};
use super::records::{Opened, Records};
use super::share::Gateways;
use super::stats::{Consumed, DECODE_BOUNDS};

/// Records handed over together: enough to spread the cost of a handover, few enough that a count asked for by the
/// first does not wait for many others.
pub const HANDOVER_RECORDS_MAX: usize = 256;
/// Bytes after which no further record joins a handover.
pub const HANDOVER_BYTES_MAX: usize = 1024 * 1024;

/// Why reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// As told: a drain has reached its end.
    Told,
    /// The time for a drain is over. What was read by then is counted; a partition that nobody answers for may hold
    /// more.
    OutOfTime,
    /// The gateway is gone.
    GatewayGone,
    /// There was no position of every partition within [`Settings::start_timeout`]; says what is missing.
    NotStarted(String),
}

/// A handover that the gateway has not answered yet.
#[derive(Debug)]
struct UnderWay {
    answer: oneshot::Receiver<Vec<Matched>>,
    /// For each delivery, who waits to hear what it matched.
    waiting: Vec<Option<oneshot::Sender<MatchCounts>>>,
}

/// See the file's head.
#[derive(Debug)]
pub struct Handing {
    /// What is asked of the log, and what its answers mean.
    pub reader: Reader,
    records: Records,
    opened: Option<Opened>,
    under_way: VecDeque<UnderWay>,
    counts: Consumed,
    records_max: usize,
    /// When the first positions must be there.
    starts_by: Option<Duration>,
    start_without: bool,
    /// Reading to the end of the log ends then at the latest.
    ends_by: Option<Duration>,
}

impl Handing {
    /// One that has asked and handed over nothing yet. `seed` is of the reader's waits; without `interest` every push
    /// is handed over.
    pub fn new(
        now: Duration,
        settings: Settings,
        seed: u64,
        receipts: Arc<Receipts>,
        gateways: Arc<Gateways>,
        interest: Option<Arc<Interest>>,
    ) -> Handing {
        let timeout = settings.start_timeout;
        Handing {
            starts_by: (!timeout.is_zero()).then(|| now.saturating_add(timeout)),
            start_without: settings.start_without,
            reader: Reader::new(settings, seed),
            records: Records::new(receipts, gateways, interest),
            opened: None,
            under_way: VecDeque::new(),
            counts: Consumed::default(),
            records_max: HANDOVER_RECORDS_MAX,
            ends_by: None,
        }
    }

    /// The same with at most so many records in a handover, one at least.
    pub fn with_records_max(self, records_max: usize) -> Handing {
        Handing { records_max: records_max.max(1), ..self }
    }

    /// To be asked in every round: whether reading is over, and why.
    pub fn ended(&mut self, now: Duration) -> Option<Why> {
        self.drop_stale();
        if self.starts_by.is_some_and(|by| now >= by) && !self.reader.is_started() {
            let missing = self.reader.not_ready(now).unwrap_or_default();
            if !self.start_without {
                return Some(Why::NotStarted(missing));
            }
            warn!("this gateway opens without its place in the log, as start_without allows: {missing}");
            self.reader.start_without();
        }
        let ends_by = self.ends_by?;
        match self.reader.is_drained() {
            true => Some(Why::Told),
            false => (now >= ends_by).then_some(Why::OutOfTime),
        }
    }

    /// Read on to where the log ends now, until `by` at the latest. Whoever fills it has stopped.
    pub fn drain(&mut self, by: Duration) {
        self.reader.drain();
        self.ends_by = Some(by);
    }

    /// Whether it was told to end.
    pub fn is_ending(&self) -> bool {
        self.ends_by.is_some()
    }

    /// When the next round comes, if nothing happens before.
    pub fn wake_at(&self, now: Duration) -> Option<Duration> {
        let starts_by = self.starts_by.filter(|_| !self.reader.is_started());
        [self.reader.wake_at(now), starts_by, self.ends_by].into_iter().flatten().min()
    }

    /// Whether there is something to hand over and the gateway may be given more.
    pub fn has_work(&self) -> bool {
        self.reader.has_work()
    }

    /// Fill a place. Nothing is awaited in here: what is handed over has its place when the reader hears of it.
    /// Whether something went through it; if not, what was read concerned nobody.
    pub fn hand_over(&mut self, now: Duration, place: impl Place) -> bool {
        if let Some(gap) = self.reader.take_gap() {
            let answer = place.admit(Handover::Gap(gap));
            self.reader.admitted(0);
            self.under_way.push_back(UnderWay { answer, waiting: Vec::new() });
            return true;
        }
        let began = Instant::now();
        let mut deliveries = Vec::new();
        let mut waiting = Vec::new();
        let mut bytes = 0;
        while deliveries.len() < self.records_max && bytes < HANDOVER_BYTES_MAX {
            let Some(mut opened) = self.next_opened() else { break };
            while deliveries.len() < self.records_max && bytes < HANDOVER_BYTES_MAX {
                let Some(ready) = self.records.read_next(&mut opened, &mut self.counts) else { break };
                bytes += ready.bytes;
                deliveries.push(ready.delivery);
                waiting.push(ready.waiting);
            }
            self.advance(now, opened);
        }
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counts.decode.record(&DECODE_BOUNDS, took);
        if deliveries.is_empty() {
            self.reader.nothing_admitted();
            return false;
        }
        let answer = place.admit(Handover::Deliver(deliveries));
        self.reader.admitted(bytes);
        self.under_way.push_back(UnderWay { answer, waiting });
        true
    }

    /// The batch that was begun, if it still counts, or the next one.
    fn next_opened(&mut self) -> Option<Opened> {
        self.drop_stale();
        if let Some(opened) = self.opened.take() {
            return Some(opened);
        }
        let opened = self.records.open(self.reader.take_batch()?);
        self.reader.inflated(opened.inflated_bytes());
        Some(opened)
    }

    /// A batch that was begun and does not count any more takes no memory: it could be what keeps the next question
    /// from being asked.
    fn drop_stale(&mut self) {
        let is_stale = |opened: &mut Opened| !self.reader.is_current(opened.batch.partition, opened.batch.generation);
        if let Some(opened) = self.opened.take_if(is_stale) {
            self.close(opened);
        }
    }

    /// Tell the reader how far a batch was handed over, and keep the rest of it for the next handover.
    fn advance(&mut self, now: Duration, mut opened: Opened) {
        let (partition, generation) = (opened.batch.partition, opened.batch.generation);
        if !opened.is_read() {
            self.reader.advance(partition, generation, opened.looked_at);
            self.opened = Some(opened);
            return;
        }
        match opened.fault {
            None => {
                self.reader.advance(partition, generation, opened.batch.until);
            }
            Some(why) => {
                self.reader.advance(partition, generation, opened.looked_at);
                self.reader.unreadable(now, &opened.batch, why);
            }
        }
        self.close(opened);
    }

    fn close(&mut self, opened: Opened) {
        self.records.close(opened);
        self.reader.inflated(0);
    }

    /// Whether the gateway owes an answer.
    pub fn is_waiting(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// The oldest handover's answer, for [`Handing::answered`]. It may be dropped before it comes.
    ///
    /// # Errors
    /// The gateway is gone; or nothing is waited for.
    pub async fn answer(&mut self) -> Result<Vec<Matched>, GatewayGone> {
        let Some(first) = self.under_way.front_mut() else { return Err(GatewayGone) };
        (&mut first.answer).await.map_err(|_| GatewayGone)
    }

    /// The gateway has answered the oldest handover. Returns how many records were in it.
    pub fn answered(&mut self, matched: Vec<Matched>) -> u64 {
        let Some(UnderWay { waiting, .. }) = self.under_way.pop_front() else { return 0 };
        let records = u64::try_from(waiting.len()).unwrap_or(u64::MAX);
        for (matched, waiting) in matched.into_iter().zip(waiting) {
            if let Some(waiting) = waiting {
                // Whoever asked may have gone meanwhile.
                let _ = waiting.send(matched.into_iter().collect());
            }
        }
        self.reader.answered();
        records
    }

    /// What became of records.
    pub fn counts(&mut self) -> &Consumed {
        self.counts.held_bytes = u64::try_from(self.reader.memory_used()).unwrap_or(u64::MAX);
        &self.counts
    }
}
