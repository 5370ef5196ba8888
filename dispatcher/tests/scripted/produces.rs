//! The producer over a scripted broker: what is asked for, what each code comes to for the caller, answers that say
//! less than was asked or nothing, and the end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use halley_dispatcher::bus::batch::{BatchReader, Batches, Codec, Identity, ReadLimits};
use halley_dispatcher::bus::kafka::cluster::Cluster;
use halley_dispatcher::bus::kafka::produce::settings::Settings;
use halley_dispatcher::bus::kafka::producer::{KafkaProducer, producer};
use halley_dispatcher::bus::kafka::wire::api::{Api, Range};
use halley_dispatcher::bus::{Producer as _, PublishError, Record};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, ProducerId, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio::task::JoinHandle;

use crate::broker::{Broker, Reaction};
use crate::words::{Asked, versions_of};

fn record(key: &str, value: &str) -> Record {
    Record { key: Bytes::copy_from_slice(key.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
}

/// Give the id 41 and the next ones.
fn identify(asked: &Asked, given: &AtomicUsize) -> Reaction {
    let request: InitProducerIdRequest = asked.decode();
    assert_eq!((request.transactional_id, request.producer_id.0), (None, -1));
    let id = 41 + i64::try_from(given.fetch_add(1, Ordering::SeqCst)).unwrap();
    let answer = InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(3);
    Reaction::Answer(asked.answer(&answer))
}

/// Every partition of a request, answered with this code and offset.
fn produced(asked: &Asked, code: i16, base_offset: i64) -> ProduceResponse {
    let request: ProduceRequest = asked.decode();
    let partition = |index| {
        PartitionProduceResponse::default().with_index(index).with_error_code(code).with_base_offset(base_offset)
    };
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|data| partition(data.index)).collect();
        TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(partitions)
    });
    ProduceResponse::default().with_responses(topics.collect())
}

/// A broker that gives ids and does this with the n-th request to append, from 0.
async fn appending(react: impl Fn(&Asked, usize) -> Reaction + Send + Sync + 'static) -> Broker {
    let (ids, requests) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Broker::start(move |asked| match asked.api {
        Api::InitProducerId => Some(identify(asked, &ids)),
        Api::Produce => Some(react(asked, requests.fetch_add(1, Ordering::SeqCst))),
        _ => None,
    })
    .await
}

/// A producer of that broker's topic that gives up after three seconds, and its task.
fn producing(broker: &Broker) -> (KafkaProducer, JoinHandle<()>) {
    let settings = Settings {
        publish_timeout: Duration::from_secs(3),
        answer_timeout: Duration::from_secs(1),
        pause_first: Duration::from_millis(5),
        pause_max: Duration::from_millis(20),
        identity_interval: Duration::from_millis(20),
        ..Settings::default()
    };
    let (producer, driver) = producer(settings, Codec::None, Cluster::new(broker.settings()));
    (producer, tokio::spawn(driver.run()))
}

