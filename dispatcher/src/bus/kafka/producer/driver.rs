//! The task between the ingress and the brokers. Owns the clock of [`Produce`], the requests under way and the callers
//! that wait; decides nothing: [`Produce`] does. Bounded by it: a request for each broker, a question for each
//! partition's id, one about the topic. Next step on the way out: [`super::super::cluster`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use halley_service::log::seldom::Seldom;
use hashbrown::HashMap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::counts::PRODUCE_US;
use super::requests;
use super::shared::{Shared, Submission};
use crate::bus::batch::Codec;
use crate::bus::kafka::cluster::{Class, Cluster};
use crate::bus::kafka::produce::act::{Action, Answer, PushId, Request, RequestId};
use crate::bus::kafka::produce::batch::Identity;
use crate::bus::kafka::produce::core::{Counts, Produce};
use crate::bus::kafka::wire::answer::Response;
use crate::bus::kafka::wire::request::Request as WireRequest;
use crate::bus::log::{Topology, Trouble};
use crate::bus::partition::partition_of;
use crate::bus::{Position, PublishError};

/// Submissions that are taken together, so that they travel together.
const TOGETHER_MAX: usize = 256;

/// How long a question about a producer id may go unanswered.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);

/// What comes back from the brokers.
enum Event {
    Topology(Result<Topology, Trouble>),
    Identity(i32, Result<Identity, Arc<str>>),
    Answered(RequestId, Vec<(i32, Answer)>, Duration),
    Lost(RequestId, bool, Arc<str>),
}

type UnderWay = Pin<Box<dyn Future<Output = Event> + Send>>;

/// A caller that waits.
struct Waiting {
    answer: oneshot::Sender<Result<Vec<Position>, PublishError>>,
    since: Instant,
}

