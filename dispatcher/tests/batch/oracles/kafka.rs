//! What brokers say from any bytes: an answer is decoded into no more than its bytes can hold or refused, and a
//! connection that gets anything in any pieces tells every asker exactly once what became of his request.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use halley_dispatcher::bus::kafka::connection::core::{Connection, Profile};
use halley_dispatcher::bus::kafka::wire::answer::{self, Response};
use halley_dispatcher::bus::kafka::wire::api::Api;
use halley_dispatcher::bus::kafka::wire::request::Request;
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::protocol::StrBytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Requests that wait on the connection.
const ASKED: u32 = 3;

/// A byte that says of which kind and version, then an answer's frame without its length.
pub fn answer(data: &[u8]) {
    let Some((&which, frame)) = data.split_first() else { return };
    let all = Api::ALL.into_iter().flat_map(|api| (api.ours().min..=api.ours().max).map(move |version| (api, version)));
    let all: Vec<(Api, i16)> = all.collect();
    let (api, version) = all[usize::from(which) % all.len()];
    let Ok(response) = answer::decode(api, version, Bytes::copy_from_slice(frame)) else { return };
    let elements = match &response {
        Response::Fetch(answer) => {
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
            let records: usize = partitions.clone().filter_map(|one| one.records.as_ref()).map(Bytes::len).sum();
            assert!(records <= frame.len(), "records lie within the frame");
            partitions.count()
        }
        Response::Metadata(answer) => {
            answer.brokers.len() + answer.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>()
        }
        Response::Produce(answer) => answer.responses.iter().map(|topic| topic.partition_responses.len()).sum(),
        Response::ListOffsets(answer) => answer.topics.iter().map(|topic| topic.partitions.len()).sum(),
        Response::DescribeConfigs(answer) => answer.results.iter().map(|result| result.configs.len()).sum(),
        Response::ApiVersions(answer) => answer.api_keys.len(),
        Response::SaslHandshake(answer) => answer.mechanisms.len(),
        Response::InitProducerId(_) | Response::SaslAuthenticate(_) => 0,
    };
    assert!(elements <= frame.len(), "every element has a byte at least");
}

/// What a broker sends, cut in two at a place that the first two bytes say.
pub fn connection(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first_chunk() else { return };
    let (first, second) = stream.split_at(usize::from(u16::from_be_bytes(cut)).min(stream.len()));
    let profile = Profile {
        broker: "broker 1".into(),
        client_id: StrBytes::from_static_str("halley"),
        sasl: None,
        answer_bytes_max: 64 * 1024,
        open_timeout: Duration::from_secs(10),
    };
    let mut connection = Connection::open(profile, StdRng::seed_from_u64(1), Duration::ZERO);
    for token in 0..ASKED {
        connection.ask(token, Request::Metadata(MetadataRequest::default()), Duration::from_secs(5));
    }
    let mut received = BytesMut::new();
    for part in [first, second] {
        let _ = connection.output(Duration::ZERO);
        received.extend_from_slice(part);
        connection.received(Duration::ZERO, &mut received);
    }
    let _ = connection.output(Duration::from_secs(1));
    connection.lost("closed the connection");
    let mut told: Vec<u32> = std::iter::from_fn(|| connection.next_done()).map(|(token, _)| token).collect();
    told.sort_unstable();
    assert_eq!(told, (0..ASKED).collect::<Vec<_>>(), "everybody is told once");
}
