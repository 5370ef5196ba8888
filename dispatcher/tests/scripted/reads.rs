//! The log seam over a scripted broker: what is asked for, every error code, hints, throttling, and answers that say
//! more or less than was asked.

use std::time::Duration;

use bytes::Bytes;
use halley_dispatcher::bus::kafka::codes::CODES;
use halley_dispatcher::bus::kafka::log::KafkaLog;
use halley_dispatcher::bus::kafka::settings::Settings;
use halley_dispatcher::bus::kafka::wire::api::{Api, Range};
use halley_dispatcher::bus::log::{
    Answer, Ask, AskId, Edge, EdgeOf, Leader, Log as _, Place, ReadFrom, Refusal, Slice, TopicId, Trouble,
};
use kafka_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::broker::{Broker, Reaction};
use crate::words::{TOPIC, versions_of};

const ID: TopicId = TopicId(*TOPIC.as_bytes());

/// A log whose topology was asked for.
async fn log(settings: Settings) -> KafkaLog {
    let mut log = KafkaLog::new(settings);
    let Answer::Topology(_) = answer(&mut log, Ask::Topology).await else { panic!("a topology") };
    log
}

async fn answer(log: &mut KafkaLog, ask: Ask) -> Answer {
    log.ask(AskId(4), ask);
    let (id, answer) = log.answer().await;
    assert_eq!(id, AskId(4));
    answer
}

fn from(partition: i32, offset: i64) -> ReadFrom {
    ReadFrom { partition, place: Place { offset, epoch: 4 }, leader_epoch: 5, bytes_max: 1000 }
}

fn read() -> Ask {
    let from = vec![from(0, 10), from(1, 20)];
    Ask::Read { source: 1, topic: ID, from, bytes_max: 5000, wait: Duration::from_millis(20) }
}

fn edges() -> Ask {
    let of = |partition| EdgeOf { partition, leader_epoch: 5 };
    Ask::Edges { source: 1, edge: Edge::End, partitions: vec![of(0), of(1)] }
}

fn partition(index: i32, code: i16) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_error_code(code)
        .with_high_watermark(30)
        .with_log_start_offset(3)
        .with_records(Some(Bytes::from_static(b"batches")))
}

fn fetched(id: Uuid, partitions: Vec<PartitionData>) -> FetchResponse {
    let topic = FetchableTopicResponse::default().with_topic_id(id).with_partitions(partitions);
    FetchResponse::default().with_responses(vec![topic])
}

/// A broker that answers every read with this.
async fn reading(answer: FetchResponse) -> Broker {
    Broker::start(move |asked| (asked.api == Api::Fetch).then(|| Reaction::Answer(asked.answer(&answer)))).await
}

fn whole() -> Slice {
    Slice { batches: Bytes::from_static(b"batches"), high_watermark: 30, log_start: 3 }
}

/// A read asks without session, uncommitted, for one byte at least, with the epochs of leader and position; in every
/// version that a broker may have.
#[tokio::test]
async fn a_read_asks_for_what_it_should() {
    for version in 13..=17 {
        let broker = Broker::start(move |asked| match asked.api {
            Api::ApiVersions => {
                let max = |api: Api| if api == Api::Fetch { version } else { api.ours().max };
                let versions = versions_of(|api| Some(Range { min: 0, max: max(api) }));
                Some(Reaction::Answer(asked.answer(&versions)))
            }
            Api::Fetch => {
                let answer = fetched(TOPIC, vec![partition(0, 0), partition(1, 0)]).with_throttle_time_ms(7);
                Some(Reaction::Answer(asked.answer(&answer)))
            }
            _ => None,
        })
        .await;
        let mut log = log(broker.settings()).await;
        let expected =
            Answer::Read { throttle: Duration::from_millis(7), slices: vec![(0, Ok(whole())), (1, Ok(whole()))] };
        assert_eq!(answer(&mut log, read()).await, expected);
        let (number, asked) = broker.asked(Api::Fetch).remove(0);
        assert_ne!(number, broker.asked(Api::Metadata)[0].0, "a read has a connection of its own");
        assert_eq!(asked.version, version);
        let request = asked.decode::<FetchRequest>();
        assert_eq!((request.max_wait_ms, request.min_bytes, request.max_bytes), (20, 1, 5000));
        assert_eq!((request.isolation_level, request.session_id, request.session_epoch), (0, 0, -1));
        assert_eq!(request.topics[0].topic_id, TOPIC);
        let places = request.topics[0].partitions.iter().map(|one| {
            (one.partition, one.fetch_offset, one.current_leader_epoch, one.last_fetched_epoch, one.partition_max_bytes)
        });
        assert_eq!(places.collect::<Vec<_>>(), [(0, 10, 5, 4, 1000), (1, 20, 5, 4, 1000)]);
    }
}

