//! What the producer asks brokers, as the protocol's messages. Owns their fields and what is read of the answers;
//! decides nothing. Topics go by id to brokers that know Produce 13, by name to those before. Next step on the way out:
//! [`crate::bus::kafka::cluster`].

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse};
use kafka_protocol::messages::{ProducerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::bus::batch::Codec;
use crate::bus::kafka::cluster::Cluster;
use crate::bus::kafka::codes::{self, Code};
use crate::bus::kafka::produce::act::{Answer, Request};
use crate::bus::kafka::produce::batch::Identity;
use crate::bus::log::{Leader, TopicId};

/// All replicas that are in sync must have the records.
const ACKS_ALL: i16 = -1;
/// Of a producer without transactions nothing is timed; brokers want a number above 0 all the same.
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;

/// Batches for one broker. `wait` is how long it may wait for its replicas.
pub(super) fn produce(request: &Request, topic: &str, codec: Codec, wait: Duration) -> ProduceRequest {
    let partition = |(partition, batch): &(i32, Arc<_>)| {
        let batch: &crate::bus::kafka::produce::batch::Batch = batch;
        PartitionProduceData::default().with_index(*partition).with_records(Some(batch.encoded(codec)))
    };
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_topic_id(Uuid::from_bytes(request.topic.0))
        .with_partition_data(request.batches.iter().map(partition).collect());
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(ACKS_ALL)
        .with_timeout_ms(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX))
        .with_topic_data(vec![topic])
}

/// What a broker said of each partition; of a partition that is there twice, the first. What it says of another topic
/// is left out; an answer by name has no id. Who leads instead is noted in the cluster's metadata on the way.
pub(super) fn produced(cluster: &Cluster, topic: TopicId, answer: &ProduceResponse) -> Vec<(i32, Answer)> {
    let ours = |id: &Uuid| id.is_nil() || id.as_bytes() == &topic.0;
    let topics = answer.responses.iter().filter(|topic| ours(&topic.topic_id));
    let partitions = topics.flat_map(|topic| &topic.partition_responses);
    let said = |partition: &PartitionProduceResponse| {
        let named = &partition.current_leader;
        let leader = (named.leader_id.0 >= 0 && named.leader_epoch >= 0)
            .then_some(Leader { source: named.leader_id.0, epoch: named.leader_epoch });
        // Whom nobody has told us the address of cannot be asked yet.
        let leader = leader.filter(|leader| {
            let nodes = answer.node_endpoints.iter().map(|node| (node.node_id.0, &*node.host, node.port));
            cluster.hint(Some(topic), partition.index, *leader, nodes)
        });
        (partition.index, Answer { code: partition.error_code, base_offset: partition.base_offset, leader })
    };
    partitions.map(said).collect()
}

/// Ask for a new producer id.
pub(super) fn identity() -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

/// The producer id that a broker gave.
///
/// # Errors
/// It gave none; says why and what to do.
pub(super) fn identified(broker: &str, answer: &InitProducerIdResponse) -> Result<Identity, Arc<str>> {
    match answer.error_code {
        codes::NONE if answer.producer_id.0 >= 0 => {
            Ok(Identity { id: answer.producer_id.0, epoch: answer.producer_epoch })
        }
        codes::NONE => Err(format!("{broker} gave no producer id").into()),
        codes::CLUSTER_AUTHORIZATION_FAILED => {
            let text = format!(
                "{broker} gives us no producer id: grant us WRITE on the topic or IDEMPOTENT_WRITE on the cluster"
            );
            Err(text.into())
        }
        code => Err(format!("{broker} gives us no producer id: {}", Code(code)).into()),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::produce_response::TopicProduceResponse;

    use super::*;
    use crate::bus::kafka::settings::Settings;

    /// Only what is said of the topic that was written to counts; a broker that answers by name says no id.
    #[test]
    fn what_is_said_of_another_topic_is_left_out() {
        let cluster = Cluster::new(Settings::new(Vec::new()));
        let said = |id, index| {
            let partition = PartitionProduceResponse::default().with_index(index).with_base_offset(9);
            TopicProduceResponse::default()
                .with_topic_id(Uuid::from_bytes(id))
                .with_partition_responses(vec![partition])
        };
        let answer =
            ProduceResponse::default().with_responses(vec![said([8; 16], 0), said([7; 16], 1), said([0; 16], 2)]);
        let partitions: Vec<i32> =
            produced(&cluster, TopicId([7; 16]), &answer).into_iter().map(|(partition, _)| partition).collect();
        assert_eq!(partitions, [1, 2]);
    }
}
