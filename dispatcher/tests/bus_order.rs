//! The way of a push over the bus: order, bounds, acks, the end. Nothing answered with success is lost, doubled
//! or reordered.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use halley_dispatcher::assemble::Settings;
use halley_dispatcher::bus::batch::{BatchReader, Batches, ReadLimits};
use halley_dispatcher::bus::embedded::{BusLimits, EmbeddedLog, RECORD_OVERHEAD_BYTES, bus};
use halley_dispatcher::bus::log::TopicId;
use halley_dispatcher::bus::log::{Answer, Ask, AskId, Edge, EdgeOf, Log as _, NO_EPOCH, Place, ReadFrom, Refusal};
use halley_dispatcher::bus::{Depth, Position, Producer as _, PublishError, Record};
use halley_dispatcher::consume::clock::runtime_time;
use halley_dispatcher::consume::handing::HANDOVER_RECORDS_MAX;
use halley_dispatcher::consume::reader::Settings as ReaderSettings;
use halley_dispatcher::consume::share::Gateways;
use halley_dispatcher::consume::stats::LogStats;
use halley_dispatcher::consume::{Consume, End, Ended, Why, Wiring};
use halley_dispatcher::ingress::PushError;
use halley_dispatcher::receipts::Receipts;
use halley_dispatcher::stats::Stats;
use halley_protocol::push::interest::Interest;
use halley_protocol::push::{Push, PushRecord, Target};
use support::{FakeDoor, FakeGateway, PATIENCE, Stand, message, room};

fn record(text: &'static str) -> Record {
    Record { key: Bytes::new(), value: Bytes::from(text) }
}

fn at(offset: i64) -> Position {
    Position { partition: 0, offset }
}

/// Reads the embedded log by hand.
struct Reading {
    log: EmbeddedLog,
    asked: u64,
    offset: i64,
}

impl Reading {
    fn new(log: EmbeddedLog, offset: i64) -> Reading {
        Reading { log, asked: 0, offset }
    }

    fn ask(&mut self, ask: Ask) {
        self.asked += 1;
        self.log.ask(AskId(self.asked), ask);
    }

    fn ask_from(&mut self, offset: i64, bytes_max: u32) {
        let place = Place { offset, epoch: NO_EPOCH };
        let from = vec![ReadFrom { partition: 0, place, leader_epoch: 0, bytes_max }];
        let wait = Duration::MAX;
        self.ask(Ask::Read { source: 0, topic: TopicId::default(), from, bytes_max, wait });
    }

    async fn answer(&mut self) -> Answer {
        let (id, answer) = tokio::time::timeout(PATIENCE, self.log.answer()).await.expect("it answers");
        assert_eq!(id, AskId(self.asked));
        answer
    }

    /// The next records: their offsets and values.
    async fn next(&mut self, bytes_max: u32) -> Vec<(i64, Bytes)> {
        self.ask_from(self.offset, bytes_max);
        let Answer::Read { mut slices, .. } = self.answer().await else { panic!("an answer to a read") };
        let slice = slices.remove(0).1.expect("the offset is there");
        let mut reader = BatchReader::new(ReadLimits::default());
        let mut records = Vec::new();
        for batch in Batches::new(slice.batches) {
            for record in reader.open(&batch).unwrap() {
                let record = record.unwrap();
                records.push((record.offset, Bytes::copy_from_slice(record.value.unwrap())));
            }
        }
        self.offset = records.last().expect("at least one").0 + 1;
        records
    }

    async fn edge(&mut self, edge: Edge) -> i64 {
        self.ask(Ask::Edges { source: 0, edge, partitions: vec![EdgeOf { partition: 0, leader_epoch: 0 }] });
        let Answer::Edges(edges) = self.answer().await else { panic!("an answer about edges") };
        edges[0].1.unwrap().offset
    }
}

