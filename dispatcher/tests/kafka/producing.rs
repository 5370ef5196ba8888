//! What ours writes, librdkafka reads: once, in order and where ours said, while leaders die and come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halley_dispatcher::bus::batch::Codec;
use halley_dispatcher::bus::kafka::cluster::Cluster;
use halley_dispatcher::bus::kafka::produce::settings::Settings as ProduceSettings;
use halley_dispatcher::bus::kafka::producer::{KafkaProducer, producer};
use halley_dispatcher::bus::kafka::settings::Settings;
use halley_dispatcher::bus::{Position, Producer as _, PublishError, Record as Pushed};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::brokers::{Brokers, Setup, VERSIONS};

const TOPIC: &str = "pushes";
const PARTITIONS: u32 = 4;
const KEYS: usize = 24;
const PUSHES: usize = 40;

/// How the pushes of one key ended, in their order.
type Ends = Vec<(String, Result<Vec<Position>, PublishError>)>;

async fn push_one_key(producer: KafkaProducer, key: String) -> (String, Ends) {
    let mut ends = Vec::new();
    for number in 0..PUSHES {
        let value = format!("{key}/{number}");
        let record =
            Pushed { key: Bytes::copy_from_slice(key.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) };
        ends.push((value, producer.publish(vec![record]).await));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (key, ends)
}

/// Whoever leads a partition dies and comes back, twice, while every key is pushed to.
fn kill_leaders(brokers: &Brokers) {
    for partition in 0..2 {
        std::thread::sleep(Duration::from_millis(700));
        let leader = brokers.leader(TOPIC, partition).expect("it was waited for");
        brokers.kill(leader);
        std::thread::sleep(Duration::from_millis(700));
        brokers.run(leader);
        brokers.wait_ready();
    }
}

/// P1 to P3 on real brokers: every acked push is in the log once, at its place, in the order of its key; what was
/// refused is not there; what is unknown is there once at most.
async fn write_while_leaders_die(version: &'static str, codec: Codec) {
    let brokers = Arc::new(Setup::new(3).version(version).start());
    brokers.create_topic(TOPIC, PARTITIONS, &json!({ "min.insync.replicas": "2" }));
    let settings = Settings { topic: TOPIC.to_owned(), ..Settings::new(brokers.bootstrap()) };
    let (producer, driver) = producer(ProduceSettings::default(), codec, Cluster::new(settings));
    let task = tokio::spawn(driver.run());
    while producer.partition_of(b"key").is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let keys = (0..KEYS).map(|key| tokio::spawn(push_one_key(producer.clone(), format!("key-{key}"))));
    let keys: Vec<_> = keys.collect();
    let killed = Arc::clone(&brokers);
    spawn_blocking(move || kill_leaders(&killed)).await.expect("no panic");
    let mut ends = HashMap::new();
    for key in keys {
        let (key, of_key) = key.await.expect("no panic");
        ends.insert(key, of_key);
    }
    producer.close();
    task.await.expect("no panic");
    let (acked, retried) = (producer.counts().records.get(), producer.counts().retries.get());
    println!("{version}: {acked} of {} acked, {retried} batches sent again", KEYS * PUSHES);
    assert!(acked > 0, "{version}");
    judge(&brokers, &ends, version);
}

fn judge(brokers: &Brokers, ends: &HashMap<String, Ends>, version: &str) {
    let mut found: HashMap<String, Vec<(Position, String)>> = HashMap::new();
    for partition in 0..i32::try_from(PARTITIONS).expect("few") {
        for record in brokers.consume(TOPIC, partition, 0, None) {
            let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.expect("it has one")).expect("text");
            assert!(record.timestamp > 1_600_000_000_000, "{version}: a record has its time");
            let at = Position { partition, offset: record.offset };
            found.entry(text(record.key)).or_default().push((at, text(record.value)));
        }
    }
    for (key, ends) in ends {
        let found = found.remove(key).unwrap_or_default();
        let mut order = Vec::new();
        for (value, end) in ends {
            let places: Vec<Position> = found.iter().filter(|(_, it)| it == value).map(|(at, _)| *at).collect();
            match end {
                Ok(said) => {
                    assert_eq!(&places, said, "{version}: {value}");
                    order.push(places[0].offset);
                }
                Err(PublishError::Unknown(_)) => assert!(places.len() <= 1, "{version}: {value} at {places:?}"),
                Err(refused) => assert!(places.is_empty(), "{version}: {value} was {refused:?} and is at {places:?}"),
            }
        }
        assert!(order.is_sorted(), "{version}: {key} in order: {order:?}");
    }
    assert!(found.is_empty(), "{version}: nobody else wrote");
}

/// The oldest version.
#[tokio::test]
async fn the_oldest_version_holds_what_was_acked_once_and_in_order() {
    write_while_leaders_die(VERSIONS[0], Codec::Lz4).await;
}

/// The newest.
#[tokio::test]
async fn the_newest_version_holds_what_was_acked_once_and_in_order() {
    write_while_leaders_die(VERSIONS[1], Codec::None).await;
}
