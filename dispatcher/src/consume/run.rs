//! Step 4 of a push on its way out: the one task that reads the log and gives the gateway what concerns it, in order.
//! Owns the loop over answers of the log, places behind the gateway's door, its answers, time and the end. Decides
//! nothing about positions: [`super::reader`] does. Between reserving a place and telling the reader what went through
//! it, it waits for nothing (rule R1). Next step: [`crate::gateways::Door`].

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt as _};
use halley_protocol::push::interest::Interest;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::bus::log::Log;
use crate::gateways::{Door, GatewayGone, Handover, Matched, Place};
use crate::receipts::{Counts as MatchCounts, Receipts};
use crate::stats::Stats;

use super::clock::Clock;
use super::reader::{Event, Reader, Settings};
use super::records::{Opened, Records};
use super::share::Gateways;
use super::stats::{Consumed, DECODE_BOUNDS, LogStats, Status};

/// Records handed over together: enough to spread the cost of a handover, few enough that a count asked for by the
/// first does not wait for many others.
pub const HANDOVER_RECORDS_MAX: usize = 256;
/// Bytes after which no further record joins a handover.
pub const HANDOVER_BYTES_MAX: usize = 1024 * 1024;
/// Time between two copies of what is counted to where others see it.
const PUBLISH_EVERY: Duration = Duration::from_millis(250);

/// What the consuming task is made by, beside its log and its door.
pub struct Wiring {
    /// Bounds of the reader.
    pub settings: Settings,
    /// Of the reader's waits; different for every process that reads the same log.
    pub seed: u64,
    /// The time by which it waits and measures.
    pub clock: Clock,
    /// How many gateways read the log.
    pub gateways: Arc<Gateways>,
    /// Who waits to hear what a push matched.
    pub receipts: Arc<Receipts>,
    /// Who is here: records for nobody among them go no further (rule R10). Without it all are handed over.
    pub interest: Option<Arc<Interest>>,
    /// The dispatcher's counters.
    pub stats: Arc<Stats>,
    /// What is known of the log outside.
    pub log_stats: Arc<LogStats>,
}

/// How reading shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Hand over what the log holds by now, for so long at most. Whoever fills it has stopped.
    Drain(Duration),
    /// Read nothing more; what is not handed over yet is left.
    Now,
}

/// Why reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// As told.
    Told,
    /// The gateway is gone.
    GatewayGone,
    /// There was no position of every partition within [`Settings::start_timeout`]; says what is missing.
    NotStarted(String),
}

/// How the consuming task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Records known to be in the log that the gateway has not answered for: 0 after an orderly drain.
    pub undelivered: u64,
    /// Why.
    pub why: Why,
}

/// A handover that the gateway has not answered yet.
struct UnderWay {
    answer: oneshot::Receiver<Vec<Matched>>,
    /// For each delivery, who waits to hear what it matched.
    waiting: Vec<Option<oneshot::Sender<MatchCounts>>>,
}

/// The consuming task, before it runs.
pub struct Consume<L, D> {
    log: L,
    door: Arc<D>,
    reader: Reader,
    records: Records,
    opened: Option<Opened>,
    under_way: VecDeque<UnderWay>,
    clock: Clock,
    settings: Settings,
    stats: Arc<Stats>,
    log_stats: Arc<LogStats>,
    counts: Consumed,
    published: Duration,
    has_news: bool,
    was_started: bool,
}

type Reserved<P> = BoxFuture<'static, Result<P, GatewayGone>>;

impl<L: Log, D: Door> Consume<L, D> {
    /// Reads `log`, and hands over through `door`.
    pub fn new(log: L, door: D, wiring: Wiring) -> Consume<L, D> {
        let Wiring { settings, seed, clock, gateways, receipts, interest, stats, log_stats } = wiring;
        Consume {
            log,
            door: Arc::new(door),
            reader: Reader::new(settings.clone(), seed),
            records: Records::new(receipts, gateways, interest),
            opened: None,
            under_way: VecDeque::new(),
            clock,
            settings,
            stats,
            log_stats,
            counts: Consumed::default(),
            published: Duration::ZERO,
            has_news: true,
            was_started: false,
        }
    }

