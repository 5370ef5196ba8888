//! Our client against real brokers: every version of every request, the log as a reader asks it, every way to be let in
//! and to be refused, and what the check says.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use halley_dispatcher::bus::batch::{BatchReader, Batches, ReadLimits};
use halley_dispatcher::bus::kafka::check::{Line, Needs, Verdict, check};
use halley_dispatcher::bus::kafka::log::KafkaLog;
use halley_dispatcher::bus::kafka::settings::{Mechanism, Sasl, Settings, Tls};
use halley_dispatcher::bus::kafka::wire::answer::{self, Response};
use halley_dispatcher::bus::kafka::wire::api::Api;
use halley_dispatcher::bus::log::{
    Answer, Ask, AskId, Edge, EdgeOf, Log as _, NO_EPOCH, Place, ReadFrom, Refusal, TopicId, Topology,
};
use halley_service::config::value::text::Secret;
use serde_json::json;
use uuid::Uuid;

use crate::brokers::{GUEST, Listener, Record, Setup, VERSIONS};
use crate::doors::certificates;
use crate::requests;

fn settings(addresses: &[SocketAddr], topic: &str) -> Settings {
    let brokers = addresses.iter().map(SocketAddr::to_string).collect();
    Settings { topic: topic.to_owned(), ..Settings::new(brokers) }
}

/// One frame there, one back.
fn exchange(broker: &mut TcpStream, frame: &[u8]) -> Bytes {
    broker.write_all(frame).expect("written");
    let mut length = [0; 4];
    broker.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    broker.read_exact(&mut answer).expect("all of it");
    answer.into()
}

/// Brokers of both versions take every request in every version that we speak, and we read every answer.
#[test]
fn every_version_is_understood() {
    for version in VERSIONS {
        let brokers = Setup::new(1).version(version).sasl().start();
        brokers.create_topic(requests::TOPIC, 1, &json!({}));
        let mut broker = TcpStream::connect(brokers.addresses(Listener::Sasl)[0]).expect("it listens");
        let mut topic = Uuid::nil();
        let mut spoken = Vec::new();
        for (api, api_version) in requests::order() {
            // The older one does not know the last versions, and would close the connection.
            let known = spoken.iter().find(|(one, _)| *one == api.key()).is_none_or(|(_, max)| api_version <= *max);
            if !known {
                assert_eq!(version, "3.9.1", "the newest knows all of ours");
                continue;
            }
            let request = requests::frame(api, api_version, topic);
            let mut answer = exchange(&mut broker, &request);
            // A broker that just started has no producer ids yet.
            while api == Api::InitProducerId && answer[9..11] == [0, 14] {
                answer = exchange(&mut broker, &request);
            }
            let expect = format!("{api:?} {api_version} of {version}");
            let (good, codes) = match answer::decode(api, api_version, answer).expect(&expect) {
                Response::ApiVersions(answer) => {
                    spoken = answer.api_keys.iter().map(|one| (one.api_key, one.max_version)).collect();
                    (true, vec![answer.error_code])
                }
                Response::SaslHandshake(answer) => (true, vec![answer.error_code]),
                Response::SaslAuthenticate(answer) => (true, vec![answer.error_code]),
                Response::Metadata(answer) => {
                    topic = answer.topics[0].topic_id;
                    (!topic.is_nil(), vec![answer.topics[0].error_code])
                }
                Response::InitProducerId(answer) => (answer.producer_id.0 >= 0, vec![answer.error_code]),
                Response::Produce(answer) => {
                    let partition = &answer.responses[0].partition_responses[0];
                    (partition.base_offset >= 0, vec![partition.error_code])
                }
                Response::ListOffsets(answer) => {
                    let partition = &answer.topics[0].partitions[0];
                    (partition.offset >= 3 && partition.leader_epoch >= 0, vec![partition.error_code])
                }
                Response::Fetch(answer) => {
                    let partition = &answer.responses[0].partitions[0];
                    let records = partition.records.clone().unwrap_or_default();
                    (Batches::new(records).next().is_some(), vec![answer.error_code, partition.error_code])
                }
                Response::DescribeConfigs(answer) => {
                    let config = answer.results[0].configs[0].value.as_deref() == Some("delete");
                    (config, vec![answer.results[0].error_code])
                }
            };
            assert!(good && codes.iter().all(|code| *code == 0), "{expect}: {codes:?}");
        }
        // What is not ours to speak stays so: the list is that of the answer.
        assert!(spoken.iter().any(|(key, _)| *key == Api::Fetch.key()));
    }
}

