//! Every answer in every version that we speak: what the other half of `kafka-protocol` writes is read back to the
//! byte, cut anywhere it is refused, and damaged anywhere it costs neither a panic nor memory.

use bytes::{Buf as _, Bytes};
use halley_dispatcher::bus::kafka::wire::answer::{self, Response};
use halley_dispatcher::bus::kafka::wire::api::Api;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::produce_response::{
    self, BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    BrokerId, DescribeConfigsResponse, FetchResponse, InitProducerIdResponse, ListOffsetsResponse, ProduceResponse,
    SaslAuthenticateResponse, SaslHandshakeResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;

use crate::words::{TOPIC, frame, metadata, versions};

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn fetch(version: i16) -> FetchResponse {
    let partition = PartitionData::default()
        .with_partition_index(3)
        .with_high_watermark(90)
        .with_log_start_offset(10)
        .with_diverging_epoch(EpochEndOffset::default().with_epoch(4).with_end_offset(40))
        .with_current_leader(LeaderIdAndEpoch::default().with_leader_id(BrokerId(2)).with_leader_epoch(6))
        .with_aborted_transactions(Some(vec![AbortedTransaction::default().with_first_offset(5)]))
        .with_records(Some(Bytes::from_static(b"records")));
    let empty = PartitionData::default().with_partition_index(4).with_aborted_transactions(None).with_records(None);
    let topic = FetchableTopicResponse::default().with_topic_id(TOPIC).with_partitions(vec![partition, empty]);
    let node = NodeEndpoint::default().with_node_id(BrokerId(2)).with_host(text("kafka-2")).with_port(9092);
    let nodes = if version >= 16 { vec![node] } else { Vec::new() };
    FetchResponse::default().with_throttle_time_ms(7).with_responses(vec![topic]).with_node_endpoints(nodes)
}

fn produce(version: i16) -> ProduceResponse {
    let error =
        BatchIndexAndErrorMessage::default().with_batch_index(1).with_batch_index_error_message(Some(text("no")));
    let leader = produce_response::LeaderIdAndEpoch::default().with_leader_id(BrokerId(2)).with_leader_epoch(6);
    let node = produce_response::NodeEndpoint::default().with_node_id(BrokerId(2)).with_host(text("kafka-2"));
    let partition = PartitionProduceResponse::default()
        .with_index(3)
        .with_base_offset(77)
        .with_record_errors(vec![error])
        .with_error_message(Some(text("refused")));
    let (partition, nodes) =
        if version >= 10 { (partition.with_current_leader(leader), vec![node]) } else { (partition, Vec::new()) };
    let topic = TopicProduceResponse::default().with_partition_responses(vec![partition]);
    let topic = if version >= 13 { topic.with_topic_id(TOPIC) } else { topic.with_name(TopicName(text("t"))) };
    ProduceResponse::default().with_responses(vec![topic]).with_throttle_time_ms(7).with_node_endpoints(nodes)
}

fn configs() -> DescribeConfigsResponse {
    let synonym = DescribeConfigsSynonym::default().with_name(text("log.retention.ms"));
    let config = DescribeConfigsResourceResult::default()
        .with_name(text("retention.ms"))
        .with_value(Some(text("1000")))
        .with_synonyms(vec![synonym]);
    let result = DescribeConfigsResult::default().with_resource_name(text("t")).with_configs(vec![config]);
    DescribeConfigsResponse::default().with_results(vec![result])
}

/// A full answer of this kind and version: as a frame without length, and as it should be read.
fn sample(api: Api, version: i16) -> (Bytes, Response) {
    macro_rules! of {
        ($kind:ident, $answer:expr) => {{
            let answer = $answer;
            (frame(9, version, &answer), Response::$kind(answer))
        }};
    }
    let (mut bytes, response) = match api {
        Api::Produce => of!(Produce, produce(version)),
        Api::Fetch => of!(Fetch, fetch(version)),
        Api::ListOffsets => {
            let partition = ListOffsetsPartitionResponse::default().with_offset(5).with_leader_epoch(2);
            let topic =
                ListOffsetsTopicResponse::default().with_name(TopicName(text("t"))).with_partitions(vec![partition]);
            of!(ListOffsets, ListOffsetsResponse::default().with_topics(vec![topic]))
        }
        Api::Metadata => of!(Metadata, metadata(&[(1, "kafka-1", 9092), (2, "::1", 9093)], 3)),
        Api::SaslHandshake => of!(SaslHandshake, SaslHandshakeResponse::default().with_mechanisms(vec![text("PLAIN")])),
        Api::ApiVersions => of!(ApiVersions, versions()),
        Api::InitProducerId => of!(InitProducerId, InitProducerIdResponse::default().with_producer_epoch(3)),
        Api::DescribeConfigs => of!(DescribeConfigs, configs()),
        Api::SaslAuthenticate => of!(
            SaslAuthenticate,
            SaslAuthenticateResponse::default().with_auth_bytes(Bytes::from_static(b"v=")).with_session_lifetime_ms(1)
        ),
    };
    bytes.advance(4);
    (bytes, response)
}

fn all() -> impl Iterator<Item = (Api, i16)> {
    Api::ALL.into_iter().flat_map(|api| (api.ours().min..=api.ours().max).map(move |version| (api, version)))
}

/// What a broker writes is what we read, in every version.
#[test]
fn every_answer_is_read() {
    for (api, version) in all() {
        let (bytes, response) = sample(api, version);
        assert_eq!(answer::correlation(&bytes), Some(9));
        assert_eq!(answer::decode(api, version, bytes), Ok(response), "{api:?} {version}");
    }
}

/// An answer that ends too early is refused wherever it ends.
#[test]
fn every_answer_is_cut_at_every_byte() {
    for (api, version) in all() {
        let (bytes, _) = sample(api, version);
        for cut in 0..bytes.len() {
            assert!(answer::decode(api, version, bytes.slice(..cut)).is_err(), "{api:?} {version} cut at {cut}");
        }
    }
}

/// Records are not copied: they lie within the frame that was received.
#[test]
fn records_share_the_frame() {
    let (bytes, _) = sample(Api::Fetch, 17);
    let frame = bytes.as_ptr_range();
    let Ok(Response::Fetch(answer)) = answer::decode(Api::Fetch, 17, bytes.clone()) else { panic!("a read") };
    let records = answer.responses[0].partitions[0].records.clone().expect("records");
    assert!(frame.contains(&records.as_ptr()));
}

/// A field that a newer broker adds is passed over.
#[test]
fn unknown_fields_are_passed_over() {
    let newer =
        InitProducerIdResponse::default().with_producer_id(5.into()).with_unknown_tagged_field(77, "new".into());
    let bytes = frame(9, 4, &newer).slice(4..);
    let Ok(Response::InitProducerId(read)) = answer::decode(Api::InitProducerId, 4, bytes) else { panic!("read") };
    assert_eq!(read.producer_id.0, 5);
}

/// Bytes that count as many elements as fit into four bytes, where each kind counts its first ones: they would be
/// gigabytes, and are refused before room is made.
#[test]
fn counts_of_nothing_make_no_room() {
    for (api, version) in all() {
        let (bytes, _) = sample(api, version);
        for at in 4..bytes.len() {
            let lie = [&bytes[..at], &[0xff, 0xff, 0xff, 0xff, 0x0f][..]].concat();
            // Whether it is refused hangs on what stands there; that the test ends is what it is about.
            let _ = answer::decode(api, version, Bytes::from(lie));
        }
    }
}

proptest! {
    /// Damage anywhere is read as something or refused, never more.
    #[test]
    fn damage_is_survived(
        which in 0..32_usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let all: Vec<_> = all().collect();
        let (api, version) = all[which % all.len()];
        let mut bytes = sample(api, version).0.to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = answer::decode(api, version, Bytes::from(bytes));
    }

    /// Bytes of any kind are read as something or refused.
    #[test]
    fn noise_is_survived(which in 0..32_usize, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let all: Vec<_> = all().collect();
        let (api, version) = all[which % all.len()];
        let _ = answer::decode(api, version, Bytes::from(bytes));
    }
}