    /// Run until `end` says how to end, or the gateway is gone, or it took too long to start.
    pub async fn run(mut self, end: impl Future<Output = End> + Send) -> Ended {
        let why = match self.carry(pin!(end)).await {
            Ok(why) => why,
            Err(GatewayGone) => Why::GatewayGone,
        };
        self.publish((self.clock)());
        Ended { undelivered: self.reader.unanswered(), why }
    }

    async fn carry(&mut self, mut end: Pin<&mut (impl Future<Output = End> + Send)>) -> Result<Why, GatewayGone> {
        let mut ending = None;
        let mut place: Option<Reserved<D::Place>> = None;
        let starts_until = self.starts_until();
        loop {
            // A log inside the process may always have more: others on this thread have their turns.
            tokio::task::consume_budget().await;
            let now = (self.clock)();
            if let Some(why) = self.go_on(now, starts_until) {
                return Ok(why);
            }
            if ending.is_some_and(|until| now >= until || self.reader.is_drained()) {
                return Ok(Why::Told);
            }
            if place.is_none() && self.has_work() {
                let door = Arc::clone(&self.door);
                place = Some(async move { door.reserve().await }.boxed());
            }
            let wake = self.wake_at(now, starts_until, ending);
            tokio::select! {
                biased;
                how = &mut end, if ending.is_none() => match how {
                    End::Now => return Ok(Why::Told),
                    End::Drain(within) => {
                        self.reader.drain();
                        ending = Some(now.saturating_add(within));
                    }
                },
                answer = answer(&mut self.under_way), if !self.under_way.is_empty() => self.answered(answer?),
                reserved = async { place.as_mut().expect("there is one").await }, if place.is_some() => {
                    place = None;
                    self.hand_over(reserved?);
                }
                (id, answer) = self.log.answer() => {
                    self.reader.answer((self.clock)(), id, answer);
                    self.has_news = true;
                }
                () = sleep(wake.saturating_sub(now)) => {}
            }
        }
    }

    /// When the first positions must be there.
    fn starts_until(&self) -> Option<Duration> {
        let timeout = self.settings.start_timeout;
        (!timeout.is_zero()).then(|| (self.clock)().saturating_add(timeout))
    }

    /// What happens in every round: the reader's questions, its news, and what others see of it.
    fn go_on(&mut self, now: Duration, starts_until: Option<Duration>) -> Option<Why> {
        if starts_until.is_some_and(|until| now >= until) && !self.reader.is_started() {
            let missing = self.reader.not_ready(now).unwrap_or_default();
            if !self.settings.start_without {
                return Some(Why::NotStarted(missing));
            }
            warn!("this gateway opens without its place in the log, as start_without allows: {missing}");
            self.reader.start_without();
        }
        while let Some((id, ask)) = self.reader.poll_ask(now) {
            self.log.ask(id, ask);
        }
        while let Some(event) = self.reader.take_event() {
            match event {
                Event::Gap(_) | Event::Unreadable { .. } | Event::Truncated { .. } => error!("{event}"),
                Event::Missing { .. } => warn!("{event}"),
                Event::Grown { .. } | Event::NewTopic => info!("{event}"),
            }
        }
        let is_due = now.saturating_sub(self.published) >= PUBLISH_EVERY;
        if (self.has_news && is_due) || self.reader.is_started() != self.was_started {
            self.publish(now);
        }
        None
    }

    fn wake_at(&self, now: Duration, starts_until: Option<Duration>, ending: Option<Duration>) -> Duration {
        let publish = self.has_news.then(|| self.published + PUBLISH_EVERY);
        let starts_until = starts_until.filter(|_| !self.reader.is_started());
        let times = [self.reader.wake_at(now), publish, starts_until, ending];
        // Far enough to be no time at all for a timer.
        times.into_iter().flatten().min().unwrap_or(now + Duration::from_secs(3600))
    }

    fn has_work(&self) -> bool {
        self.reader.has_work()
    }