/// A log, and how questions are put to it.
struct Reader {
    log: KafkaLog,
    asked: u64,
}

impl Reader {
    fn new(settings: Settings) -> Reader {
        Reader { log: KafkaLog::new(settings), asked: 0 }
    }

    async fn ask(&mut self, ask: Ask) -> Answer {
        self.asked += 1;
        self.log.ask(AskId(self.asked), ask);
        let (id, answer) = self.log.answer().await;
        assert_eq!(id, AskId(self.asked));
        answer
    }

    async fn topology(&mut self) -> Topology {
        match self.ask(Ask::Topology).await {
            Answer::Topology(topology) => topology,
            other => panic!("{other:?}"),
        }
    }

    async fn trouble(&mut self) -> String {
        match self.ask(Ask::Topology).await {
            Answer::Failed(trouble) => trouble.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// One partition of a read.
    async fn read(&mut self, topic: TopicId, from: ReadFrom, source: i32) -> Result<Bytes, Refusal> {
        let wait = Duration::from_millis(500);
        let ask = Ask::Read { source, topic, from: vec![from], bytes_max: 1 << 20, wait };
        match self.ask(ask).await {
            Answer::Read { mut slices, .. } => slices.remove(0).1.map(|slice| slice.batches),
            other => panic!("{other:?}"),
        }
    }
}

/// What batches hold, as librdkafka would say it.
fn records(batches: Bytes) -> Vec<Record> {
    let mut reader = BatchReader::new(ReadLimits::default());
    let mut records = Vec::new();
    for batch in Batches::new(batches) {
        for record in reader.open(&batch).expect("a good batch") {
            let record = record.expect("a good record");
            records.push(Record {
                offset: record.offset,
                timestamp: record.timestamp_ms.expect("a time"),
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
            });
        }
    }
    records
}

/// The log as a reader asks it: topology, both ends, records to the byte, and each refusal that a broker gives.
#[tokio::test]
async fn the_log_is_read() {
    for version in VERSIONS {
        let brokers = Setup::new(1).version(version).start();
        brokers.create_topic("read", 2, &json!({}));
        let written: Vec<Record> = (0..100).map(|n| Record::new(format!("k{n}"), vec![b'v'; n])).collect();
        brokers.produce("read", 1, &written, &json!({}), None);
        brokers.delete_records("read", 1, 10);
        let mut reader = Reader::new(settings(&brokers.addresses(Listener::Plaintext), "read"));
        let topology = reader.topology().await;
        let leader = topology.leaders[1].expect("it was waited for");
        for (edge, offset) in [(Edge::Start, 10), (Edge::End, 100)] {
            let of = EdgeOf { partition: 1, leader_epoch: leader.epoch };
            let ask = Ask::Edges { source: leader.source, edge, partitions: vec![of] };
            let place = Place { offset, epoch: leader.epoch };
            assert_eq!(reader.ask(ask).await, Answer::Edges(vec![(1, Ok(place))]), "{version}");
        }
        let from = |offset, epoch, leader_epoch| ReadFrom {
            partition: 1,
            place: Place { offset, epoch },
            leader_epoch,
            bytes_max: 1 << 20,
        };
        let good = from(10, leader.epoch, leader.epoch);
        let batches = reader.read(topology.topic, good, leader.source).await.expect("records");
        let ours: Vec<Record> = records(batches).into_iter().filter(|record| record.offset >= 10).collect();
        assert_eq!(ours, brokers.consume("read", 1, 10, Some(100)), "{version}");
        let refusals = [
            (from(1_000, NO_EPOCH, leader.epoch), Refusal::OutOfRange),
            (from(5, NO_EPOCH, leader.epoch), Refusal::OutOfRange),
            (from(10, NO_EPOCH, leader.epoch + 7), Refusal::UnknownEpoch),
            // An epoch that the leader never had: there is nothing to compare.
            (from(100, leader.epoch + 7, leader.epoch), Refusal::OutOfRange),
        ];
        for (from, expected) in refusals {
            assert_eq!(reader.read(topology.topic, from, leader.source).await, Err(expected), "{version}");
        }
        assert_eq!(reader.read(TopicId([9; 16]), good, leader.source).await, Err(Refusal::UnknownTopic), "{version}");
        brokers.delete_topic("read");
        brokers.create_topic("read", 1, &json!({}));
        let anew = reader.topology().await;
        assert!(anew.topic != topology.topic && anew.leaders.len() == 1, "{version}: another topic of the same name");
        let missing = Reader::new(settings(&brokers.addresses(Listener::Plaintext), "none")).trouble().await;
        assert!(missing.starts_with("there is no topic none; create it: kafka-topics.sh "), "{missing}");
    }
}

/// After the leader was killed the topology names another one with a newer epoch, and everything can be read from it.
#[tokio::test]
async fn a_leader_that_dies_is_followed() {
    let brokers = Setup::new(3).start();
    brokers.create_topic("led", 1, &json!({}));
    let written: Vec<Record> = (0..10).map(|n| Record::new("k", format!("{n}"))).collect();
    brokers.produce("led", 0, &written, &json!({}), None);
    let mut reader = Reader::new(settings(&brokers.addresses(Listener::Plaintext), "led"));
    let topology = reader.topology().await;
    let before = topology.leaders[0].expect("it was waited for");
    let from = |leader_epoch| ReadFrom {
        partition: 0,
        place: Place { offset: 0, epoch: NO_EPOCH },
        leader_epoch,
        bytes_max: 1 << 20,
    };
    reader.read(topology.topic, from(before.epoch), before.source).await.expect("records");
    brokers.kill(before.source);
    let after = loop {
        match reader.ask(Ask::Topology).await {
            Answer::Topology(topology) => match topology.leaders[0] {
                Some(leader) if leader.source != before.source => break leader,
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            },
            other => panic!("two brokers are left: {other:?}"),
        }
    };
    assert!(after.epoch > before.epoch);
    // A new leader may be named before it knows that it leads, and learns only from its followers how far it may be
    // read.
    let batches = loop {
        match reader.read(topology.topic, from(after.epoch), after.source).await {
            Ok(read) if !read.is_empty() => break read,
            Ok(_) | Err(Refusal::UnknownEpoch | Refusal::NotLeader { .. } | Refusal::NotYet) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(other) => panic!("it leads: {other:?}"),
        }
    };
    assert_eq!(records(batches), brokers.consume("led", 0, 0, Some(10)));
    let stale = reader.read(topology.topic, from(before.epoch), after.source).await;
    assert_eq!(stale, Err(Refusal::FencedEpoch));
}

fn tls(folder: &Path, ca: &str) -> Option<Tls> {
    Some(Tls { ca: folder.join(ca), identity: None })
}

fn sasl(mechanism: Mechanism, user: &str, password: &str) -> Option<Sasl> {
    Some(Sasl { mechanism, user: user.to_owned(), password: Secret(password.to_owned()) })
}

/// Who comes to the wrong listener, or with the wrong file, is told what to look at.
#[tokio::test]
async fn wrong_listeners_are_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let folder = folder.path();
    let brokers = Setup::new(1).sasl().tls(folder).start();
    brokers.create_topic("let-in", 1, &json!({}));
    let quick = Duration::from_secs(5);
    let at = |listener| Settings { connect_timeout: quick, ..settings(&brokers.addresses(listener), "let-in") };
    let guest = sasl(Mechanism::Plain, GUEST.0, GUEST.1);
    let cases = [
        (Settings { sasl: guest, ..at(Listener::Sasl) }, "DESCRIBE of topic let-in is not allowed to us; allow it: "),
        (at(Listener::Sasl), "does this listener expect TLS or a log-in?"),
        (at(Listener::Tls), "is TLS on at both ends?"),
        (Settings { tls: tls(folder, "ca.pem"), ..at(Listener::Plaintext) }, "TLS does not come about"),
        (Settings { tls: tls(folder, "stranger.pem"), ..at(Listener::Tls) }, "TLS does not come about"),
        (Settings { tls: tls(folder, "none.pem"), ..at(Listener::Tls) }, "none.pem cannot be read"),
    ];
    for (case, expected) in cases {
        let trouble = Reader::new(case).trouble().await;
        assert!(trouble.contains(expected), "{trouble:?} has {expected:?}");
        assert!(!trouble.contains(GUEST.1), "{trouble}");
    }
}

/// The lines of one verdict.
fn verdicts(lines: &[Line], verdict: Verdict) -> Vec<&str> {
    lines.iter().filter(|line| line.verdict == verdict).map(|line| line.text.as_str()).collect()
}

/// G5: the check says of a good topic that it is good, and of a bad one each thing that is bad.
#[tokio::test]
async fn g5_the_check_says_what_is_wrong() {
    let brokers = Setup::new(3).sasl().start();
    let needs = Needs { catchup_max: Some(Duration::from_secs(60)), reads: true };
    let good = json!({ "min.insync.replicas": "2", "retention.ms": "3600000", "cleanup.policy": "delete" });
    brokers.create_topic("good", 3, &good);
    let at = |topic: &str| settings(&brokers.addresses(Listener::Plaintext), topic);
    let lines = check(at("good"), needs).await;
    assert!(lines.iter().all(|line| line.verdict == Verdict::Fine), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.text.contains("answers where it says it is")).count(), 3, "{lines:#?}");
    assert!(lines.iter().any(|line| line.text == "topic good may be used: DESCRIBE, READ, WRITE"), "{lines:#?}");