/// The topic is known as soon as one of its keys has a partition.
async fn known(producer: &KafkaProducer) {
    while producer.partition_of(b"key").is_err() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The batches of a request, by partition: under which name, and the values in them.
fn batches(asked: &Asked) -> Vec<(i32, Identity, Vec<String>)> {
    let request: ProduceRequest = asked.decode();
    let data = request.topic_data.into_iter().flat_map(|topic| topic.partition_data);
    let read = |partition: kafka_protocol::messages::produce_request::PartitionProduceData| {
        let batch = Batches::new(partition.records.expect("records")).next().expect("a batch");
        let mut reader = BatchReader::new(ReadLimits::default());
        let records = reader.open(&batch).expect("readable");
        let value = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let values = records.map(|it| value(it.expect("a record").value.expect("a value"))).collect();
        (partition.index, batch.header.identity, values)
    };
    data.map(read).collect()
}

/// What is written is what was handed in, by the topic's name, for all replicas, without a transaction, under the id
/// that the broker gave; in every version that a broker may have. The positions are those that it answers.
#[tokio::test]
async fn a_push_is_written_as_it_should_be() {
    for version in 9..=12 {
        let ids = AtomicUsize::new(0);
        let broker = Broker::start(move |asked| match asked.api {
            Api::ApiVersions => {
                let max = |api: Api| if api == Api::Produce { version } else { api.ours().max };
                Some(Reaction::Answer(asked.answer(&versions_of(|api| Some(Range { min: 0, max: max(api) })))))
            }
            Api::InitProducerId => Some(identify(asked, &ids)),
            Api::Produce => Some(Reaction::Answer(asked.answer(&produced(asked, 0, 700)))),
            _ => None,
        })
        .await;
        let (producer, _task) = producing(&broker);
        known(&producer).await;
        let positions = producer.publish(vec![record("a", "1"), record("a", "2")]).await.unwrap();
        let partition = producer.partition_of(b"a").unwrap();
        let found: Vec<(i32, i64)> = positions.iter().map(|at| (at.partition, at.offset)).collect();
        assert_eq!(found, [(partition, 700), (partition, 701)]);
        let asked = broker.asked(Api::Produce);
        assert_eq!((asked.len(), asked[0].1.version), (1, version));
        let request: ProduceRequest = asked[0].1.decode();
        assert_eq!((request.acks, request.transactional_id), (-1, None));
        assert_eq!(request.topic_data[0].name, TopicName(StrBytes::from_static_str("goim-push-topic")));
        let named = Identity { producer_id: 41, producer_epoch: 3, base_sequence: 0 };
        assert_eq!(batches(&asked[0].1), [(partition, named, vec!["1".to_owned(), "2".to_owned()])]);
        assert_eq!((producer.counts().records.get(), producer.depth().records), (2, 0));
    }
}

/// P1, over a socket: a code that refuses for certain is Unavailable or TooLarge; every other one, a connection that
/// breaks after the request, and silence are Unknown.
#[tokio::test]
async fn p1_every_code_comes_to_its_end() {
    let codes =
        [-1, 2, 3, 5, 6, 7, 10, 13, 17, 18, 19, 20, 29, 31, 32, 35, 45, 47, 56, 59, 74, 76, 87, 89, 90, 100, 999];
    // Each has a broker of its own, and most wait for the publish time-out: all at once.
    let ends = codes.map(|code| async move {
        let broker = appending(move |asked, _| Reaction::Answer(asked.answer(&produced(asked, code, -1)))).await;
        let (producer, _task) = producing(&broker);
        known(&producer).await;
        let end = producer.publish(vec![record("a", "1")]).await.unwrap_err();
        let as_told = match code {
            10 | 18 => matches!(end, PublishError::TooLarge { .. }),
            17 | 19 | 29 | 32 | 87 => matches!(end, PublishError::Unavailable(_)),
            _ => matches!(end, PublishError::Unknown(_)),
        };
        assert!(as_told, "{code}: {end:?}");
        let requests = broker.asked(Api::Produce).len();
        assert!(requests <= 700, "{code}: {requests} requests in 3 s with pauses of 5 to 20 ms");
    });
    futures_util::future::join_all(ends).await;
}

/// P1: silence, a connection that breaks and an answer that is cut leave doubt; the same batch is sent again and again,
/// byte for byte, until somebody says more.
#[tokio::test]
async fn p1_a_batch_in_doubt_is_sent_again_as_it_was() {
    let broker = appending(|asked, number| match number {
        0 => Reaction::Close,
        1 => Reaction::Last(asked.answer(&produced(asked, 0, 5)).slice(..9)),
        2 => Reaction::Answer(asked.answer(&ProduceResponse::default())),
        3 => Reaction::Answer(asked.answer(&produced(asked, 6, -1))),
        _ => Reaction::Answer(asked.answer(&produced(asked, 0, 9))),
    })
    .await;
    let (producer, _task) = producing(&broker);
    known(&producer).await;
    let positions = producer.publish(vec![record("a", "1")]).await.unwrap();
    assert_eq!(positions[0].offset, 9);
    let asked = broker.asked(Api::Produce);
    assert_eq!(asked.len(), 5);
    let records = |asked: &Asked| asked.decode::<ProduceRequest>().topic_data[0].partition_data[0].records.clone();
    assert!(asked.iter().all(|(_, one)| records(one) == records(&asked[0].1)));
    assert_eq!(producer.counts().retries.get(), 4);
}

/// P2 and P3, over a socket: after an unknown end the next push has another id and begins at 0; before that, sequences
/// go on.
#[tokio::test]
async fn p2_p3_after_an_unknown_end_there_is_another_id() {
    let broker = appending(|asked, number| match number {
        1 => Reaction::Answer(asked.answer(&produced(asked, 999, -1))),
        _ => Reaction::Answer(asked.answer(&produced(asked, 0, 9))),
    })
    .await;
    let (producer, _task) = producing(&broker);
    known(&producer).await;
    producer.publish(vec![record("a", "1")]).await.unwrap();
    assert!(matches!(producer.publish(vec![record("a", "2")]).await, Err(PublishError::Unknown(_))));
    producer.publish(vec![record("a", "3")]).await.unwrap();
    let names: Vec<(i64, i32)> = broker
        .asked(Api::Produce)
        .iter()
        .map(|(_, asked)| batches(asked)[0].1)
        .map(|name| (name.producer_id, name.base_sequence))
        .collect();
    assert_eq!(names, [(41, 0), (41, 1), (42, 0)]);
}

/// P5: pushes that come while a request is under way go together with the next one.
#[tokio::test]
async fn p5_pushes_that_wait_go_together() {
    let broker = appending(|asked, number| {
        let answer = asked.answer(&produced(asked, 0, 10));
        if number == 0 { Reaction::Late(Duration::from_millis(300), answer) } else { Reaction::Answer(answer) }
    })
    .await;
    let (producer, _task) = producing(&broker);
    known(&producer).await;
    let pushes = (0..50).map(|number| {
        let producer = producer.clone();
        tokio::spawn(async move { producer.publish(vec![record("a", &number.to_string())]).await })
    });
    for push in pushes.collect::<Vec<_>>() {
        push.await.unwrap().unwrap();
    }
    let carried: Vec<usize> = broker.asked(Api::Produce).iter().map(|(_, asked)| batches(asked)[0].2.len()).collect();
    assert_eq!(carried.iter().sum::<usize>(), 50);
    assert!(carried.len() <= 3, "{carried:?}");
}

/// Without a topic, a broker or an id nothing is accepted, and the caller hears why.
#[tokio::test]
async fn what_is_missing_is_said() {
    let broker = Broker::start(|asked| {
        let answer = InitProducerIdResponse::default().with_error_code(31).with_producer_id(ProducerId(-1));
        (asked.api == Api::InitProducerId).then(|| Reaction::Answer(asked.answer(&answer)))
    })
    .await;
    let (producer, _task) = producing(&broker);
    known(&producer).await;
    let Err(PublishError::Unavailable(why)) = producer.publish(vec![record("a", "1")]).await else { panic!() };
    assert!(why.contains("IDEMPOTENT_WRITE"), "{why}");

    let gone = appending(|_, _| Reaction::Close).await;
    let (producer, _task) = producing(&gone);
    gone.end().await;
    let Err(PublishError::Unavailable(why)) = producer.publish(vec![record("a", "1")]).await else { panic!() };
    assert!(!why.is_empty());
    assert!(matches!(producer.partition_of(b"a"), Err(PublishError::Unavailable(_))));
}

/// What was taken is published and answered after the close, nothing more is taken, and the task ends. A caller that
/// gave up changes nothing.
#[tokio::test]
async fn a_closed_producer_finishes_what_it_took() {
    let late = |asked: &Asked, _| Reaction::Late(Duration::from_millis(200), asked.answer(&produced(asked, 0, 3)));
    let broker = appending(late).await;
    let (producer, task) = producing(&broker);
    known(&producer).await;
    let given_up = tokio::time::timeout(Duration::from_millis(20), producer.publish(vec![record("a", "1")])).await;
    assert!(given_up.is_err(), "it takes longer");
    let taken = {
        let producer = producer.clone();
        tokio::spawn(async move { producer.publish(vec![record("a", "2")]).await })
    };
    while producer.depth().records < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    producer.close();
    assert_eq!(producer.publish(vec![record("a", "3")]).await, Err(PublishError::Closed));
    taken.await.unwrap().unwrap();
    task.await.unwrap();
    let values: Vec<String> =
        broker.asked(Api::Produce).iter().flat_map(|(_, asked)| batches(asked)[0].2.clone()).collect();
    assert_eq!(values, ["1", "2"]);
}