    /// Fill a place. Nothing is awaited in here: what is handed over has its place when the reader hears of it.
    fn hand_over(&mut self, place: D::Place) {
        self.has_news = true;
        if let Some(gap) = self.reader.take_gap() {
            let answer = place.admit(Handover::Gap(gap));
            self.reader.admitted(0);
            self.under_way.push_back(UnderWay { answer, waiting: Vec::new() });
            return;
        }
        let began = Instant::now();
        let mut deliveries = Vec::new();
        let mut waiting = Vec::new();
        let mut bytes = 0;
        while deliveries.len() < HANDOVER_RECORDS_MAX && bytes < HANDOVER_BYTES_MAX {
            let Some(mut opened) = self.next_opened() else { break };
            while deliveries.len() < HANDOVER_RECORDS_MAX && bytes < HANDOVER_BYTES_MAX {
                let Some(ready) = opened.ready.pop_front() else { break };
                bytes += ready.bytes;
                deliveries.push(ready.delivery);
                waiting.push(ready.waiting);
            }
            self.advance(opened);
        }
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counts.decode.record(&DECODE_BOUNDS, took);
        if deliveries.is_empty() {
            self.reader.nothing_admitted();
            self.forget();
            return;
        }
        let answer = place.admit(Handover::Deliver(deliveries));
        self.reader.admitted(bytes);
        self.under_way.push_back(UnderWay { answer, waiting });
    }

    /// The batch that was begun, if it still counts, or the next one.
    fn next_opened(&mut self) -> Option<Opened> {
        if let Some(opened) = self.opened.take() {
            if self.reader.is_current(opened.batch.partition, opened.batch.generation) {
                return Some(opened);
            }
            self.records.close(opened);
        }
        let batch = self.reader.take_batch()?;
        Some(self.records.open(batch, &mut self.counts))
    }

    /// Tell the reader how far a batch was handed over, and keep the rest of it for the next handover.
    fn advance(&mut self, opened: Opened) {
        let (partition, generation) = (opened.batch.partition, opened.batch.generation);
        if let Some(next) = opened.ready.front() {
            self.reader.advance(partition, generation, next.offset);
            self.opened = Some(opened);
            return;
        }
        match opened.fault {
            None => {
                self.reader.advance(partition, generation, opened.batch.until);
            }
            Some(why) => {
                self.reader.advance(partition, generation, opened.looked_at);
                self.reader.unreadable((self.clock)(), &opened.batch, why);
            }
        }
        self.records.close(opened);
    }

    /// The gateway has answered the oldest handover.
    fn answered(&mut self, matched: Vec<Matched>) {
        self.has_news = true;
        let Some(UnderWay { waiting, .. }) = self.under_way.pop_front() else { return };
        let records = u64::try_from(waiting.len()).unwrap_or(u64::MAX);
        for (matched, waiting) in matched.into_iter().zip(waiting) {
            if let Some(waiting) = waiting {
                // Whoever asked may have gone meanwhile.
                let _ = waiting.send(matched.into_iter().collect());
            }
        }
        self.reader.answered();
        if records > 0 {
            self.stats.delivered(records);
        }
        self.forget();
    }

    /// Let the log forget what is done with.
    fn forget(&mut self) {
        for partition in self.reader.partitions((self.clock)()) {
            self.log.forget(partition.partition, partition.done);
        }
    }

    /// Let others see how it is going.
    fn publish(&mut self, now: Duration) {
        self.published = now;
        self.counts.held_bytes = u64::try_from(self.reader.memory_used()).unwrap_or(u64::MAX);
        self.log_stats.reader.publish(self.reader.counts());
        self.log_stats.consumed.publish(&self.counts);
        self.log_stats.set_partitions(self.reader.partitions(now));
        let not_ready = self.reader.not_ready(now);
        self.was_started = self.reader.is_started();
        // What is not well is looked at again, whether or not anything happens.
        self.has_news = not_ready.is_some() || self.reader.lag() > 0 || !self.under_way.is_empty();
        self.log_stats.set_status(Status { is_started: self.was_started, not_ready });
    }
}

/// The oldest handover's answer.
async fn answer(under_way: &mut VecDeque<UnderWay>) -> Result<Vec<Matched>, GatewayGone> {
    let Some(first) = under_way.front_mut() else { return Err(GatewayGone) };
    (&mut first.answer).await.map_err(|_| GatewayGone)
}
