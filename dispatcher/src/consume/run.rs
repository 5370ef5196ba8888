//! Step 4 of a push on its way out: the one task that reads the log and gives the gateway what concerns it, in order.
//! Owns the loop that waits for answers of the log, places behind the gateway's door, its answers, time and the end,
//! and shows how it is going. Decides nothing: [`super::handing`] does. Next step: [`crate::gateways::Door`].

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use halley_protocol::push::interest::Interest;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::bus::log::Log;
use crate::gateways::{Door, GatewayGone, Matched};
use crate::receipts::Receipts;
use crate::stats::Stats;

use super::clock::Clock;
use super::handing::{Handing, Why};
use super::reader::{Event, Settings};
use super::share::Gateways;
use super::stats::{LogStats, Status};

/// Time between two copies of what is counted to where others see it.
const PUBLISH_EVERY: Duration = Duration::from_millis(250);
/// The same while nothing happens: that nothing happens is news too, once it lasts.
const PUBLISH_QUIET_EVERY: Duration = Duration::from_secs(1);

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

/// How the consuming task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Records known to be in the log that the gateway has not answered for: 0 after an orderly drain.
    pub undelivered: u64,
    /// Why.
    pub why: Why,
}

/// The consuming task, before it runs.
pub struct Consume<L, D> {
    log: L,
    door: Arc<D>,
    handing: Handing,
    clock: Clock,
    stats: Arc<Stats>,
    log_stats: Arc<LogStats>,
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
            handing: Handing::new(clock(), settings, seed, receipts, gateways, interest),
            clock,
            stats,
            log_stats,
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
        Ended { undelivered: self.handing.reader.unanswered(), why }
    }

    async fn carry(&mut self, mut end: Pin<&mut (impl Future<Output = End> + Send)>) -> Result<Why, GatewayGone> {
        let mut place: Option<Reserved<D::Place>> = None;
        loop {
            // A log inside the process may always have more: others on this thread have their turns.
            tokio::task::consume_budget().await;
            let now = (self.clock)();
            if let Some(why) = self.handing.ended(now) {
                return Ok(why);
            }
            self.go_on(now);
            if place.is_none() && self.handing.has_work() {
                let door = Arc::clone(&self.door);
                place = Some(async move { door.reserve().await }.boxed());
            }
            let wake = self.wake_at(now);
            tokio::select! {
                biased;
                how = &mut end, if !self.handing.is_ending() => match how {
                    End::Now => return Ok(Why::Told),
                    End::Drain(within) => self.handing.drain(now.saturating_add(within)),
                },
                answer = self.handing.answer(), if self.handing.is_waiting() => self.answered(answer?),
                reserved = async { place.as_mut().expect("there is one").await }, if place.is_some() => {
                    place = None;
                    self.hand_over(reserved?);
                }
                (id, answer) = self.log.answer() => {
                    self.handing.reader.answer((self.clock)(), id, answer);
                    self.has_news = true;
                }
                () = sleep(wake.saturating_sub(now)) => {}
            }
        }
    }

    /// What happens in every round: the reader's questions, its news, and what others see of it.
    fn go_on(&mut self, now: Duration) {
        while let Some((id, ask)) = self.handing.reader.poll_ask(now) {
            self.log.ask(id, ask);
        }
        while let Some(event) = self.handing.reader.take_event() {
            match event {
                Event::Gap(_) | Event::Unreadable { .. } | Event::Truncated { .. } => error!("{event}"),
                Event::Missing { .. } => warn!("{event}"),
                Event::Grown { .. } | Event::NewTopic => info!("{event}"),
            }
        }
        if now >= self.publish_at() || self.handing.reader.is_started() != self.was_started {
            self.publish(now);
        }
    }

    fn wake_at(&self, now: Duration) -> Duration {
        let publish = self.publish_at();
        self.handing.wake_at(now).map_or(publish, |at| at.min(publish))
    }

    /// When others are to see how it is going.
    fn publish_at(&self) -> Duration {
        self.published + if self.has_news { PUBLISH_EVERY } else { PUBLISH_QUIET_EVERY }
    }

    fn hand_over(&mut self, place: D::Place) {
        self.has_news = true;
        if !self.handing.hand_over((self.clock)(), place) {
            self.forget();
        }
    }

    /// The gateway has answered the oldest handover.
    fn answered(&mut self, matched: Vec<Matched>) {
        self.has_news = true;
        let records = self.handing.answered(matched);
        if records > 0 {
            self.stats.delivered(records);
        }
        self.forget();
    }

    /// Let the log forget what is done with.
    fn forget(&mut self) {
        if !L::FORGETS {
            return;
        }
        for (partition, done) in self.handing.reader.dones() {
            self.log.forget(partition, done);
        }
    }

    /// Let others see how it is going.
    fn publish(&mut self, now: Duration) {
        self.published = now;
        self.log_stats.consumed.publish(self.handing.counts());
        let reader = &self.handing.reader;
        self.log_stats.reader.publish(reader.counts());
        self.log_stats.set_partitions(reader.partitions(now));
        let not_ready = reader.not_ready(now);
        self.was_started = reader.is_started();
        // What is not well is looked at again, whether or not anything happens.
        self.has_news = not_ready.is_some() || reader.lag() > 0 || self.handing.is_waiting();
        self.log_stats.set_status(Status { is_started: self.was_started, not_ready });
    }
}
