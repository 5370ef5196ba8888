//! An answer from bytes. Owns the closed list of answers, their decoding, and what all of them say in common: how long
//! the broker wants to be left alone. Records in there share the receive buffer. Next step on the way in:
//! [`crate::bus::kafka::connection`].

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use kafka_protocol::messages::{
    ApiVersionsResponse, DescribeConfigsResponse, FetchResponse, InitProducerIdResponse, ListOffsetsResponse,
    MetadataResponse, ProduceResponse, SaslAuthenticateResponse, SaslHandshakeResponse,
};
use kafka_protocol::protocol::Decodable;

use super::api::Api;
use super::shape::{self, Field, Misshapen};

/// What a broker answers, by the kind of request.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To [`Api::Produce`].
    Produce(ProduceResponse),
    /// To [`Api::Fetch`].
    Fetch(FetchResponse),
    /// To [`Api::ListOffsets`].
    ListOffsets(ListOffsetsResponse),
    /// To [`Api::Metadata`].
    Metadata(MetadataResponse),
    /// To [`Api::SaslHandshake`].
    SaslHandshake(SaslHandshakeResponse),
    /// To [`Api::ApiVersions`].
    ApiVersions(ApiVersionsResponse),
    /// To [`Api::InitProducerId`].
    InitProducerId(InitProducerIdResponse),
    /// To [`Api::DescribeConfigs`].
    DescribeConfigs(DescribeConfigsResponse),
    /// To [`Api::SaslAuthenticate`].
    SaslAuthenticate(SaslAuthenticateResponse),
}

/// The number by which an answer finds its request; `None` where the frame is too short for one.
pub fn correlation(frame: &[u8]) -> Option<i32> {
    frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

/// The error code that begins an answer about versions. A broker that does not know the asked version answers in the
/// oldest form, of which only this is common.
pub fn versions_error(frame: &[u8]) -> Option<i16> {
    frame.get(size_of::<i32>()..)?.first_chunk().map(|bytes| i16::from_be_bytes(*bytes))
}

/// Decode a whole frame, its correlation id included.
pub fn decode(api: Api, version: i16, mut frame: Bytes) -> Result<Response, Misshapen> {
    if frame.len() < size_of::<i32>() {
        return Err(Misshapen);
    }
    frame.advance(size_of::<i32>());
    if api.has_header_tags() {
        let header_bytes = frame.len() - shape::check(&frame, &[Field::Tags(&[])])?.len();
        frame.advance(header_bytes);
    }
    shape::check(&frame, api.shape(version))?;
    let frame = &mut frame;
    let decoded = match api {
        Api::Produce => ProduceResponse::decode(frame, version).map(Response::Produce),
        Api::Fetch => FetchResponse::decode(frame, version).map(Response::Fetch),
        Api::ListOffsets => ListOffsetsResponse::decode(frame, version).map(Response::ListOffsets),
        Api::Metadata => MetadataResponse::decode(frame, version).map(Response::Metadata),
        Api::SaslHandshake => SaslHandshakeResponse::decode(frame, version).map(Response::SaslHandshake),
        Api::ApiVersions => ApiVersionsResponse::decode(frame, version).map(Response::ApiVersions),
        Api::InitProducerId => InitProducerIdResponse::decode(frame, version).map(Response::InitProducerId),
        Api::DescribeConfigs => DescribeConfigsResponse::decode(frame, version).map(Response::DescribeConfigs),
        Api::SaslAuthenticate => SaslAuthenticateResponse::decode(frame, version).map(Response::SaslAuthenticate),
    };
    decoded.map_err(|_| Misshapen)
}

impl Response {
    /// How long the broker wants nothing more on this connection (KIP-219).
    pub fn throttle(&self) -> Duration {
        let throttle_ms = match self {
            Response::Produce(answer) => answer.throttle_time_ms,
            Response::Fetch(answer) => answer.throttle_time_ms,
            Response::ListOffsets(answer) => answer.throttle_time_ms,
            Response::Metadata(answer) => answer.throttle_time_ms,
            Response::ApiVersions(answer) => answer.throttle_time_ms,
            Response::InitProducerId(answer) => answer.throttle_time_ms,
            Response::DescribeConfigs(answer) => answer.throttle_time_ms,
            Response::SaslHandshake(_) | Response::SaslAuthenticate(_) => 0,
        };
        Duration::from_millis(u64::try_from(throttle_ms).unwrap_or_default())
    }
}
