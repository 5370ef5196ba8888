//! What ours writes librdkafka reads, to the byte, where ours was told that it is: with every codec, into the partition
//! that goim's partitioner gives, once each though the leader dies in between.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use halley_dispatcher::bus::batch::Codec;
use halley_dispatcher::bus::kafka::cluster::Cluster;
use halley_dispatcher::bus::kafka::produce::settings::Settings;
use halley_dispatcher::bus::kafka::producer::{KafkaProducer, producer};
use halley_dispatcher::bus::kafka::settings as client;
use halley_dispatcher::bus::{Position, Producer as _, PublishError, Record};
use serde_json::json;

use crate::brokers::{Brokers, Setup, VERSIONS};

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const PARTITIONS: u32 = 3;

/// A producer of this topic; what drives it ends with the test.
async fn start(brokers: &Brokers, topic: &str, codec: Codec) -> KafkaProducer {
    let client = client::Settings { topic: topic.to_owned(), ..client::Settings::new(brokers.bootstrap()) };
    let (producer, driver) = producer(Settings::default(), codec, Cluster::new(client));
    tokio::spawn(driver.run());
    let known = async {
        while producer.partition_of(b"").is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), known).await.expect("the topic is there");
    producer
}

fn record(number: usize) -> Record {
    let value: Vec<u8> = (0..number * 37 % 3000).map(|at| (number * at / 7).to_le_bytes()[0]).collect();
    Record { key: format!("key-{}", number % 40).into_bytes().into(), value: value.into() }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    i64::try_from(since.as_millis()).expect("not so late")
}

/// Every record with every codec, and nothing else.
#[tokio::test]
async fn what_is_written_is_read_by_others() {
    for version in VERSIONS {
        let brokers = Setup::new(1).version(version).start();
        for codec in CODECS {
            let topic = format!("written-{codec}");
            brokers.create_topic(&topic, PARTITIONS, &json!({}));
            let producer = start(&brokers, &topic, codec).await;
            let began = now_ms();
            let all = (0..400).map(|number| {
                let producer = producer.clone();
                async move { producer.publish(vec![record(number)]).await.map(|positions| positions[0]) }
            });
            let mut expected = BTreeMap::new();
            for (number, position) in join_all(all).await.into_iter().enumerate() {
                let position: Position = position.unwrap_or_else(|error| panic!("{codec}: {error:?}"));
                let Record { key, value } = record(number);
                assert_eq!(producer.partition_of(&key), Ok(position.partition));
                let before = expected.insert((position.partition, position.offset), (key.to_vec(), value.to_vec()));
                assert_eq!(before, None, "each has a place of its own");
            }
            let ended = now_ms();
            let mut read = BTreeMap::new();
            for partition in 0..i32::try_from(PARTITIONS).expect("few") {
                for record in brokers.consume(&topic, partition, 0, None) {
                    assert!((began..=ended).contains(&record.timestamp), "it bears the time of its push");
                    let (key, value) = (record.key.expect("a key"), record.value.expect("a value"));
                    read.insert((partition, record.offset), (key, value));
                }
            }
            assert!(read == expected, "{version}, {codec}: {} read, {} written", read.len(), expected.len());
            producer.close();
        }
    }
}

/// Under load the leader of each partition dies in turn: what was acked is there once, in order, where it was said to
/// be; what was refused is not there; what is in doubt at most once.
#[tokio::test]
async fn a_leader_that_dies_doubles_and_loses_nothing() {
    let brokers = std::sync::Arc::new(Setup::new(3).start());
    brokers.create_topic("survives", PARTITIONS, &json!({ "min.insync.replicas": "2" }));
    let producer = start(&brokers, "survives", Codec::Lz4).await;
    let killer = {
        let brokers = brokers.clone();
        tokio::task::spawn_blocking(move || {
            for partition in 0..2 {
                std::thread::sleep(Duration::from_secs(1));
                let leader = brokers.leader("survives", partition).expect("it has one");
                brokers.kill(leader);
                std::thread::sleep(Duration::from_secs(6));
                brokers.run(leader);
                brokers.wait_ready();
                std::thread::sleep(Duration::from_secs(4));
            }
        })
    };
    let mut pushes = tokio::task::JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let mut number = 0;
    while !killer.is_finished() {
        tick.tick().await;
        let producer = producer.clone();
        pushes.spawn(async move {
            let record = Record { key: format!("key-{}", number % 9).into(), value: number.to_string().into() };
            (number, producer.publish(vec![record]).await.map(|positions| positions[0]))
        });
        number += 1;
    }
    killer.await.expect("the killer ends");
    let ends: BTreeMap<i32, Result<Position, PublishError>> = pushes.join_all().await.into_iter().collect();
    let mut read: BTreeMap<i32, Vec<Position>> = BTreeMap::new();
    for partition in 0..i32::try_from(PARTITIONS).expect("few") {
        for record in brokers.consume("survives", partition, 0, None) {
            let value = String::from_utf8(record.value.expect("a value")).expect("text");
            let position = Position { partition, offset: record.offset };
            read.entry(value.parse().expect("a number")).or_default().push(position);
        }
    }
    let acked = ends.values().filter(|end| end.is_ok()).count();
    assert!(acked > 1000, "most are taken: {acked} of {}", ends.len());
    for (number, end) in &ends {
        let found = read.get(number).map_or(&[][..], Vec::as_slice);
        match end {
            Ok(position) => assert_eq!(found, [*position], "{number} was acked"),
            Err(PublishError::Unknown(_)) => assert!(found.len() <= 1, "{number} is in doubt: {found:?}"),
            Err(error) => assert_eq!(found, [], "{number} was refused: {error:?}"),
        }
    }
}