/// The bounds hold over what is not done with, handed out or not.
#[tokio::test]
async fn the_bus_is_bounded_in_records_and_bytes() {
    let limits = BusLimits { records_max: 2, bytes_max: 3 * RECORD_OVERHEAD_BYTES };
    let (producer, log) = bus(limits, 100);
    let mut reading = Reading::new(log, 100);
    assert_eq!(producer.publish(vec![record("a")]).await, Ok(vec![at(100)]));
    assert_eq!(producer.publish(vec![record("bc")]).await, Ok(vec![at(101)]));
    assert_eq!(producer.publish(vec![record("d")]).await, Err(PublishError::Full));
    assert_eq!(producer.depth(), Depth { records: 2, bytes: 3 + 2 * RECORD_OVERHEAD_BYTES });
    assert_eq!(reading.next(1 << 20).await.len(), 2);
    assert_eq!(producer.publish(vec![record("d")]).await, Err(PublishError::Full), "handed out is not yet done with");
    reading.log.forget(0, 101);
    assert_eq!(producer.publish(vec![record("d")]).await, Ok(vec![at(102)]));

    let (producer, _log) = bus(BusLimits { records_max: 9, bytes_max: RECORD_OVERHEAD_BYTES + 4 }, 0);
    assert_eq!(producer.publish(vec![record("12345")]).await, Err(PublishError::Full));
    assert_eq!(producer.publish(vec![record("1234")]).await, Ok(vec![at(0)]));
}

#[tokio::test]
async fn a_closed_bus_takes_nothing_and_hands_out_the_rest() {
    let (producer, log) = bus(BusLimits::default(), 0);
    let mut reading = Reading::new(log, 0);
    producer.publish(vec![record("a")]).await.unwrap();
    producer.close();
    assert_eq!(producer.publish(vec![record("b")]).await, Err(PublishError::Closed));
    producer.closed().await;
    assert_eq!(reading.next(1).await, [(0, Bytes::from("a"))]);
    assert_eq!(reading.edge(Edge::End).await, 1, "there is nothing behind it");
    drop(reading);
    let (producer, log) = bus(BusLimits::default(), 0);
    drop(log);
    let refused = producer.publish(vec![record("a")]).await;
    assert_eq!(refused, Err(PublishError::Closed), "nobody would deliver it");
}

/// The embedded log answers as any log: a batch that holds the offset comes whole, then as many as fit; nothing is
/// answered before there is something; what is forgotten is out of range.
#[tokio::test]
async fn the_embedded_log_is_read_at_any_offset() {
    let (producer, log) = bus(BusLimits::default(), 10);
    let mut reading = Reading::new(log, 11);
    producer.publish(vec![record("a"), record("b"), record("c")]).await.unwrap();
    producer.publish(vec![record("d")]).await.unwrap();
    let offsets = |records: Vec<(i64, Bytes)>| records.into_iter().map(|(offset, _)| offset).collect::<Vec<_>>();
    assert_eq!(offsets(reading.next(1).await), [10, 11, 12], "one batch, whatever the bound");
    assert_eq!(offsets(reading.next(1).await), [13]);
    reading.offset = 10;
    assert_eq!(offsets(reading.next(1 << 20).await), [10, 11, 12, 13]);
    reading.ask_from(14, 1);
    assert!(futures_util::future::FutureExt::now_or_never(reading.log.answer()).is_none());
    producer.publish(vec![record("e")]).await.unwrap();
    let Answer::Read { slices, .. } = reading.answer().await else { panic!("an answer to a read") };
    assert_eq!(slices[0].1.as_ref().unwrap().high_watermark, 15);
    reading.log.forget(0, 12);
    assert_eq!(reading.edge(Edge::Start).await, 10, "a batch goes as a whole");
    reading.log.forget(0, 13);
    assert_eq!((reading.edge(Edge::Start).await, reading.edge(Edge::End).await), (13, 15));
    reading.ask_from(12, 1);
    let Answer::Read { slices, .. } = reading.answer().await else { panic!("an answer to a read") };
    assert_eq!(slices[0].1, Err(Refusal::OutOfRange));
}

