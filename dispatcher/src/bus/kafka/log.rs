//! The log seam over a cluster. Owns turning questions into requests and answers back, partition by partition; decides
//! nothing about positions. Every question is answered once: the requests under it are bounded in time. Batches share
//! the receive buffer. Next step on the way in: [`crate::consume`].

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::cluster::{Class, Cluster};
use super::codes::{self, Code};
use super::error::{ErrorKind, RequestError};
use super::settings::Settings;
use super::wire::answer::Response;
use super::wire::request::Request;
use crate::bus::log::{
    Answer, Ask, AskId, Edge, EdgeOf, Leader, Log, NO_EPOCH, Place, ReadFrom, Refusal, Slice, Source, TopicId, Trouble,
};

/// Who is no replica reads as far as the high watermark.
const NO_REPLICA: BrokerId = BrokerId(-1);
/// Timestamps that mean the ends of a partition.
const TIMESTAMP_START: i64 = -2;
const TIMESTAMP_END: i64 = -1;
/// The number of a read that keeps no session at the broker.
const NO_SESSION_EPOCH: i32 = -1;

type Answering = Pin<Box<dyn Future<Output = (AskId, Answer)> + Send>>;

/// The topic as its brokers keep it. Used by one task.
pub struct KafkaLog {
    cluster: Cluster,
    answering: FuturesUnordered<Answering>,
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").field("answering", &self.answering.len()).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// A log that nothing was asked of yet.
    pub fn new(settings: Settings) -> KafkaLog {
        KafkaLog { cluster: Cluster::new(settings), answering: FuturesUnordered::new() }
    }

    /// The cluster below, for questions that are none of a reader.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

impl Log for KafkaLog {
    fn ask(&mut self, id: AskId, ask: Ask) {
        let cluster = self.cluster.clone();
        self.answering.push(Box::pin(async move {
            let answer = match ask {
                Ask::Topology => cluster.refresh().await.map(Answer::Topology),
                Ask::Edges { source, edge, partitions } => edges(&cluster, source, edge, &partitions).await,
                Ask::Read { source, topic, from, bytes_max, wait } => {
                    read(&cluster, source, topic, &from, bytes_max, wait).await
                }
            };
            (id, answer.unwrap_or_else(Answer::Failed))
        }));
    }