/// Every error code of one partition is a refusal of that partition alone; a missing right is said with what to do.
#[tokio::test]
async fn every_code_refuses_one_partition() {
    for code in CODES.iter().map(|known| known.code).chain([i16::MIN, 4711, i16::MAX]).filter(|&code| code != 0) {
        let broker = reading(fetched(TOPIC, vec![partition(0, code), partition(1, 0)])).await;
        let mut log = log(broker.settings()).await;
        match answer(&mut log, read()).await {
            Answer::Read { slices, .. } => {
                assert!(matches!(slices[0], (0, Err(_))), "{code}");
                assert_eq!(slices[1], (1, Ok(whole())), "{code}");
            }
            Answer::Failed(Trouble::Denied(text)) => {
                assert_eq!(code, 29);
                assert!(text.starts_with("READ of topic goim-push-topic is not allowed to us; allow it: "), "{text}");
            }
            other => panic!("{code}: {other:?}"),
        }
    }
}

/// A code of the whole answer is no answer.
#[tokio::test]
async fn a_code_of_the_whole_answer_fails() {
    let broker = reading(FetchResponse::default().with_error_code(4711)).await;
    let mut log = log(broker.settings()).await;
    let at = broker.address;
    let expected = format!("broker 1 ({at}) refuses to be read: error code 4711");
    assert_eq!(answer(&mut log, read()).await, Answer::Failed(Trouble::Refused(expected.into())));
}

/// A diverging epoch is told with where it ends (rule R4).
#[tokio::test]
async fn a_diverging_epoch_is_told() {
    let end = EpochEndOffset::default().with_epoch(3).with_end_offset(15);
    let broker = reading(fetched(TOPIC, vec![partition(0, 0).with_diverging_epoch(end)])).await;
    let mut log = log(broker.settings()).await;
    let Answer::Read { slices, .. } = answer(&mut log, read()).await else { panic!("an answer") };
    let end = Place { offset: 15, epoch: 3 };
    assert_eq!(slices, [(0, Err(Refusal::Diverging { end }))], "and the other one was not answered for");
}

/// Who leads instead is handed on, and believed with its address (KIP-951).
#[tokio::test]
async fn who_leads_instead_is_believed() {
    let leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(2)).with_leader_epoch(6);
    let node = NodeEndpoint::default()
        .with_node_id(BrokerId(2))
        .with_host(StrBytes::from_static_str("kafka-2"))
        .with_port(9092);
    let moved = fetched(TOPIC, vec![partition(0, 6).with_current_leader(leader), partition(1, 6)]);
    let broker = reading(moved.with_node_endpoints(vec![node])).await;
    let mut log = log(broker.settings()).await;
    let Answer::Read { slices, .. } = answer(&mut log, read()).await else { panic!("an answer") };
    let now = Some(Leader { source: 2, epoch: 6 });
    assert_eq!(slices, [(0, Err(Refusal::NotLeader { now })), (1, Err(Refusal::NotLeader { now: None }))]);
    assert_eq!(log.cluster().leader_of(0), now);
    assert_eq!(log.cluster().name_of(2), "broker 2 (kafka-2:9092)");
}

/// What was not asked for, or comes twice, is left out.
#[tokio::test]
async fn what_was_not_asked_for_is_left_out() {
    let other = FetchableTopicResponse::default().with_partitions(vec![partition(1, 0)]);
    let mut more = fetched(TOPIC, vec![partition(7, 0), partition(0, 0), partition(0, 1), partition(-1, 0)]);
    more.responses.push(other);
    let broker = reading(more).await;
    let mut log = log(broker.settings()).await;
    let Answer::Read { slices, .. } = answer(&mut log, read()).await else { panic!("an answer") };
    assert_eq!(slices, [(0, Ok(whole()))]);
}