/// Four producers on their own threads against one consumer, with a bus so small that it is full most of the time:
/// every record answered for arrives once, the records of each producer in order, offsets without gaps.
#[test]
fn the_bus_loses_and_reorders_nothing_under_concurrency() {
    const PRODUCERS: u32 = 4;
    const RECORDS: u32 = 5_000;
    let (producer, log) = bus(BusLimits { records_max: 7, ..BusLimits::default() }, 0);
    let mut reading = Reading::new(log, 0);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    std::thread::scope(|scope| {
        for number in 0..PRODUCERS {
            let producer = producer.clone();
            scope.spawn(move || {
                runtime().block_on(async {
                    for sequence in 0..RECORDS {
                        let value = Bytes::from([number.to_be_bytes(), sequence.to_be_bytes()].concat());
                        while let Err(error) =
                            producer.publish(vec![Record { key: Bytes::new(), value: value.clone() }]).await
                        {
                            assert_eq!(error, PublishError::Full);
                            std::thread::yield_now();
                        }
                    }
                });
            });
        }
        runtime().block_on(async {
            let mut next = [0u32; PRODUCERS as usize];
            let mut expected = 0;
            while expected < i64::from(PRODUCERS * RECORDS) {
                for (offset, value) in reading.next(300).await {
                    assert_eq!(offset, expected);
                    expected += 1;
                    let (number, sequence) = value.split_at(4);
                    let number = u32::from_be_bytes(number.try_into().unwrap()) as usize;
                    assert_eq!(u32::from_be_bytes(sequence.try_into().unwrap()), next[number]);
                    next[number] += 1;
                    reading.log.forget(0, expected);
                }
            }
            assert_eq!(next, [RECORDS; PRODUCERS as usize]);
        });
    });
}

/// J2, J3 and J9: goim's job loses most of a burst to one room, and has no order. Here 100,000 pushes to one room,
/// offered as fast as the ingress takes them with a bus of 64 records, all arrive, in order; a full bus only makes the
/// pusher wait.
#[tokio::test]
async fn j02_j03_j09_a_burst_to_one_room_is_neither_lost_nor_reordered() {
    const PUSHES: u32 = 100_000;
    let bus = BusLimits { records_max: 64, ..BusLimits::default() };
    let stand = Stand::with(Settings { bus, ..Settings::default() }, FakeGateway::new());
    let mut refused = 0u64;
    for number in 0..PUSHES {
        let body = Bytes::copy_from_slice(&number.to_be_bytes());
        let push = Push { target: room("live://1"), op: 1000, body };
        while let Err(error) = stand.ingress.push(push.clone()).await {
            assert_eq!(error, PushError::Full);
            refused += 1;
            tokio::task::yield_now().await;
        }
    }
    let delivered = stand.delivered().await;
    assert_eq!(delivered.len(), PUSHES as usize);
    for (number, delivery) in (0..PUSHES).zip(&delivered) {
        assert_eq!(message(delivery), Some(&number.to_be_bytes()[..]));
    }
    assert!(refused > 0, "the burst was meant to fill the bus");
    assert!(stand.gateway.largest_batch.load(Ordering::SeqCst) <= HANDOVER_RECORDS_MAX);
    assert_eq!(stand.ingress.stats().delivered_records(), u64::from(PUSHES));
}

/// J1: a record is acked when the gateway has accepted it, not before.
#[tokio::test]
async fn j01_nothing_is_acked_before_it_is_accepted() {
    let stand = Stand::with(Settings::default(), FakeGateway::stuck());
    stand.post("/goim/push/all?operation=1", "x").await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stand.ingress.bus().depth().records, 1);
    stand.gateway.may_deliver.add_permits(1);
    assert_eq!(stand.delivered().await.len(), 1);
}

/// J14: the end waits for what was answered with success, but only so long, and says what is left.
#[tokio::test(start_paused = true)]
async fn j14_the_end_is_bounded_and_reports_what_was_not_delivered() {
    let stand = Stand::with(Settings::default(), FakeGateway::stuck());
    for body in ["1", "2", "3"] {
        stand.post("/goim/push/all?operation=1", body).await;
    }
    stand.ingress.stop();
    let (ended, left) = stand.consumer.await.unwrap();
    assert_eq!((ended, left.map(|left| left.records)), (Ended { undelivered: 3, why: Why::OutOfTime }, Some(3)));
}

