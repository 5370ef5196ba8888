//! What is known of the cluster: its brokers, the topic's id, who leads each partition. Owns what of an answer is
//! believed: an epoch never goes back, an id that was replaced never comes back, partitions never become fewer. Pure.
//! Next step: [`super::cluster`].

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::messages::{MetadataResponse, metadata_response::MetadataResponseTopic};

use super::codes::{self, Code};
use crate::bus::log::{Leader, Source, TopicId, Topology};

/// Ids of the topic that were replaced and are still remembered.
const RETIRED_MAX: usize = 16;
/// Partitions of the topic at most; Kafka's own clusters end far below.
const PARTITIONS_MAX: i32 = 100_000;

/// A partition, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Who leads it.
    pub leader: Option<Leader>,
    /// The newest epoch heard of.
    pub epoch: i32,
    /// Brokers that keep it.
    pub replicas: Vec<Source>,
    /// Those of them that are in step.
    pub in_sync: Vec<Source>,
}

/// The topic, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its partitions, in their order.
    pub partitions: Vec<Partition>,
}

/// Why an answer does not say who leads the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicTrouble {
    /// There is no such topic, or this broker has not heard of it yet.
    Missing,
    /// We may not know.
    Denied,
    /// It is about to be there.
    NotYet,
    /// The answer names an id that was replaced: from a broker that is behind.
    Stale,
    /// The cluster wants us to begin anew.
    Rebootstrap,
    /// Another code.
    Code(Code),
}

/// The cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Where each broker says it is, as `host:port`.
    pub nodes: BTreeMap<Source, String>,
    /// Its id.
    pub cluster_id: Option<String>,
    /// The topic, once it is known.
    pub topic: Option<Topic>,
    retired: VecDeque<TopicId>,
}

