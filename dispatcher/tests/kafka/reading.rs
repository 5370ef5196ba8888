//! What ours reads of a topic is what librdkafka reads of it, to the byte, however the records came there: compressed
//! by any codec, in a transaction that was aborted, compacted, deleted below, with the broker's own time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use halley_dispatcher::bus::kafka::settings::Settings;
use halley_dispatcher::consume::reader::Event;
use halley_dispatcher::gateways::GapReason;
use serde_json::{Value, json};

use crate::brokers::{Brokers, Record, Setup, VERSIONS};
use crate::ours::Ours;

/// The codecs, as librdkafka names them.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// One version with all that is done to its topics.
#[tokio::test]
async fn the_oldest_version_is_read_as_librdkafka_reads_it() {
    read_everything(VERSIONS[0]).await;
}

/// The same with the newest.
#[tokio::test]
async fn the_newest_version_is_read_as_librdkafka_reads_it() {
    read_everything(VERSIONS[1]).await;
}

async fn read_everything(version: &'static str) {
    let brokers = Setup::new(1).version(version).start();
    codecs(&brokers).await;
    times(&brokers).await;
    transactions(&brokers).await;
    compaction(&brokers).await;
    deletion(&brokers).await;
    recreation(&brokers).await;
}

fn settings(brokers: &Brokers, topic: &str) -> Settings {
    Settings { topic: topic.to_owned(), ..Settings::new(brokers.bootstrap()) }
}

/// Reads a whole partition both ways and compares; what was read.
async fn same(brokers: &Brokers, topic: &str) -> (Ours, Vec<Record>) {
    let mut ours = Ours::new(settings(brokers, topic));
    let (_, end) = brokers.edges(topic, 0);
    ours.read_up_to(&[(0, end)]).await;
    let theirs = brokers.consume(topic, 0, 0, None);
    let read = ours.records.remove(&0).unwrap_or_default();
    for (ours, theirs) in read.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{topic}");
    }
    assert_eq!(read.len(), theirs.len(), "{topic}");
    (ours, read)
}

/// Bytes that compress a little, differ from record to record, and are some 0 and some 100,000 long.
fn value(seed: u64) -> Vec<u8> {
    let length = usize::try_from(seed * 7919 % 400).expect("small") * if seed.is_multiple_of(50) { 250 } else { 1 };
    let byte = |at: usize| (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (at % 57)).to_le_bytes()[0] & 0x3f;
    (0..length).map(byte).collect()
}

fn records(from: u64, to: u64) -> Vec<Record> {
    let record = |seed: u64| Record {
        timestamp: 1_700_000_000_000 + i64::try_from(seed * 3 % 17).expect("small"),
        key: (!seed.is_multiple_of(5)).then(|| format!("key-{}", seed % 7).into_bytes()),
        value: (!seed.is_multiple_of(11)).then(|| value(seed)),
        ..Record::default()
    };
    (from..to).map(record).collect()
}

async fn codecs(brokers: &Brokers) {
    for codec in CODECS {
        let topic = format!("codec-{codec}");
        brokers.create_topic(&topic, 1, &json!({}));
        for (linger_ms, from, to) in [(200, 0, 300), (0, 300, 310)] {
            let config = json!({ "compression.type": codec, "linger.ms": linger_ms, "message.max.bytes": 2_000_000 });
            brokers.produce(&topic, 0, &records(from, to), &config, None);
        }
        let (ours, read) = same(brokers, &topic).await;
        assert_eq!(read.len(), 310, "{codec}");
        assert!(ours.gaps.is_empty() && ours.counts().unreadable == 0, "{codec}: {:?}", ours.events);
    }
}

/// The broker's time is that of every record, whatever the producer said.
async fn times(brokers: &Brokers) {
    brokers.create_topic("times", 1, &json!({ "message.timestamp.type": "LogAppendTime" }));
    brokers.produce("times", 0, &records(0, 50), &json!({ "linger.ms": 100, "compression.type": "lz4" }), None);
    let (_, read) = same(brokers, "times").await;
    assert!(read.iter().all(|record| record.timestamp > 1_750_000_000_000), "the broker's own: {:?}", read[0]);
}

/// Aborted records are read as others are; the marks of transactions are no records, and nothing waits for one that
/// hangs.
async fn transactions(brokers: &Brokers) {
    brokers.create_topic("transactions", 1, &json!({}));
    for (end, from) in [("commit", 0), ("abort", 20), ("commit", 40), ("hang", 60)] {
        brokers.produce("transactions", 0, &records(from, from + 20), &json!({ "linger.ms": 50 }), Some(end));
    }
    brokers.produce("transactions", 0, &records(80, 90), &json!({}), None);
    let (ours, read) = same(brokers, "transactions").await;
    assert_eq!(read.len(), 90);
    assert_eq!(ours.counts().control, 3, "the marks of two commits and an abort");
    assert!(ours.gaps.is_empty(), "{:?}", ours.gaps);
}