/// A gateway that goes away ends the consumer; from then on pushes are refused, not swallowed.
#[tokio::test]
async fn pushes_are_refused_once_the_gateway_is_gone() {
    let stand = Stand::with(Settings::default(), FakeGateway::new());
    stand.gateway.gone.store(true, Ordering::SeqCst);
    stand.post("/goim/push/all?operation=1", "1").await;
    let (ended, left) = stand.consumer.await.unwrap();
    assert_eq!((ended, left.map(|left| left.records)), (Ended { undelivered: 1, why: Why::GatewayGone }, Some(1)));
    let push = Push { target: Target::All { speed: 0 }, op: 1, body: Bytes::new() };
    assert_eq!(stand.ingress.push(push).await, Err(PushError::Stopping));
}

/// What a consumer is made by, beside its log and its door.
fn wiring(stats: &Arc<Stats>, log_stats: &Arc<LogStats>) -> Wiring {
    Wiring {
        interest: None,
        settings: ReaderSettings::embedded(),
        seed: 1,
        clock: runtime_time,
        gateways: Arc::new(Gateways::new(2)),
        receipts: Receipts::new(0),
        stats: stats.clone(),
        log_stats: log_stats.clone(),
    }
}

fn encoded(push: Push) -> Record {
    let right = PushRecord { push, server: "elsewhere".into(), receipt: 0 };
    Record { key: right.key().into(), value: right.encode() }
}

/// A record that is no push does not stop the ones behind it, and is counted; one with op 9 whose message is no batch
/// of frames is none either. `server` is not looked at (G1), and the speed is shared by the gateways (G2).
#[tokio::test]
async fn g1_g2_a_record_that_is_no_push_is_skipped() {
    let (producer, log) = bus(BusLimits::default(), 0);
    producer.publish(vec![record("\u{7f}\u{7f}")]).await.unwrap();
    let keys = Push { target: Target::Keys(vec!["k".into()]), op: 1000, body: Bytes::from("hi") };
    let all = Push { target: Target::All { speed: 10 }, op: 1000, body: Bytes::from("hi") };
    producer.publish(vec![encoded(Push { op: 9, ..keys.clone() }), encoded(keys.clone()), encoded(all)]).await.unwrap();
    producer.close();
    let (gateway, stats, log_stats) = (FakeGateway::new(), Arc::new(Stats::default()), Arc::new(LogStats::default()));
    let consume = Consume::new(log, FakeDoor(gateway.clone()), wiring(&stats, &log_stats));
    let ended = consume.run(std::future::ready(End::Drain(Duration::from_secs(60)))).await;
    assert_eq!(ended, Ended { undelivered: 0, why: Why::Told });
    let targets: Vec<Target> = gateway.take().into_iter().map(|delivery| delivery.target).collect();
    assert_eq!(targets, [keys.target, Target::All { speed: 5 }]);
    assert_eq!((log_stats.consumed().skipped, log_stats.consumed().records), (2, 4));
    assert_eq!(stats.delivered_records(), 2);
    assert_eq!(log_stats.partitions()[0].done, 4);
    assert!(log_stats.status().is_started && log_stats.status().not_ready.is_none());
}

/// A batch with more records than a handover takes goes in several, in order; nothing is doubled or left out.
#[tokio::test]
async fn a_batch_longer_than_a_handover_is_handed_over_in_parts() {
    let (producer, log) = bus(BusLimits::default(), 0);
    let count = 3 * HANDOVER_RECORDS_MAX + 1;
    let push = |number: usize| Push { target: room("live://1"), op: 1, body: Bytes::from(number.to_string()) };
    producer.publish((0..count).map(|number| encoded(push(number))).collect()).await.unwrap();
    producer.close();
    let (gateway, stats, log_stats) = (FakeGateway::new(), Arc::new(Stats::default()), Arc::new(LogStats::default()));
    let consume = Consume::new(log, FakeDoor(gateway.clone()), wiring(&stats, &log_stats));
    consume.run(std::future::ready(End::Drain(Duration::from_secs(60)))).await;
    assert_eq!((stats.delivered_batches(), producer.depth().records), (4, 0));
    let delivered = gateway.take();
    assert_eq!(delivered.len(), count);
    for (number, delivery) in delivered.iter().enumerate() {
        assert_eq!(message(delivery), Some(number.to_string().as_bytes()));
    }
}

