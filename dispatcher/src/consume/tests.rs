//! Reading with its records and its task around it: what of a batch is held at a time (rule R9), where it stops being
//! readable (rule R6), and what others see while the log says nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use halley_protocol::push::{Delivery, Push, PushRecord, Target};
use tokio::sync::oneshot;

use super::clock::runtime_time;
use super::handing::{HANDOVER_RECORDS_MAX, Handing};
use super::reader::Settings;
use super::share::Gateways;
use super::stats::LogStats;
use super::{Consume, End, Ended, Why, Wiring};
use crate::bus::batch::header::set_checksum;
use crate::bus::batch::writer::placed_at;
use crate::bus::batch::{BatchBuilder, Codec};
use crate::bus::log::{Answer, Ask, AskId, Edge, Leader, Log, Place, Refusal, Slice, TopicId, Topology};
use crate::gateways::{Door, GatewayGone, Handover, Matched};
use crate::receipts::Receipts;
use crate::stats::Stats;

/// Offset of the first record.
const FIRST: i64 = 100;

/// Broadcasts of a few bytes each, in one batch.
fn broadcasts(count: usize, codec: Codec) -> Bytes {
    let push = Push { target: Target::All { speed: 0 }, op: 1, body: Bytes::from_static(b"tiny") };
    let value = PushRecord { push, server: "".into(), receipt: 0 }.encode();
    let mut builder = BatchBuilder::compressed(64 << 20, codec);
    (0..count).for_each(|_| builder.push(None, Some(&value), 1_000).unwrap());
    placed_at(builder.finish().unwrap(), FIRST, 1)
}

/// What went through places, answered at once.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<Delivery>>>);

impl Taken {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl crate::gateways::Place for Taken {
    fn admit(self, handover: Handover) -> oneshot::Receiver<Vec<Matched>> {
        let Handover::Deliver(deliveries) = handover else { panic!("nothing is left out here") };
        let (reply, answer) = oneshot::channel();
        reply.send(deliveries.iter().map(|_| None).collect()).unwrap();
        self.0.lock().unwrap().extend(deliveries);
        answer
    }
}

impl Door for Taken {
    type Place = Taken;

    async fn reserve(&self) -> Result<Taken, GatewayGone> {
        Ok(self.clone())
    }
}

/// A hand-over whose questions the test answers.
struct Stand {
    handing: Handing,
    now: Duration,
    taken: Taken,
    read: Option<AskId>,
}

impl Stand {
    /// It has its position, and has asked for batches.
    fn new(settings: Settings) -> Stand {
        let now = Duration::from_secs(1_000);
        let gateways = Arc::new(Gateways::new(1));
        let handing = Handing::new(now, settings, 1, Receipts::new(0), gateways, None);
        let mut stand = Stand { handing, now, taken: Taken::default(), read: None };
        stand.ask();
        assert!(stand.read.is_some());
        stand
    }

    fn ask(&mut self) {
        assert_eq!(self.handing.ended(self.now), None);
        while let Some((id, ask)) = self.handing.reader.poll_ask(self.now) {
            match answered(&ask, FIRST) {
                Some(answer) => self.handing.reader.answer(self.now, id, answer),
                None => self.read = Some(id),
            }
        }
    }

    fn answer(&mut self, slice: Result<Slice, Refusal>) {
        let id = self.read.take().expect("batches are asked for");
        let answer = Answer::Read { throttle: Duration::ZERO, slices: vec![(0, slice)] };
        self.handing.reader.answer(self.now, id, answer);
        self.ask();
    }