    let bad = json!({ "min.insync.replicas": "1", "retention.ms": "60000", "cleanup.policy": "compact" });
    brokers.create_topic("bad", 1, &bad);
    let lines = check(at("bad"), needs).await;
    let errors = verdicts(&lines, Verdict::Error);
    assert_eq!(errors.len(), 2, "{lines:#?}");
    assert!(errors[0].starts_with("topic bad has cleanup.policy compact"), "{lines:#?}");
    assert!(errors[1].starts_with("topic bad has retention.ms 60000"), "{lines:#?}");
    let warnings = verdicts(&lines, Verdict::Warning);
    assert!(warnings.len() == 1 && warnings[0].starts_with("topic bad has min.insync.replicas 1"), "{lines:#?}");

    let lines = check(at("missing"), needs).await;
    let errors = verdicts(&lines, Verdict::Error);
    assert!(errors.len() == 1 && errors[0].starts_with("there is no topic missing; create it: "), "{lines:#?}");

    let guest = sasl(Mechanism::Plain, GUEST.0, GUEST.1);
    let lines = check(Settings { sasl: guest, ..settings(&brokers.addresses(Listener::Sasl), "good") }, needs).await;
    let errors = verdicts(&lines, Verdict::Error);
    assert!(errors.len() == 1 && errors[0].contains("--allow-principal User:guest"), "{lines:#?}");

    let dead = brokers.leader("good", 0).expect("it was waited for");
    let address = brokers.addresses(Listener::Plaintext)[usize::try_from(dead - 1).expect("from 1")];
    brokers.kill(dead);
    let lines = check(at("good"), needs).await;
    let dead = format!("the broker at {address} cannot be reached at {address}");
    assert!(verdicts(&lines, Verdict::Error).iter().any(|error| error.starts_with(&dead)), "{lines:#?}");
}
