//! A request as bytes. Owns the closed list of requests with their fields, and their encoding as one frame.
//! Next step on the way out: [`crate::bus::kafka::connection`].

use bytes::{BufMut as _, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, DescribeConfigsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, ProduceRequest, RequestHeader, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::api::Api;

/// What a broker is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Append records. `acks` 0 has no answer and must never be asked for.
    Produce(ProduceRequest),
    /// Read records.
    Fetch(FetchRequest),
    /// The ends of partitions.
    ListOffsets(ListOffsetsRequest),
    /// Brokers, topics, leaders.
    Metadata(MetadataRequest),
    /// How to log in.
    SaslHandshake(SaslHandshakeRequest),
    /// What the broker speaks.
    ApiVersions(ApiVersionsRequest),
    /// An id for a producer that repeats nothing.
    InitProducerId(InitProducerIdRequest),
    /// The settings of a topic.
    DescribeConfigs(DescribeConfigsRequest),
    /// Log in.
    SaslAuthenticate(SaslAuthenticateRequest),
}

/// The request cannot be written in this version: a field that the version lacks is set, or it is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unencodable(pub String);

impl Request {
    /// Its kind.
    pub const fn api(&self) -> Api {
        match self {
            Request::Produce(_) => Api::Produce,
            Request::Fetch(_) => Api::Fetch,
            Request::ListOffsets(_) => Api::ListOffsets,
            Request::Metadata(_) => Api::Metadata,
            Request::SaslHandshake(_) => Api::SaslHandshake,
            Request::ApiVersions(_) => Api::ApiVersions,
            Request::InitProducerId(_) => Api::InitProducerId,
            Request::DescribeConfigs(_) => Api::DescribeConfigs,
            Request::SaslAuthenticate(_) => Api::SaslAuthenticate,
        }
    }

    /// Append it as a frame; nothing is appended where that fails.
    pub fn encode(
        &self,
        version: i16,
        correlation: i32,
        client_id: &StrBytes,
        out: &mut BytesMut,
    ) -> Result<(), Unencodable> {
        let start = out.len();
        out.put_i32(0);
        let written = self.encode_bare(version, correlation, client_id, out).map_err(|error| error.to_string());
        let length =
            i32::try_from(out.len() - start - size_of::<i32>()).map_err(|_| "it is longer than 2 GiB".to_owned());
        match written.and(length) {
            Ok(length) => {
                out[start..start + size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
                Ok(())
            }
            Err(reason) => {
                out.truncate(start);
                Err(Unencodable(reason))
            }
        }
    }

    fn encode_bare(
        &self,
        version: i16,
        correlation: i32,
        client_id: &StrBytes,
        out: &mut BytesMut,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let key = self.api().key();
        let header = RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(client_id.clone()));
        let api = ApiKey::try_from(key).map_err(|()| "the key is unknown")?;
        header.encode(out, api.request_header_version(version))?;
        match self {
            Request::Produce(request) => request.encode(out, version)?,
            Request::Fetch(request) => request.encode(out, version)?,
            Request::ListOffsets(request) => request.encode(out, version)?,
            Request::Metadata(request) => request.encode(out, version)?,
            Request::SaslHandshake(request) => request.encode(out, version)?,
            Request::ApiVersions(request) => request.encode(out, version)?,
            Request::InitProducerId(request) => request.encode(out, version)?,
            Request::DescribeConfigs(request) => request.encode(out, version)?,
            Request::SaslAuthenticate(request) => request.encode(out, version)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request is one frame of exactly its length; one that cannot be written leaves nothing behind.
    #[test]
    fn a_request_is_a_frame() {
        let client = StrBytes::from_static_str("halley");
        let mut out = BytesMut::from(&b"before"[..]);
        let request = Request::ApiVersions(
            ApiVersionsRequest::default()
                .with_client_software_name(StrBytes::from_static_str("halley"))
                .with_client_software_version(StrBytes::from_static_str("0.1.0")),
        );
        request.encode(3, 7, &client, &mut out).expect("encodes");
        let frame = b"before\0\0\0\x1f\0\x12\0\x03\0\0\0\x07\0\x06halley\0\x07halley\x060.1.0\0";
        assert_eq!(out, frame[..], "{out:?}");
        assert!(request.encode(99, 8, &client, &mut out).is_err(), "there is no version 99");
        assert_eq!(out, frame[..]);
    }
}