/// `host:port`, brackets around an IPv6 address.
pub fn address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl Metadata {
    /// Believe an answer to a question about one topic.
    pub fn apply(&mut self, answer: &MetadataResponse) -> Result<(), TopicTrouble> {
        if answer.error_code == codes::REBOOTSTRAP_REQUIRED {
            self.nodes.clear();
            return Err(TopicTrouble::Rebootstrap);
        }
        let named = answer.brokers.iter().map(|broker| (broker.node_id.0, address(&broker.host, broker.port)));
        let nodes: BTreeMap<Source, String> = named.collect();
        // A broker that starts knows nobody yet.
        if !nodes.is_empty() {
            self.nodes = nodes;
        }
        self.cluster_id = answer.cluster_id.as_ref().map(|id| id.to_string()).or(self.cluster_id.take());
        let topic = answer.topics.first().ok_or(TopicTrouble::NotYet)?;
        match topic.error_code {
            codes::NONE => self.apply_topic(topic),
            codes::UNKNOWN_TOPIC_OR_PARTITION | codes::UNKNOWN_TOPIC_ID => Err(TopicTrouble::Missing),
            codes::TOPIC_AUTHORIZATION_FAILED => Err(TopicTrouble::Denied),
            codes::LEADER_NOT_AVAILABLE => Err(TopicTrouble::NotYet),
            code => Err(TopicTrouble::Code(Code(code))),
        }
    }

    fn apply_topic(&mut self, answer: &MetadataResponseTopic) -> Result<(), TopicTrouble> {
        let id = TopicId(answer.topic_id.into_bytes());
        if self.retired.contains(&id) {
            return Err(TopicTrouble::Stale);
        }
        if let Some(known) = self.topic.take_if(|known| known.id != id) {
            self.retired.truncate(RETIRED_MAX - 1);
            self.retired.push_front(known.id);
        }
        let topic = self.topic.get_or_insert_with(|| Topic { id, partitions: Vec::new() });
        for said in &answer.partitions {
            let index = usize::try_from(said.partition_index).ok().filter(|_| said.partition_index < PARTITIONS_MAX);
            let Some(index) = index else { continue };
            if index >= topic.partitions.len() {
                topic.partitions.resize_with(index + 1, || Partition { epoch: -1, ..Partition::default() });
            }
            let partition = &mut topic.partitions[index];
            if said.leader_epoch < partition.epoch {
                continue;
            }
            let leads = said.leader_id.0 >= 0;
            partition.epoch = said.leader_epoch;
            partition.leader = leads.then_some(Leader { source: said.leader_id.0, epoch: said.leader_epoch });
            partition.replicas = said.replica_nodes.iter().map(|node| node.0).collect();
            partition.in_sync = said.isr_nodes.iter().map(|node| node.0).collect();
        }
        Ok(())
    }

    /// Believe a broker that refused and said who leads instead (KIP-951), if its news is newer than ours. `topic` is
    /// the id that was asked about. Answers whether it was news.
    pub fn apply_hint(&mut self, topic: Option<TopicId>, partition: i32, leader: Leader) -> bool {
        let known = self.topic.as_mut().filter(|known| topic.is_none_or(|id| id == known.id));
        let index = usize::try_from(partition).ok();
        let partition = known.zip(index).and_then(|(known, index)| known.partitions.get_mut(index));
        let Some(partition) = partition.filter(|partition| leader.epoch > partition.epoch) else { return false };
        partition.epoch = leader.epoch;
        partition.leader = Some(leader);
        true
    }

    /// Where a broker is that an answer named in passing (KIP-951).
    pub fn apply_node(&mut self, node: Source, host: &str, port: i32) {
        if !host.is_empty() && port > 0 {
            self.nodes.insert(node, address(host, port));
        }
    }

    /// Who leads a partition.
    pub fn leader_of(&self, partition: i32) -> Option<Leader> {
        let index = usize::try_from(partition).ok()?;
        self.topic.as_ref()?.partitions.get(index)?.leader
    }

    /// The topic as readers know it.
    pub fn topology(&self) -> Option<Topology> {
        let topic = self.topic.as_ref()?;
        let leaders = topic.partitions.iter().map(|partition| partition.leader).collect();
        Some(Topology { topic: topic.id, leaders })
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition};
    use kafka_protocol::messages::{BrokerId, TopicName};
    use kafka_protocol::protocol::StrBytes;
    use uuid::Uuid;

    use super::*;

    /// An answer of this topic id, with (leader, epoch) of each partition.
    fn answer(id: u128, leaders: &[(i32, i32)]) -> MetadataResponse {
        let broker = |id: i32| {
            let host = StrBytes::from_string(format!("kafka-{id}"));
            MetadataResponseBroker::default().with_node_id(BrokerId(id)).with_host(host).with_port(9092)
        };
        let partition = |(index, &(leader, epoch)): (i32, &(i32, i32))| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(BrokerId(leader))
                .with_leader_epoch(epoch)
        };
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
            .with_topic_id(Uuid::from_u128(id))
            .with_partitions((0..).zip(leaders).map(partition).collect());
        MetadataResponse::default().with_brokers(vec![broker(1), broker(2)]).with_topics(vec![topic])
    }

    fn leaders(metadata: &Metadata) -> Vec<Option<(i32, i32)>> {
        let topology = metadata.topology().expect("a topic");
        topology.leaders.iter().map(|leader| leader.map(|leader| (leader.source, leader.epoch))).collect()
    }

    /// What an old broker still says does not undo what a newer epoch said; the same epoch may change its leader.
    #[test]
    fn epochs_never_go_back() {
        let mut metadata = Metadata::default();
        metadata.apply(&answer(7, &[(1, 5), (2, 5)])).expect("a topic");
        metadata.apply(&answer(7, &[(2, 4), (1, 6)])).expect("a topic");
        assert_eq!(leaders(&metadata), [Some((1, 5)), Some((1, 6))]);
        metadata.apply(&answer(7, &[(-1, 5), (1, 6)])).expect("a topic");
        assert_eq!(leaders(&metadata), [None, Some((1, 6))], "nobody leads now");
    }

    /// Under one id partitions never become fewer (rule R7).
    #[test]
    fn partitions_never_become_fewer() {
        let mut metadata = Metadata::default();
        metadata.apply(&answer(7, &[(1, 5), (2, 5)])).expect("a topic");
        metadata.apply(&answer(7, &[(1, 6)])).expect("a topic");
        assert_eq!(leaders(&metadata), [Some((1, 6)), Some((2, 5))]);
    }

    /// Another id begins from nothing, and the old one is not believed again when a broker that is behind names it.
    #[test]
    fn a_replaced_id_never_comes_back() {
        let mut metadata = Metadata::default();
        metadata.apply(&answer(7, &[(1, 5), (2, 5)])).expect("a topic");
        metadata.apply(&answer(8, &[(2, 0)])).expect("a topic");
        assert_eq!(leaders(&metadata), [Some((2, 0))]);
        assert_eq!(metadata.apply(&answer(7, &[(1, 9), (2, 9)])), Err(TopicTrouble::Stale));
        assert_eq!(leaders(&metadata), [Some((2, 0))]);
    }

    /// A hint counts if it is newer, and of the topic that was asked for.
    #[test]
    fn newer_hints_are_believed() {
        let mut metadata = Metadata::default();
        metadata.apply(&answer(7, &[(1, 5)])).expect("a topic");
        let id = TopicId(Uuid::from_u128(7).into_bytes());
        let leader = |epoch| Leader { source: 3, epoch };
        assert!(!metadata.apply_hint(Some(id), 0, leader(5)), "no news");
        assert!(!metadata.apply_hint(Some(TopicId([1; 16])), 0, leader(6)), "another topic");
        assert!(!metadata.apply_hint(Some(id), 1, leader(6)), "no such partition");
        assert!(!metadata.apply_hint(Some(id), -1, leader(6)), "no such partition");
        assert!(metadata.apply_hint(Some(id), 0, leader(6)));
        assert_eq!(leaders(&metadata), [Some((3, 6))]);
        metadata.apply_node(3, "::1", 9092);
        assert_eq!(metadata.nodes[&3], "[::1]:9092");
    }

    /// Brokers are replaced by those that an answer names, but not by nobody; error 129 forgets them.
    #[test]
    fn brokers_are_those_of_the_last_answer() {
        let mut metadata = Metadata::default();
        metadata.apply(&answer(7, &[(1, 5)])).expect("a topic");
        let nobody = MetadataResponse::default();
        assert_eq!(metadata.apply(&nobody), Err(TopicTrouble::NotYet));
        assert_eq!(metadata.nodes.len(), 2);
        let anew = MetadataResponse::default().with_error_code(codes::REBOOTSTRAP_REQUIRED);
        assert_eq!(metadata.apply(&anew), Err(TopicTrouble::Rebootstrap));
        assert!(metadata.nodes.is_empty());
    }

    /// A partition number out of all bounds costs no memory.
    #[test]
    fn a_partition_number_is_bounded() {
        let mut metadata = Metadata::default();
        let mut hostile = answer(7, &[(1, 1)]);
        hostile.topics[0].partitions[0].partition_index = i32::MAX;
        metadata.apply(&hostile).expect("a topic");
        assert_eq!(leaders(&metadata), []);
    }
}