/// The ends of partitions come with the epoch of the answer (rule R3); a refusal or an offset that is none is that.
#[tokio::test]
async fn edges_have_the_epoch_of_the_answer() {
    let broker = Broker::start(|asked| {
        let partition = |index, code, offset| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(index)
                .with_error_code(code)
                .with_offset(offset)
                .with_leader_epoch(3)
        };
        let topic = ListOffsetsTopicResponse::default().with_partitions(vec![
            partition(0, 0, 44),
            partition(1, 74, -1),
            partition(2, 0, 1),
        ]);
        let answer = ListOffsetsResponse::default().with_topics(vec![topic]);
        (asked.api == Api::ListOffsets).then(|| Reaction::Answer(asked.answer(&answer)))
    })
    .await;
    let mut log = log(broker.settings()).await;
    let place = Place { offset: 44, epoch: 3 };
    let expected = Answer::Edges(vec![(0, Ok(place)), (1, Err(Refusal::FencedEpoch))]);
    assert_eq!(answer(&mut log, edges()).await, expected);
    let request = broker.asked(Api::ListOffsets)[0].1.decode::<ListOffsetsRequest>();
    assert_eq!((request.replica_id, request.isolation_level), (BrokerId(-1), 0));
    let asked =
        request.topics[0].partitions.iter().map(|one| (one.partition_index, one.current_leader_epoch, one.timestamp));
    assert_eq!(asked.collect::<Vec<_>>(), [(0, 5, -1), (1, 5, -1)]);
}

/// Every question is answered once: of a broker that is silent, cuts, breaks off, or is nobody.
#[tokio::test]
async fn every_question_is_answered_once() {
    let whole = |asked: &crate::words::Asked| asked.answer(&fetched(TOPIC, Vec::new()));
    for (fault, expected) in ["silent", "cut", "close", "doubled"].into_iter().zip(["late", "gone", "gone", "read"]) {
        let broker = Broker::start(move |asked| {
            (asked.api == Api::Fetch).then(|| match fault {
                "silent" => Reaction::Silence,
                "cut" => Reaction::Last(whole(asked).slice(..10)),
                "close" => Reaction::Close,
                _ => Reaction::Answer([whole(asked), whole(asked)].concat().into()),
            })
        })
        .await;
        let settings = Settings { request_timeout: Duration::from_millis(300), ..broker.settings() };
        let mut log = log(settings).await;
        let kind = match answer(&mut log, read()).await {
            Answer::Failed(Trouble::TimedOut(_)) => "late",
            Answer::Failed(Trouble::Unreachable(_)) => "gone",
            Answer::Read { .. } => "read",
            other => panic!("{other:?}"),
        };
        assert_eq!(kind, expected, "{fault}");
        let Answer::Topology(_) = answer(&mut log, Ask::Topology).await else {
            panic!("{fault}: other questions go on")
        };
    }
    let broker = Broker::start(|_| None).await;
    let mut log = log(broker.settings()).await;
    let elsewhere = Ask::Edges { source: 9, edge: Edge::Start, partitions: Vec::new() };
    let nobody = "broker 9 is not one of the cluster, as far as the cluster says";
    assert_eq!(answer(&mut log, elsewhere).await, Answer::Failed(Trouble::Unreachable(nobody.into())));
}

/// A broker that is late, but not too late, is waited for; a dropped wait loses nothing.
#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let broker = Broker::start(|asked| {
        let answer = || asked.answer(&fetched(TOPIC, vec![partition(0, 0)]));
        (asked.api == Api::Fetch).then(|| Reaction::Late(Duration::from_millis(100), answer()))
    })
    .await;
    let mut log = log(broker.settings()).await;
    log.ask(AskId(8), read());
    for _ in 0..3 {
        tokio::select! {
            biased;
            _ = log.answer() => panic!("not yet"),
            () = tokio::task::yield_now() => {}
        }
    }
    let (id, answer) = log.answer().await;
    assert!(matches!((id, answer), (AskId(8), Answer::Read { .. })));
    assert_eq!(broker.asked(Api::Fetch).len(), 1);
}