/// The producing task, before it runs.
pub struct Driver {
    shared: Arc<Shared>,
    submissions: mpsc::Receiver<Submission>,
    produce: Produce,
    codec: Codec,
    cluster: Cluster,
    under_way: FuturesUnordered<UnderWay>,
    waiting: HashMap<PushId, Waiting>,
    counted: Counts,
    started: Instant,
    /// What was last said in the log of the topic.
    said: Seldom,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        submissions: mpsc::Receiver<Submission>,
        produce: Produce,
        codec: Codec,
        cluster: Cluster,
    ) -> Driver {
        Driver {
            shared,
            submissions,
            produce,
            codec,
            cluster,
            under_way: FuturesUnordered::new(),
            waiting: HashMap::new(),
            counted: Counts::default(),
            started: Instant::now(),
            said: Seldom::default(),
        }
    }

    /// Run until the producer was closed and everything that was taken has its answer.
    pub async fn run(mut self) {
        let mut closed = self.shared.closed.subscribe();
        // Nothing is handed over any more, and everything that was is taken.
        let mut ending = false;
        self.started = Instant::now();
        self.produce.tick(self.now());
        self.act();
        while !(ending && self.produce.is_idle()) {
            let wake_at = self
                .produce
                .next_deadline()
                .map_or_else(|| Instant::now() + Duration::from_secs(1), |deadline| self.started + deadline);
            tokio::select! {
                submission = self.submissions.recv(), if !ending => match submission {
                    Some(submission) => self.take(submission),
                    None => ending = true,
                },
                Some(event) = self.under_way.next() => self.event(event),
                () = sleep_until(wake_at) => self.produce.tick(self.now()),
                // The sender is in `shared`, so this cannot fail.
                _ = closed.wait_for(|closed| *closed), if !self.submissions.is_closed() => self.submissions.close(),
            }
            self.act();
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// This push, and whatever was handed over beside it.
    fn take(&mut self, first: Submission) {
        let now = self.now();
        self.admit(now, first);
        for _ in 1..TOGETHER_MAX {
            match self.submissions.try_recv() {
                Ok(submission) => self.admit(now, submission),
                Err(_) => break,
            }
        }
        self.produce.tick(now);
    }

    fn admit(&mut self, now: Duration, Submission { records, answer }: Submission) {
        let partitions = i32::try_from(self.produce.partitions()).unwrap_or(i32::MAX);
        let records = records.into_iter().map(|record| (partition_of(&record.key, partitions), record)).collect();
        match self.produce.admit(now, wall_clock_ms(), records) {
            Ok(push) => {
                self.waiting.insert(push, Waiting { answer, since: Instant::now() });
            }
            // Whoever asked may have gone.
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn event(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Topology(Ok(topology)) => {
                self.shared.set_trouble(None);
                self.said.ends();
                self.produce.topology(now, &topology);
                self.shared.partitions.store(self.produce.partitions(), Ordering::Relaxed);
            }
            Event::Topology(Err(trouble)) => {
                let why: Arc<str> = trouble.to_string().into();
                if self.said.is_news(&why, std::time::Instant::now()) {
                    warn!("pushes cannot be published: {why}");
                }
                self.shared.set_trouble(Some(why));
                self.produce.topology_failed(now, trouble);
            }
            Event::Identity(partition, given) => self.produce.identity(now, partition, given),
            Event::Answered(request, answers, throttle) => self.produce.answered(now, request, &answers, throttle),
            Event::Lost(request, written, why) => self.produce.lost(now, request, written, &why),
        }
    }

    /// Whatever is to be done now.
    fn act(&mut self) {
        while let Some(action) = self.produce.action() {
            match action {
                Action::AskTopology => {
                    let cluster = self.cluster.clone();
                    self.under_way.push(Box::pin(async move { Event::Topology(cluster.refresh().await) }));
                }
                Action::AskIdentity { partition } => {
                    self.under_way.push(Box::pin(identify(self.cluster.clone(), partition)));
                }
                Action::Send(request) => {
                    let send = send(self.cluster.clone(), request, self.codec, self.started);
                    self.under_way.push(Box::pin(send));
                }
                Action::Done { push, outcome } => self.done(push, outcome),
            }
        }
        match self.produce.stuck(self.now()) {
            Some(why) => self.shared.set_stuck(Some(why)),
            None if self.produce.is_well() => self.shared.set_stuck(None),
            None => {}
        }
        self.publish_counts();
    }

    fn done(&mut self, push: PushId, outcome: Result<Vec<Position>, PublishError>) {
        let Some(Waiting { answer, since }) = self.waiting.remove(&push) else { return };
        if outcome.is_ok() {
            let time_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.shared.counts.times.record(&PRODUCE_US, time_us);
        }
        // Whoever asked may have gone.
        drop(answer.send(outcome));
    }

    fn publish_counts(&mut self) {
        let depth = self.produce.depth();
        self.shared.records.store(depth.records, Ordering::Relaxed);
        self.shared.bytes.store(depth.bytes, Ordering::Relaxed);
        let (now, before, counts) = (self.produce.counts(), self.counted, &self.shared.counts);
        if now != before {
            counts.requests.add(now.requests - before.requests);
            counts.batches.add(now.batches - before.batches);
            counts.records.add(now.records - before.records);
            counts.retries.add(now.retries - before.retries);
            counts.identities.add(now.identities - before.identities);
            self.counted = now;
        }
    }
}

/// Milliseconds of the Unix epoch; 0 where the clock is before it.
fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A new id for a partition, from its leader: there is a connection to it already, or will be needed.
async fn identify(cluster: Cluster, partition: i32) -> Event {
    let Some(leader) = cluster.leader_of(partition) else {
        return Event::Identity(partition, Err("nobody leads the partition".into()));
    };
    let request = WireRequest::InitProducerId(requests::identity());
    let deadline = Instant::now() + IDENTITY_TIMEOUT;
    let broker = cluster.name_of(leader.source);
    let given = match cluster.request(leader.source, Class::Rest, request, deadline).await {
        Ok(Response::InitProducerId(answer)) => requests::identified(&broker, &answer),
        Ok(_) => Err(format!("{broker} answered to something else").into()),
        Err(error) => Err(error.text),
    };
    Event::Identity(partition, given)
}

/// One request with batches, until its answer or its end.
async fn send(cluster: Cluster, request: Request, codec: Codec, started: Instant) -> Event {
    let deadline = started + request.answer_by.min(request.write_by);
    // The broker gives up before we do: its answer says more than our silence.
    let wait = deadline.saturating_duration_since(Instant::now()) * 4 / 5;
    let produce = requests::produce(&request, &cluster.settings().topic, codec, wait);
    match cluster.request(request.source, Class::Rest, WireRequest::Produce(produce), deadline).await {
        Ok(Response::Produce(answer)) => {
            let throttle = Duration::from_millis(u64::try_from(answer.throttle_time_ms).unwrap_or_default());
            Event::Answered(request.id, requests::produced(&cluster, request.topic, &answer), throttle)
        }
        Ok(_) => {
            let text = format!("{} answered to something else", cluster.name_of(request.source));
            Event::Lost(request.id, true, text.into())
        }
        Err(error) => Event::Lost(request.id, error.written, error.text),
    }
}
