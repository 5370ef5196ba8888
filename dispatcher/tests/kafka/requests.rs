//! One request of each kind and version, always the same bytes. Owns what is asked of a real broker to record its
//! answers, and of our encoder to compare.

use bytes::{Bytes, BytesMut};
use halley_dispatcher::bus::batch::BatchBuilder;
use halley_dispatcher::bus::kafka::wire::api::Api;
use halley_dispatcher::bus::kafka::wire::request::Request;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, DescribeConfigsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, ProduceRequest, SaslAuthenticateRequest, SaslHandshakeRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// The topic, of one partition.
pub const TOPIC: &str = "golden";

/// Kinds in an order in which a broker takes them, log-in first, each with its versions.
pub fn order() -> impl Iterator<Item = (Api, i16)> {
    let order = [
        Api::ApiVersions,
        Api::SaslHandshake,
        Api::SaslAuthenticate,
        Api::Metadata,
        Api::InitProducerId,
        Api::Produce,
        Api::ListOffsets,
        Api::Fetch,
        Api::DescribeConfigs,
    ];
    order.into_iter().flat_map(|api| (api.ours().min..=api.ours().max).map(move |version| (api, version)))
}

/// The request as a frame. Reads, and writes from version 13 on, know the topic by its id.
pub fn frame(api: Api, version: i16, topic: Uuid) -> Bytes {
    let mut out = BytesMut::new();
    let client = StrBytes::from_static_str("halley");
    request(api, topic)
        .encode(version, 100 * i32::from(api.key()) + i32::from(version), &client, &mut out)
        .expect("encodes");
    out.freeze()
}

fn request(api: Api, id: Uuid) -> Request {
    let name = || TopicName(StrBytes::from_static_str(TOPIC));
    match api {
        Api::ApiVersions => Request::ApiVersions(
            ApiVersionsRequest::default()
                .with_client_software_name(StrBytes::from_static_str("halley"))
                .with_client_software_version(StrBytes::from_static_str("0.1.0")),
        ),
        Api::SaslHandshake => {
            Request::SaslHandshake(SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN")))
        }
        Api::SaslAuthenticate => Request::SaslAuthenticate(
            SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from_static(b"\0halley\0secret-of-halley")),
        ),
        Api::Metadata => Request::Metadata(
            MetadataRequest::default()
                .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name()))]))
                .with_allow_auto_topic_creation(false),
        ),
        Api::InitProducerId => {
            let request = InitProducerIdRequest::default().with_transactional_id(None);
            Request::InitProducerId(request.with_transaction_timeout_ms(1_000))
        }
        Api::Produce => {
            let mut batch = BatchBuilder::new(1024);
            batch.push(Some(b"key"), Some(b"value"), 1_700_000_000_000).expect("room");
            let partition = PartitionProduceData::default().with_records(batch.finish());
            let topic =
                TopicProduceData::default().with_name(name()).with_topic_id(id).with_partition_data(vec![partition]);
            Request::Produce(
                ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(vec![topic]),
            )
        }
        Api::ListOffsets => {
            let partition = ListOffsetsPartition::default().with_timestamp(-1);
            let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(vec![partition]);
            Request::ListOffsets(ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]))
        }
        Api::Fetch => {
            let partition = FetchPartition::default().with_partition_max_bytes(1_000);
            let topic = FetchTopic::default().with_topic_id(id).with_partitions(vec![partition]);
            let request = FetchRequest::default().with_max_wait_ms(10).with_min_bytes(1).with_max_bytes(1_000);
            Request::Fetch(request.with_session_epoch(-1).with_topics(vec![topic]))
        }
        Api::DescribeConfigs => {
            let keys = vec![StrBytes::from_static_str("cleanup.policy")];
            let resource = DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(StrBytes::from_static_str(TOPIC))
                .with_configuration_keys(Some(keys));
            Request::DescribeConfigs(DescribeConfigsRequest::default().with_resources(vec![resource]))
        }
    }
}