    /// One handover; whether anything went.
    fn hand_over(&mut self) -> bool {
        let place = self.taken.clone();
        let went = self.handing.hand_over(self.now, place);
        if went {
            let deliveries = self.handing.answer();
            let matched = futures_util::FutureExt::now_or_never(deliveries).expect("it is answered at once").unwrap();
            self.handing.answered(matched);
        }
        went
    }
}

/// What a log of one partition says of itself; `None` of its batches.
fn answered(ask: &Ask, end: i64) -> Option<Answer> {
    match ask {
        Ask::Topology => {
            let leaders = vec![Some(Leader { source: 1, epoch: 1 })];
            Some(Answer::Topology(Topology { topic: TopicId([7; 16]), leaders }))
        }
        Ask::Edges { edge, .. } => {
            let offset = if *edge == Edge::Start { FIRST } else { end };
            Some(Answer::Edges(vec![(0, Ok(Place { offset, epoch: 1 }))]))
        }
        Ask::Read { .. } => None,
    }
}

fn sound(batches: Bytes, high_watermark: i64) -> Result<Slice, Refusal> {
    Ok(Slice { batches, high_watermark, log_start: 0 })
}

/// R9: of a short batch that inflates to many MiB of tiny broadcasts no more is read than is handed over, and what is
/// inflated is counted while it is there: nothing is read ahead then. When its log is cut off it is given up at once,
/// and reading goes on.
#[test]
fn r9_a_batch_is_read_as_it_is_handed_over() {
    const RECORDS: usize = 250_000;
    let plain_bytes = broadcasts(RECORDS, Codec::None).len();
    let batch = broadcasts(RECORDS, Codec::Gzip);
    assert!(batch.len() < 1 << 20 && plain_bytes > 4 << 20, "{} of {plain_bytes}", batch.len());
    let settings = Settings { memory_bytes: 4 << 20, ..Settings::default() };
    let mut stand = Stand::new(settings);
    stand.answer(sound(batch.clone(), FIRST + 250_000));
    for round in 1..=20 {
        assert!(stand.hand_over());
        assert_eq!(stand.taken.count(), round * HANDOVER_RECORDS_MAX);
        assert_eq!(stand.handing.counts().records, u64::try_from(round * HANDOVER_RECORDS_MAX).unwrap());
        let held = usize::try_from(stand.handing.counts().held_bytes).unwrap();
        assert!((plain_bytes - 100..plain_bytes + (4 << 20)).contains(&held), "{held} of {plain_bytes}");
    }
    let end = Place { offset: FIRST + 10, epoch: 1 };
    stand.answer(Err(Refusal::Diverging { end }));
    assert!(stand.handing.reader.memory_used() < plain_bytes);
    stand.now += Duration::from_secs(2);
    stand.ask();
    assert!(stand.read.is_some(), "it reads on");
}

/// R9: what is read to its end is not held any more, and nothing of it is doubled or left out.
#[test]
fn r9_a_batch_that_is_read_is_not_held() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        for records in [1, 2 * HANDOVER_RECORDS_MAX, 2 * HANDOVER_RECORDS_MAX + 1] {
            // Nothing is asked meanwhile, so that all that is held is of the batch.
            let mut stand = Stand::new(Settings::default());
            stand.answer(sound(broadcasts(records, codec), FIRST + i64::try_from(records).unwrap()));
            let asked = Stand::new(Settings::default()).handing.reader.memory_used();
            while stand.handing.has_work() {
                stand.hand_over();
            }
            assert_eq!((stand.taken.count(), stand.handing.reader.lag()), (records, 0), "{codec}");
            assert_eq!(stand.handing.reader.memory_used(), asked, "{codec}");
            assert_eq!(stand.handing.reader.done(0), Some(FIRST + i64::try_from(records).unwrap()));
        }
    }
}

