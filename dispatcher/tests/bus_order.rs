//! The way of a push over the bus: order, bounds, acks, the end. Nothing answered with success is lost, doubled
//! or reordered.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use halley_dispatcher::assemble::Settings;
use halley_dispatcher::bus::embedded::{BusLimits, RECORD_OVERHEAD_BYTES, bus};
use halley_dispatcher::bus::{Consumer as _, Depth, Position, Producer as _, PublishError, Record};
use halley_dispatcher::consume::{BATCH_RECORDS_MAX, Consume};
use halley_dispatcher::ingress::PushError;
use halley_dispatcher::receipts::Receipts;
use halley_dispatcher::route::Route;
use halley_dispatcher::stats::Stats;
use halley_protocol::push::{Push, PushRecord, Target};
use support::{FakeGateway, Stand, message, room};

fn record(text: &'static str) -> Record {
    Record { key: Bytes::new(), value: Bytes::from(text) }
}

fn at(offset: i64) -> Position {
    Position { partition: 0, offset }
}

#[tokio::test]
async fn the_bus_is_bounded_in_records_and_bytes() {
    let limits = BusLimits { records_max: 2, bytes_max: 3 * RECORD_OVERHEAD_BYTES };
    let (producer, mut consumer) = bus(limits, 100);
    assert_eq!(producer.publish(vec![record("a")]).await, Ok(vec![at(100)]));
    assert_eq!(producer.publish(vec![record("bc")]).await, Ok(vec![at(101)]));
    assert_eq!(producer.publish(vec![record("d")]).await, Err(PublishError::Full));
    assert_eq!(producer.depth(), Depth { records: 2, bytes: 3 + 2 * RECORD_OVERHEAD_BYTES });
    assert_eq!(consumer.next_batch(9).await.unwrap().len(), 2);
    assert_eq!(producer.publish(vec![record("d")]).await, Err(PublishError::Full), "handed out is not yet done with");
    consumer.ack(at(100));
    assert_eq!(producer.publish(vec![record("d")]).await, Ok(vec![at(102)]));

    let (producer, _consumer) = bus(BusLimits { records_max: 9, bytes_max: RECORD_OVERHEAD_BYTES + 4 }, 0);
    assert_eq!(producer.publish(vec![record("12345")]).await, Err(PublishError::Full));
    assert_eq!(producer.publish(vec![record("1234")]).await, Ok(vec![at(0)]));
}

#[tokio::test]
async fn a_closed_bus_takes_nothing_and_hands_out_the_rest() {
    let (producer, mut consumer) = bus(BusLimits::default(), 0);
    producer.publish(vec![record("a")]).await.unwrap();
    producer.close();
    assert_eq!(producer.publish(vec![record("b")]).await, Err(PublishError::Closed));
    consumer.closed().await;
    assert_eq!(consumer.next_batch(1).await.unwrap()[0].record, record("a"));
    assert_eq!(consumer.next_batch(1).await, None);
    drop(consumer);
    let (producer, consumer) = bus(BusLimits::default(), 0);
    drop(consumer);
    let refused = producer.publish(vec![record("a")]).await;
    assert_eq!(refused, Err(PublishError::Closed), "nobody would deliver it");
}

/// Four producers on their own threads against one consumer, with a bus so small that it is full most of the time:
/// every record answered for arrives once, the records of each producer in order, offsets without gaps.
#[test]
fn the_bus_loses_and_reorders_nothing_under_concurrency() {
    const PRODUCERS: u32 = 4;
    const RECORDS: u32 = 5_000;
    let (producer, mut consumer) = bus(BusLimits { records_max: 7, ..BusLimits::default() }, 0);
    let block_on = |future| tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
    std::thread::scope(|scope| {
        for number in 0..PRODUCERS {
            let producer = producer.clone();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
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
        block_on(async {
            let mut next = [0u32; PRODUCERS as usize];
            let mut offset = 0;
            while offset < i64::from(PRODUCERS * RECORDS) {
                for stored in consumer.next_batch(3).await.unwrap() {
                    assert_eq!(stored.position, at(offset));
                    offset += 1;
                    let (number, sequence) = stored.record.value.split_at(4);
                    let number = u32::from_be_bytes(number.try_into().unwrap()) as usize;
                    assert_eq!(u32::from_be_bytes(sequence.try_into().unwrap()), next[number]);
                    next[number] += 1;
                    consumer.ack(stored.position);
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
    assert!(stand.gateway.largest_batch.load(Ordering::SeqCst) <= BATCH_RECORDS_MAX);
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
    let drained = stand.consumer.await.unwrap();
    assert_eq!((drained.undelivered.records, drained.gateway_gone), (3, false));
}

/// A gateway that goes away ends the consumer; from then on pushes are refused, not swallowed.
#[tokio::test]
async fn pushes_are_refused_once_the_gateway_is_gone() {
    let stand = Stand::with(Settings::default(), FakeGateway::new());
    stand.gateway.gone.store(true, Ordering::SeqCst);
    stand.post("/goim/push/all?operation=1", "1").await;
    let drained = stand.consumer.await.unwrap();
    assert_eq!((drained.undelivered.records, drained.gateway_gone), (1, true));
    let push = Push { target: Target::All { speed: 0 }, op: 1, body: Bytes::new() };
    assert_eq!(stand.ingress.push(push).await, Err(PushError::Stopping));
}

/// A record that is no push does not stop the ones behind it, and is counted.
#[tokio::test]
async fn a_record_that_is_no_push_is_skipped() {
    let (producer, consumer) = bus(BusLimits::default(), 0);
    producer.publish(vec![record("\u{7f}\u{7f}")]).await.unwrap();
    let push = Push { target: room("live://1"), op: 1000, body: Bytes::from("hi") };
    let right = PushRecord { push, server: String::new(), receipt: 0 };
    producer.publish(vec![Record { key: right.key().into(), value: right.encode() }]).await.unwrap();
    producer.close();
    let (gateway, stats) = (FakeGateway::new(), Arc::new(Stats::default()));
    let consume = Consume::new(consumer, Route::new(vec![gateway.clone()]), Receipts::new(0), stats.clone());
    assert_eq!(consume.run(Duration::from_secs(1)).await.undelivered, Depth::default());
    assert_eq!(gateway.take().len(), 1);
    assert_eq!((stats.skipped_records(), stats.delivered_records()), (1, 1));
}