/// Told to end at once, the consumer reads nothing more.
#[tokio::test]
async fn an_end_at_once_waits_for_nothing() {
    let (producer, log) = bus(BusLimits::default(), 0);
    producer.publish(vec![encoded(Push { target: room("live://1"), op: 1, body: Bytes::new() })]).await.unwrap();
    let (stats, log_stats) = (Arc::new(Stats::default()), Arc::new(LogStats::default()));
    let consume = Consume::new(log, FakeDoor(FakeGateway::stuck()), wiring(&stats, &log_stats));
    assert_eq!(consume.run(std::future::ready(End::Now)).await.why, Why::Told);
    assert_eq!(producer.depth().records, 1);
}

/// R10: what concerns nobody here goes no further, in its turn; broadcasts pass.
#[tokio::test]
async fn r10_records_for_nobody_here_are_filtered() {
    let (producer, log) = bus(BusLimits::default(), 0);
    let interest = Arc::new(Interest::new(1_000));
    interest.raise_room("live://1");
    let push = |target: Target| encoded(Push { target, op: 1, body: Bytes::new() });
    let targets = [room("live://2"), room("live://1"), Target::All { speed: 0 }, Target::Mids(vec![7])];
    producer.publish(targets.iter().cloned().map(push).collect()).await.unwrap();
    producer.publish(vec![push(room("live://3"))]).await.unwrap();
    producer.close();
    let (gateway, stats, log_stats) = (FakeGateway::new(), Arc::new(Stats::default()), Arc::new(LogStats::default()));
    let wiring = Wiring { interest: Some(interest), ..wiring(&stats, &log_stats) };
    let consume = Consume::new(log, FakeDoor(gateway.clone()), wiring);
    consume.run(std::future::ready(End::Drain(Duration::from_secs(60)))).await;
    let delivered: Vec<Target> = gateway.take().into_iter().map(|delivery| delivery.target).collect();
    assert_eq!(delivered, targets[1..3]);
    assert_eq!((log_stats.consumed().filtered, producer.depth().records), (3, 0));
}

/// S6: who logs in while his gateway is behind gets pushes older than his login: who is here counts when a record has
/// its turn, not when it was written or read.
#[tokio::test]
async fn s6_who_logs_in_while_the_gateway_is_behind_gets_what_waited() {
    let (producer, log) = bus(BusLimits::default(), 0);
    let interest = Arc::new(Interest::new(1_000));
    let push = |target: Target| encoded(Push { target, op: 1, body: Bytes::new() });
    let targets = [Target::All { speed: 0 }, room("live://1"), support::keys(&["k"]), Target::Mids(vec![7])];
    let (gateway, stats, log_stats) = (FakeGateway::stuck(), Arc::new(Stats::default()), Arc::new(LogStats::default()));
    let wiring = Wiring { interest: Some(interest.clone()), ..wiring(&stats, &log_stats) };
    let consume = Consume::new(log, FakeDoor(gateway.clone()), wiring);
    let (end, ended) = tokio::sync::oneshot::channel();
    let consumer = tokio::spawn(consume.run(async move { ended.await.unwrap() }));
    producer.publish(targets.iter().cloned().map(push).collect()).await.unwrap();
    // The gateway takes nothing: the records are read, and wait for it.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while log_stats.partitions().iter().all(|partition| partition.lag == 0) {
        assert!(tokio::time::Instant::now() < deadline, "the records are not read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    interest.raise_room("live://1");
    interest.raise_key("k");
    interest.raise_mid(7);
    gateway.may_deliver.add_permits(1);
    producer.close();
    end.send(End::Drain(PATIENCE)).unwrap();
    consumer.await.unwrap();
    let delivered: Vec<Target> = gateway.take().into_iter().map(|delivery| delivery.target).collect();
    assert_eq!(delivered, targets);
}