/// R6: a batch that turns unreadable in the middle of a later handover is handed over up to there, once; at the second
/// look its rest is skipped.
#[test]
fn r6_a_batch_that_turns_unreadable_is_handed_over_up_to_there() {
    let good = HANDOVER_RECORDS_MAX + 44;
    let mut bad = broadcasts(good + 300, Codec::None).to_vec();
    // A length of -1.
    bad[broadcasts(good, Codec::None).len()] = 1;
    set_checksum(&mut bad);
    let (bad, end) = (Bytes::from(bad), FIRST + i64::try_from(good).unwrap() + 300);
    let mut stand = Stand::new(Settings::default());
    for look in 0..2 {
        stand.answer(sound(bad.clone(), end));
        while stand.handing.has_work() {
            stand.hand_over();
        }
        assert_eq!(stand.taken.count(), good);
        let stopped = if look == 0 { FIRST + i64::try_from(good).unwrap() } else { end };
        assert_eq!((stand.handing.reader.done(0), stand.handing.reader.counts().unreadable), (Some(stopped), look));
        stand.now += Duration::from_secs(2);
        // What was asked before that comes too late.
        stand.answer(sound(Bytes::new(), end));
    }
    assert_eq!(stand.handing.counts().records, u64::try_from(good).unwrap());
}

/// A log that names its partition, answers so many reads with a batch of one record, and then says nothing more.
struct Fading {
    answers: VecDeque<(AskId, Answer)>,
    reads: usize,
    forgotten: Arc<AtomicUsize>,
}

impl Fading {
    fn new(reads: usize) -> (Fading, Arc<AtomicUsize>) {
        let forgotten = Arc::new(AtomicUsize::new(0));
        (Fading { answers: VecDeque::new(), reads, forgotten: Arc::clone(&forgotten) }, forgotten)
    }
}

impl Log for Fading {
    fn ask(&mut self, id: AskId, ask: Ask) {
        if let Some(answer) = answered(&ask, FIRST + 1) {
            self.answers.push_back((id, answer));
        } else if self.reads > 0 {
            self.reads -= 1;
            let slices = vec![(0, sound(broadcasts(1, Codec::None), FIRST + 1))];
            self.answers.push_back((id, Answer::Read { throttle: Duration::ZERO, slices }));
        }
    }

    async fn answer(&mut self) -> (AskId, Answer) {
        match self.answers.pop_front() {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    fn forget(&mut self, _: i32, _: i64) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

fn wiring(settings: Settings, log_stats: &Arc<LogStats>) -> Wiring {
    Wiring {
        settings,
        seed: 1,
        clock: runtime_time,
        gateways: Arc::new(Gateways::new(1)),
        receipts: Receipts::new(0),
        interest: None,
        stats: Arc::new(Stats::default()),
        log_stats: Arc::clone(log_stats),
    }
}

/// A log that falls silent is seen to be silent when that is due, though nothing happens that would be news.
#[tokio::test(start_paused = true)]
async fn silence_of_the_log_is_shown_when_it_is_due() {
    let (log_stats, (log, _)) = (Arc::new(LogStats::default()), Fading::new(0));
    let consume = Consume::new(log, Taken::default(), wiring(Settings::default(), &log_stats));
    let running = tokio::spawn(consume.run(std::future::pending()));
    let mut status = log_stats.watch();
    status.wait_for(|status| status.is_started && status.not_ready.is_none()).await.unwrap();
    let silent = status.wait_for(|status| status.not_ready.is_some());
    let shown = tokio::time::timeout(Duration::from_secs(8), silent).await.expect("it is shown").unwrap().clone();
    let why = shown.not_ready.unwrap();
    assert!(why.starts_with("partition 0 of the log was not read for "), "{why}");
    running.abort();
}

/// A log that says that it forgets nothing is not told what is done with.
#[tokio::test(start_paused = true)]
async fn a_log_that_forgets_nothing_is_not_asked_to() {
    let (log_stats, (log, forgotten)) = (Arc::new(LogStats::default()), Fading::new(1));
    let settings = Settings { start: Edge::Start, ..Settings::default() };
    let taken = Taken::default();
    let consume = Consume::new(log, taken.clone(), wiring(settings, &log_stats));
    let ended = consume.run(std::future::ready(End::Drain(Duration::from_secs(60)))).await;
    assert_eq!((ended, taken.count()), (Ended { undelivered: 0, why: Why::Told }, 1));
    assert_eq!(forgotten.load(Ordering::SeqCst), 0);
}
