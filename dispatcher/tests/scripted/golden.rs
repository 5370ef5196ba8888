//! Bytes recorded once between this client and Kafka 4.3.1, one request and its answer for each kind and version:
//! `golden.hex`, a line each. What we write must stay these bytes, and these must stay readable.

use bytes::{Buf as _, Bytes};
use halley_dispatcher::bus::kafka::wire::answer::{self, Response};
use halley_dispatcher::bus::kafka::wire::api::Api;
use kafka_protocol::messages::ApiVersionsResponse;
use uuid::Uuid;

use crate::requests;
use crate::words::frame;

fn unhex(text: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// Kind, version, request with its length, answer without.
fn recorded() -> Vec<(Api, i16, Bytes, Bytes)> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let api = Api::ALL.into_iter().find(|api| format!("{api:?}") == words[0]).expect("one of ours");
        (api, words[1].parse().expect("a version"), unhex(words[2]), unhex(words[3]))
    };
    include_str!("golden.hex").lines().map(line).collect()
}

/// The id of the topic, from the answer that names it.
fn topic() -> Uuid {
    let named = recorded().into_iter().find(|(api, ..)| *api == Api::Metadata).expect("recorded");
    match answer::decode(Api::Metadata, named.1, named.3) {
        Ok(Response::Metadata(answer)) => answer.topics[0].topic_id,
        other => panic!("{other:?}"),
    }
}

/// Every request that we write is what a real broker took, to the byte; every version is recorded.
#[test]
fn requests_are_the_recorded_bytes() {
    let topic = topic();
    let versions: Vec<(Api, i16)> = recorded().iter().map(|(api, version, ..)| (*api, *version)).collect();
    assert_eq!(versions, requests::order().collect::<Vec<_>>());
    for (api, version, request, _) in recorded() {
        // The version of this package stands in one of them.
        if api != Api::ApiVersions {
            assert_eq!(requests::frame(api, version, topic), request, "{api:?} {version}");
        }
    }
}

/// Every recorded answer is read, and what was read is written as the same bytes by the other half of the library.
#[test]
fn answers_are_read_to_the_byte() {
    for (api, version, _, bytes) in recorded() {
        let correlation = answer::correlation(&bytes).expect("a number");
        let mut again = match answer::decode(api, version, bytes.clone()).expect("an answer") {
            Response::Produce(answer) => frame(correlation, version, &answer),
            Response::Fetch(answer) => frame(correlation, version, &answer),
            Response::ListOffsets(answer) => frame(correlation, version, &answer),
            Response::Metadata(answer) => frame(correlation, version, &answer),
            Response::SaslHandshake(answer) => frame(correlation, version, &answer),
            Response::ApiVersions(answer) => frame::<ApiVersionsResponse>(correlation, version, &answer),
            Response::InitProducerId(answer) => frame(correlation, version, &answer),
            Response::DescribeConfigs(answer) => frame(correlation, version, &answer),
            Response::SaslAuthenticate(answer) => frame(correlation, version, &answer),
        };
        again.advance(4);
        assert_eq!(again, bytes, "{api:?} {version}");
    }
}

/// A recorded answer that is cut off anywhere is refused.
#[test]
fn recorded_answers_are_cut_at_every_byte() {
    for (api, version, _, bytes) in recorded() {
        for cut in 0..bytes.len() {
            assert!(answer::decode(api, version, bytes.slice(..cut)).is_err(), "{api:?} {version} cut at {cut}");
        }
    }
}
