//! What a broker says, as bytes: requests read and answers written by the other half of `kafka-protocol`. Owns no
//! socket. Answers that most tests need stand here.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use halley_dispatcher::bus::kafka::wire::api::{Api, Range};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiVersionsResponse, BrokerId, MetadataResponse, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes, decode_request_header_from_buffer};
use uuid::Uuid;

/// The topic's id.
pub const TOPIC: Uuid = Uuid::from_u128(7);

/// A request as the broker sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its kind.
    pub api: Api,
    /// Its version.
    pub version: i16,
    /// Its number.
    pub correlation: i32,
    /// Without header.
    pub body: Bytes,
}

impl Asked {
    /// Read one from a frame without its length.
    pub fn read(mut frame: Bytes) -> Asked {
        let header = decode_request_header_from_buffer(&mut frame).expect("a request header");
        let api = Api::ALL.into_iter().find(|api| api.key() == header.request_api_key).expect("one of ours");
        Asked { api, version: header.request_api_version, correlation: header.correlation_id, body: frame }
    }

    /// Its fields.
    pub fn decode<Q: Decodable>(&self) -> Q {
        let mut body = self.body.clone();
        let request = Q::decode(&mut body, self.version).expect("a request");
        assert!(body.is_empty(), "{:?} has bytes behind it", self.api);
        request
    }

    /// An answer to it as a frame with its length.
    pub fn answer<S: Encodable + HeaderVersion>(&self, answer: &S) -> Bytes {
        frame::<S>(self.correlation, self.version, answer)
    }
}

/// The requests in what was written.
pub fn asked(mut output: Bytes) -> Vec<Asked> {
    let mut all = Vec::new();
    while !output.is_empty() {
        let length = usize::try_from(output.get_i32()).expect("a length");
        all.push(Asked::read(output.split_to(length)));
    }
    all
}

/// An answer as a frame with its length.
pub fn frame<S: Encodable + HeaderVersion>(correlation: i32, version: i16, answer: &S) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i32(0);
    out.put_i32(correlation);
    if S::header_version(version) >= 1 {
        out.put_u8(0);
    }
    answer.encode(&mut out, version).expect("an answer");
    let length = i32::try_from(out.len() - 4).expect("short");
    out[..4].copy_from_slice(&length.to_be_bytes());
    out.freeze()
}

/// What a broker of Kafka 4 speaks, as far as we do.
pub fn versions() -> ApiVersionsResponse {
    versions_of(|api| Some(api.ours()))
}

/// What a broker speaks, by request.
pub fn versions_of(range: impl Fn(Api) -> Option<Range>) -> ApiVersionsResponse {
    let one = |api: Api| {
        let Range { min, max } = range(api)?;
        Some(ApiVersion::default().with_api_key(api.key()).with_min_version(min).with_max_version(max))
    };
    ApiVersionsResponse::default().with_api_keys(Api::ALL.into_iter().filter_map(one).collect())
}

/// A cluster of these brokers, all of whose partitions the first leads in epoch 5.
pub fn metadata(nodes: &[(i32, &str, u16)], partitions: i32) -> MetadataResponse {
    let brokers = nodes.iter().map(|&(node, host, port)| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(node))
            .with_host(StrBytes::from_string(host.to_owned()))
            .with_port(i32::from(port))
    });
    let leader = nodes.first().map_or(-1, |(node, ..)| *node);
    let partitions = (0..partitions).map(|index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(leader))
            .with_leader_epoch(5)
            .with_replica_nodes(vec![BrokerId(leader)])
            .with_isr_nodes(vec![BrokerId(leader)])
    });
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str("goim-push-topic"))))
        .with_topic_id(TOPIC)
        .with_partitions(partitions.collect());
    MetadataResponse::default()
        .with_cluster_id(Some(StrBytes::from_static_str("cluster")))
        .with_brokers(brokers.collect())
        .with_topics(vec![topic])
}