    async fn answer(&mut self) -> (AskId, Answer) {
        match self.answering.next().await {
            Some(answer) => answer,
            // Nothing was asked, so nothing is answered.
            None => std::future::pending().await,
        }
    }
}

/// A request without answer, as readers are told it.
fn trouble(error: RequestError) -> Trouble {
    match error.kind {
        ErrorKind::Unreachable | ErrorKind::Broken | ErrorKind::Busy => Trouble::Unreachable(error.text),
        ErrorKind::TimedOut => Trouble::TimedOut(error.text),
        ErrorKind::Denied => Trouble::Denied(error.text),
        ErrorKind::Unsuited => Trouble::Refused(error.text),
    }
}

/// A code of one partition, as readers are told it; `None` where it is no error.
fn refusal(code: i16, now: Option<Leader>) -> Option<Refusal> {
    Some(match code {
        codes::NONE => return None,
        codes::OFFSET_OUT_OF_RANGE => Refusal::OutOfRange,
        codes::CORRUPT_MESSAGE => Refusal::Corrupt,
        codes::UNKNOWN_TOPIC_OR_PARTITION | codes::UNKNOWN_TOPIC_ID | codes::INCONSISTENT_TOPIC_ID => {
            Refusal::UnknownTopic
        }
        codes::TOPIC_AUTHORIZATION_FAILED => Refusal::Denied,
        codes::FENCED_LEADER_EPOCH => Refusal::FencedEpoch,
        codes::UNKNOWN_LEADER_EPOCH => Refusal::UnknownEpoch,
        code => match codes::action(code) {
            codes::Action::Refresh => Refusal::NotLeader { now },
            codes::Action::Retry => Refusal::NotYet,
            _ => Refusal::Code(code),
        },
    })
}

/// The same right is needed for all partitions: where one is refused for it, that is said once, with what to do.
fn denied<T>(cluster: &Cluster, answers: &[(i32, Result<T, Refusal>)]) -> Result<(), Trouble> {
    let denied = answers.iter().any(|(_, answer)| matches!(answer, Err(Refusal::Denied)));
    if denied { Err(Trouble::Denied(cluster.not_allowed("READ").into())) } else { Ok(()) }
}

fn unexpected(cluster: &Cluster, source: Source) -> Trouble {
    Trouble::Refused(format!("{} answered to something else", cluster.name_of(source)).into())
}

async fn edges(cluster: &Cluster, source: Source, edge: Edge, partitions: &[EdgeOf]) -> Result<Answer, Trouble> {
    let timestamp = match edge {
        Edge::Start => TIMESTAMP_START,
        Edge::End => TIMESTAMP_END,
    };
    let wanted = partitions.iter().map(|of| {
        ListOffsetsPartition::default()
            .with_partition_index(of.partition)
            .with_current_leader_epoch(of.leader_epoch)
            .with_timestamp(timestamp)
    });
    let name = TopicName(StrBytes::from_string(cluster.settings().topic.clone()));
    let topic = ListOffsetsTopic::default().with_name(name).with_partitions(wanted.collect());
    let request = ListOffsetsRequest::default().with_replica_id(NO_REPLICA).with_topics(vec![topic]);
    let deadline = Instant::now() + cluster.settings().request_timeout;
    let answer = cluster.request(source, Class::Rest, Request::ListOffsets(request), deadline).await;
    let Response::ListOffsets(answer) = answer.map_err(trouble)? else { return Err(unexpected(cluster, source)) };
    let answered = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| {
        let place = Place { offset: partition.offset, epoch: partition.leader_epoch.max(NO_EPOCH) };
        // An offset that is none without an error is one that is not known yet.
        let none = (partition.offset < 0).then_some(Refusal::NotYet);
        (partition.partition_index, refusal(partition.error_code, None).or(none).map_or(Ok(place), Err))
    });
    let asked = |partition: &i32| partitions.iter().any(|of| of.partition == *partition);
    let answers: Vec<_> = answered.filter(|(partition, _)| asked(partition)).collect();
    denied(cluster, &answers)?;
    Ok(Answer::Edges(answers))
}

async fn read(
    cluster: &Cluster,
    source: Source,
    topic: TopicId,
    from: &[ReadFrom],
    bytes_max: u32,
    wait: Duration,
) -> Result<Answer, Trouble> {
    let request = fetch(topic, from, bytes_max, wait);
    let deadline = Instant::now() + wait + cluster.settings().request_timeout;
    let answer = cluster.request(source, Class::Fetch, Request::Fetch(request), deadline).await.map_err(trouble)?;
    let throttle = answer.throttle();
    let Response::Fetch(mut answer) = answer else { return Err(unexpected(cluster, source)) };
    if answer.error_code != codes::NONE {
        let code = Code(answer.error_code);
        return Err(Trouble::Refused(format!("{} refuses to be read: {code}", cluster.name_of(source)).into()));
    }
    let id = Uuid::from_bytes(topic.0);
    let said = std::mem::take(&mut answer.responses).into_iter().filter(|one| one.topic_id == id);
    let mut slices: Vec<(i32, Result<Slice, Refusal>)> = Vec::with_capacity(from.len());
    for partition in said.flat_map(|one| one.partitions) {
        let index = partition.partition_index;
        // A partition that was not asked for, or is there twice, is none of ours.
        let asked = from.iter().any(|of| of.partition == index) && slices.iter().all(|(one, _)| *one != index);
        if asked {
            slices.push((index, slice(cluster, topic, &answer, partition)));
        }
    }
    denied(cluster, &slices)?;
    Ok(Answer::Read { throttle, slices })
}