/// A batch of which nothing is left but its producer's number is stepped over, and missing offsets close nobody.
async fn compaction(brokers: &Brokers) {
    let config = json!({
        "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001",
        "min.compaction.lag.ms": "0", "delete.retention.ms": "0",
    });
    brokers.create_topic("compacted", 1, &config);
    // A batch of its own for each producer: only the last one of a producer is kept when it is empty.
    brokers.produce(
        "compacted",
        0,
        &[Record::new("a", "1"), Record::new("b", "1")],
        &json!({ "linger.ms": 100 }),
        None,
    );
    brokers.produce("compacted", 0, &[Record::new("a", "2")], &json!({}), None);
    brokers.produce("compacted", 0, &[Record::new("a", "3")], &json!({}), None);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        // The newest segment is not cleaned; a record closes it.
        std::thread::sleep(Duration::from_millis(300));
        brokers.produce("compacted", 0, &[Record::new("c", "1")], &json!({}), None);
        let left: BTreeSet<i64> = brokers.consume("compacted", 0, 0, None).iter().map(|record| record.offset).collect();
        if left.contains(&1) && left.is_disjoint(&BTreeSet::from([0, 2])) {
            break;
        }
        assert!(Instant::now() < deadline, "the cleaner has not run: {left:?}");
    }
    let (ours, read) = same(brokers, "compacted").await;
    assert_eq!((read[0].offset, read[0].key.as_deref()), (1, Some(&b"b"[..])));
    assert!(ours.counts().missing >= 2, "offsets without a record are counted");
    assert!(ours.gaps.is_empty(), "and are no gap: {:?}", ours.gaps);
}

/// Records that are deleted while a reader is behind are a gap, once, with its offsets.
async fn deletion(brokers: &Brokers) {
    brokers.create_topic("deleted", 1, &json!({}));
    brokers.produce("deleted", 0, &records(0, 100), &json!({ "linger.ms": 50 }), None);
    let mut ours = Ours::new(settings(brokers, "deleted"));
    ours.read_up_to(&[(0, 100)]).await;
    // Its read that is under way may still bring the first of these, each of which is a batch; then it asks nothing.
    let apart = json!({ "linger.ms": 0, "batch.num.messages": 1 });
    brokers.produce("deleted", 0, &records(100, 200), &apart, None);
    brokers.delete_records("deleted", 0, 150);
    ours.read_up_to(&[(0, 200)]).await;
    let theirs = brokers.consume("deleted", 0, 150, None);
    let read = &ours.records[&0];
    assert!(read.ends_with(&theirs), "after the gap it is read on where records are");
    let read: BTreeSet<i64> = read.iter().map(|record| record.offset).collect();
    let missed: BTreeSet<i64> = (0..200).filter(|offset| !read.contains(offset)).collect();
    let [gap] = &ours.gaps[..] else { panic!("one gap: {:?}", ours.gaps) };
    assert_eq!(gap.why, GapReason::Retention);
    let named: BTreeSet<i64> = gap.partitions.iter().flat_map(|(_, offsets)| offsets.clone()).collect();
    assert_eq!(named, missed, "the gap names what was not read, and nothing else");
    let (fresh, read) = {
        let mut fresh = Ours::new(settings(brokers, "deleted"));
        fresh.read_up_to(&[(0, 200)]).await;
        let read = fresh.records.remove(&0).unwrap_or_default();
        (fresh, read)
    };
    assert_eq!(read, theirs);
    assert!(fresh.gaps.is_empty(), "who begins has missed nothing: {:?}", fresh.gaps);
}

/// A topic of the same name that was made anew is read from its beginning, and the old one's rest is a gap.
async fn recreation(brokers: &Brokers) {
    brokers.create_topic("again", 1, &json!({}));
    brokers.produce("again", 0, &records(0, 30), &json!({}), None);
    let mut ours = Ours::new(settings(brokers, "again"));
    ours.read_up_to(&[(0, 30)]).await;
    let old = ours.records.remove(&0).expect("thirty records");
    assert_eq!(old, brokers.consume("again", 0, 0, None));
    brokers.delete_topic("again");
    brokers.create_topic("again", 1, &Value::Null);
    brokers.produce("again", 0, &records(1000, 1010), &json!({}), None);
    ours.read_until("the new topic", |ours| ours.records.get(&0).is_some_and(|read| read.len() == 10)).await;
    assert_eq!(ours.records[&0], brokers.consume("again", 0, 0, None));
    assert_eq!(ours.gaps.iter().map(|gap| gap.why).collect::<Vec<_>>(), [GapReason::NewTopic]);
    assert!(ours.events.contains(&Event::NewTopic), "{:?}", ours.events);
}