/// A whole read of some partitions, without a session: what every read asks for is all there is to it.
fn fetch(topic: TopicId, from: &[ReadFrom], bytes_max: u32, wait: Duration) -> FetchRequest {
    let partitions = from.iter().map(|of| {
        FetchPartition::default()
            .with_partition(of.partition)
            .with_current_leader_epoch(of.leader_epoch)
            .with_fetch_offset(of.place.offset)
            .with_last_fetched_epoch(of.place.epoch)
            .with_partition_max_bytes(i32::try_from(of.bytes_max).unwrap_or(i32::MAX))
    });
    let topic = FetchTopic::default().with_topic_id(Uuid::from_bytes(topic.0)).with_partitions(partitions.collect());
    FetchRequest::default()
        .with_replica_id(NO_REPLICA)
        .with_max_wait_ms(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(1)
        .with_max_bytes(i32::try_from(bytes_max).unwrap_or(i32::MAX))
        .with_isolation_level(0)
        .with_session_id(0)
        .with_session_epoch(NO_SESSION_EPOCH)
        .with_topics(vec![topic])
}

/// One partition of an answer. Who leads instead is noted on the way.
fn slice(
    cluster: &Cluster,
    topic: TopicId,
    answer: &FetchResponse,
    partition: PartitionData,
) -> Result<Slice, Refusal> {
    let named = &partition.current_leader;
    let now = (named.leader_id.0 >= 0 && named.leader_epoch >= 0)
        .then_some(Leader { source: named.leader_id.0, epoch: named.leader_epoch });
    if let Some(leader) = now {
        let nodes = answer.node_endpoints.iter().map(|node| (node.node_id.0, &*node.host, node.port));
        cluster.hint(Some(topic), partition.partition_index, leader, nodes);
    }
    if let Some(refusal) = refusal(partition.error_code, now) {
        return Err(refusal);
    }
    let diverging = &partition.diverging_epoch;
    if diverging.epoch >= 0 {
        let end = Place { offset: diverging.end_offset, epoch: diverging.epoch };
        return Err(Refusal::Diverging { end });
    }
    Ok(Slice {
        batches: partition.records.unwrap_or_default(),
        high_watermark: partition.high_watermark,
        log_start: partition.log_start_offset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code that Kafka has for a read is told to readers as what they can act on.
    #[test]
    fn codes_are_refusals() {
        let now = Some(Leader { source: 2, epoch: 7 });
        assert_eq!(refusal(codes::NONE, now), None);
        for (code, expected) in [
            (codes::OFFSET_OUT_OF_RANGE, Refusal::OutOfRange),
            (codes::CORRUPT_MESSAGE, Refusal::Corrupt),
            (codes::UNKNOWN_TOPIC_OR_PARTITION, Refusal::UnknownTopic),
            (codes::LEADER_NOT_AVAILABLE, Refusal::NotLeader { now }),
            (codes::NOT_LEADER_OR_FOLLOWER, Refusal::NotLeader { now }),
            (9, Refusal::NotLeader { now }),
            (codes::KAFKA_STORAGE_ERROR, Refusal::NotLeader { now }),
            (codes::TOPIC_AUTHORIZATION_FAILED, Refusal::Denied),
            (codes::FENCED_LEADER_EPOCH, Refusal::FencedEpoch),
            (codes::UNKNOWN_LEADER_EPOCH, Refusal::UnknownEpoch),
            (codes::OFFSET_NOT_AVAILABLE, Refusal::NotYet),
            (codes::UNKNOWN_SERVER_ERROR, Refusal::NotYet),
            (codes::UNKNOWN_TOPIC_ID, Refusal::UnknownTopic),
            (codes::INCONSISTENT_TOPIC_ID, Refusal::UnknownTopic),
            (codes::UNSUPPORTED_VERSION, Refusal::Code(35)),
            (4711, Refusal::Code(4711)),
        ] {
            assert_eq!(refusal(code, now), Some(expected), "{}", Code(code));
        }
    }
}
