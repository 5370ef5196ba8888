//! The requests that are ever sent. Owns which versions of each we speak, the agreement with a broker about them, and
//! the shapes of the answers. The floor of every one is what Kafka 3.1 has. Next step: [`super::request`].

use super::shape::Field::{self, Array, Compact, Fixed, LongArray, Short, Tags};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// Append records.
    Produce,
    /// Read records.
    Fetch,
    /// The ends of partitions.
    ListOffsets,
    /// Brokers, topics, leaders.
    Metadata,
    /// How to log in.
    SaslHandshake,
    /// What the broker speaks.
    ApiVersions,
    /// An id for a producer that repeats nothing.
    InitProducerId,
    /// The settings of a topic.
    DescribeConfigs,
    /// Log in.
    SaslAuthenticate,
}

/// The least and the greatest version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub min: i16,
    /// The greatest.
    pub max: i16,
}

/// A broker and we have no version in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCommonVersion {
    /// Of which request.
    pub api: Api,
    /// What the broker speaks; `None` where it does not know the request.
    pub broker: Option<Range>,
}

impl Api {
    /// All of them, by key.
    pub const ALL: [Api; 9] = [
        Api::Produce,
        Api::Fetch,
        Api::ListOffsets,
        Api::Metadata,
        Api::SaslHandshake,
        Api::ApiVersions,
        Api::InitProducerId,
        Api::DescribeConfigs,
        Api::SaslAuthenticate,
    ];

    /// Its number in the protocol.
    pub const fn key(self) -> i16 {
        match self {
            Api::Produce => 0,
            Api::Fetch => 1,
            Api::ListOffsets => 2,
            Api::Metadata => 3,
            Api::SaslHandshake => 17,
            Api::ApiVersions => 18,
            Api::InitProducerId => 22,
            Api::DescribeConfigs => 32,
            Api::SaslAuthenticate => 36,
        }
    }

    /// What we speak. Fetch 13 and Produce 13 are the first by topic id.
    pub const fn ours(self) -> Range {
        let (min, max) = match self {
            Api::Produce => (9, 13),
            Api::Fetch => (13, 17),
            Api::ListOffsets => (7, 7),
            Api::Metadata => (12, 13),
            Api::SaslHandshake => (1, 1),
            Api::ApiVersions => (3, 3),
            Api::InitProducerId | Api::DescribeConfigs => (4, 4),
            Api::SaslAuthenticate => (2, 2),
        };
        Range { min, max }
    }

    /// The greatest version that both speak.
    pub fn agree(self, broker: Option<Range>) -> Result<i16, NoCommonVersion> {
        let ours = self.ours();
        let common =
            broker.filter(|broker| broker.min <= ours.max && broker.max >= ours.min && broker.min <= broker.max);
        common.map(|broker| broker.max.min(ours.max)).ok_or(NoCommonVersion { api: self, broker })
    }

    /// Whether an answer's header ends with tagged fields: all but two do in the versions that we speak.
    pub const fn has_header_tags(self) -> bool {
        !matches!(self, Api::ApiVersions | Api::SaslHandshake)
    }

    /// The shape of an answer without its header, in every version that we speak.
    pub const fn shape(self, version: i16) -> &'static [Field] {
        match self {
            Api::Produce if version < 13 => PRODUCE_9,
            Api::Produce => PRODUCE_13,
            Api::Fetch => FETCH,
            Api::ListOffsets => LIST_OFFSETS,
            Api::Metadata if version < 13 => METADATA_12,
            Api::Metadata => METADATA_13,
            Api::SaslHandshake => SASL_HANDSHAKE,
            Api::ApiVersions => API_VERSIONS,
            Api::InitProducerId => INIT_PRODUCER_ID,
            Api::DescribeConfigs => DESCRIBE_CONFIGS,
            Api::SaslAuthenticate => SASL_AUTHENTICATE,
        }
    }
}

/// A broker's requests, as agreed on for one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions([Option<i16>; Api::ALL.len()]);

impl Versions {
    /// Agree on all. What the broker lacks is refused when it is needed, except for what every cluster needs.
    ///
    /// # Errors
    /// The broker does not speak a version of reading or asking that we do.
    pub fn agree(broker: impl Fn(Api) -> Option<Range>) -> Result<Versions, NoCommonVersion> {
        let mut versions = Versions::default();
        for (agreed, api) in versions.0.iter_mut().zip(Api::ALL) {
            let agreement = api.agree(broker(api));
            if matches!(api, Api::Fetch | Api::ListOffsets | Api::Metadata) {
                agreement?;
            }
            *agreed = agreement.ok();
        }
        Ok(versions)
    }

    /// The agreed version.
    pub fn of(&self, api: Api) -> Option<i16> {
        Api::ALL.iter().zip(self.0).find(|(one, _)| **one == api).and_then(|(_, agreed)| agreed)
    }
}

const NO_TAGS: Field = Tags(&[]);
/// A node: id, host, port, rack.
const NODE: &[Field] = &[Fixed(4), Compact, Fixed(4), Compact, NO_TAGS];
const NODES: &[Field] = &[Array(NODE)];
/// An id or epoch of four bytes, and another.
const TWO_IDS: &[Field] = &[Fixed(8), NO_TAGS];
/// An epoch and an offset, either first.
const EPOCH_AND_OFFSET: &[Field] = &[Fixed(12), NO_TAGS];

const PRODUCED: Field =
    Array(&[Fixed(4 + 2 + 8 + 8 + 8), Array(&[Fixed(4), Compact, NO_TAGS]), Compact, Tags(&[(0, TWO_IDS)])]);
const PRODUCE_9: &[Field] = &[Array(&[Compact, PRODUCED, NO_TAGS]), Fixed(4), Tags(&[(0, NODES)])];
const PRODUCE_13: &[Field] = &[Array(&[Fixed(16), PRODUCED, NO_TAGS]), Fixed(4), Tags(&[(0, NODES)])];

const FETCH: &[Field] = &[
    Fixed(4 + 2 + 4),
    Array(&[
        Fixed(16),
        Array(&[
            Fixed(4 + 2 + 8 + 8 + 8),
            Array(&[Fixed(16), NO_TAGS]),
            Fixed(4),
            Compact,
            Tags(&[(0, EPOCH_AND_OFFSET), (1, TWO_IDS), (2, EPOCH_AND_OFFSET)]),
        ]),
        NO_TAGS,
    ]),
    Tags(&[(0, NODES)]),
];

const LIST_OFFSETS: &[Field] =
    &[Fixed(4), Array(&[Compact, Array(&[Fixed(4 + 2 + 8 + 8 + 4), NO_TAGS]), NO_TAGS]), NO_TAGS];

const IDS: Field = Array(&[Fixed(4)]);
const METADATA_TOPIC: Field =
    Array(&[Fixed(2), Compact, Fixed(16 + 1), Array(&[Fixed(14), IDS, IDS, IDS, NO_TAGS]), Fixed(4), NO_TAGS]);
const METADATA_12: &[Field] = &[Fixed(4), Array(NODE), Compact, Fixed(4), METADATA_TOPIC, NO_TAGS];
const METADATA_13: &[Field] = &[Fixed(4), Array(NODE), Compact, Fixed(4), METADATA_TOPIC, Fixed(2), NO_TAGS];

const SASL_HANDSHAKE: &[Field] = &[Fixed(2), LongArray(&[Short])];
const SASL_AUTHENTICATE: &[Field] = &[Fixed(2), Compact, Compact, Fixed(8), NO_TAGS];

const FEATURE: &[Field] = &[Array(&[Compact, Fixed(4), NO_TAGS])];
const API_VERSIONS: &[Field] = &[
    Fixed(2),
    Array(&[Fixed(6), NO_TAGS]),
    Fixed(4),
    Tags(&[(0, FEATURE), (1, &[Fixed(8)]), (2, FEATURE), (3, &[Fixed(1)])]),
];

const INIT_PRODUCER_ID: &[Field] = &[Fixed(4 + 2 + 8 + 2), NO_TAGS];

const SYNONYM: Field = Array(&[Compact, Compact, Fixed(1), NO_TAGS]);
const DESCRIBE_CONFIGS: &[Field] = &[
    Fixed(4),
    Array(&[
        Fixed(2),
        Compact,
        Fixed(1),
        Compact,
        Array(&[Compact, Compact, Fixed(3), SYNONYM, Fixed(1), Compact, NO_TAGS]),
        NO_TAGS,
    ]),
    NO_TAGS,
];

#[cfg(test)]
mod tests {
    use kafka_protocol::messages as kafka;
    use kafka_protocol::protocol::Message;

    use super::*;

    /// The messages encode every version that we speak; what they call valid for a key does not count.
    #[test]
    fn the_messages_know_our_versions() {
        fn known<Q: Message, S: Message>(api: Api, key: kafka::ApiKey) {
            assert_eq!(api.key(), key as i16);
            for range in [Q::VERSIONS, S::VERSIONS] {
                assert!(range.min <= api.ours().min && api.ours().max <= range.max, "{api:?}: {range}");
            }
        }
        known::<kafka::ProduceRequest, kafka::ProduceResponse>(Api::Produce, kafka::ApiKey::Produce);
        known::<kafka::FetchRequest, kafka::FetchResponse>(Api::Fetch, kafka::ApiKey::Fetch);
        known::<kafka::ListOffsetsRequest, kafka::ListOffsetsResponse>(Api::ListOffsets, kafka::ApiKey::ListOffsets);
        known::<kafka::MetadataRequest, kafka::MetadataResponse>(Api::Metadata, kafka::ApiKey::Metadata);
        known::<kafka::SaslHandshakeRequest, kafka::SaslHandshakeResponse>(
            Api::SaslHandshake,
            kafka::ApiKey::SaslHandshake,
        );
        known::<kafka::ApiVersionsRequest, kafka::ApiVersionsResponse>(Api::ApiVersions, kafka::ApiKey::ApiVersions);
        known::<kafka::InitProducerIdRequest, kafka::InitProducerIdResponse>(
            Api::InitProducerId,
            kafka::ApiKey::InitProducerId,
        );
        known::<kafka::DescribeConfigsRequest, kafka::DescribeConfigsResponse>(
            Api::DescribeConfigs,
            kafka::ApiKey::DescribeConfigs,
        );
        known::<kafka::SaslAuthenticateRequest, kafka::SaslAuthenticateResponse>(
            Api::SaslAuthenticate,
            kafka::ApiKey::SaslAuthenticate,
        );
    }

    /// The greatest common version is taken; where there is none, that is said with what the broker speaks.
    #[test]
    fn the_greatest_common_version_is_taken() {
        let range = |min, max| Some(Range { min, max });
        assert_eq!(Api::Fetch.agree(range(4, 99)), Ok(17));
        assert_eq!(Api::Fetch.agree(range(0, 13)), Ok(13));
        assert_eq!(Api::Fetch.agree(range(17, 20)), Ok(17));
        for none in [range(0, 12), range(18, 20), range(15, 14), None] {
            assert_eq!(Api::Fetch.agree(none), Err(NoCommonVersion { api: Api::Fetch, broker: none }));
        }
        let old = Versions::agree(|api| if api == Api::Metadata { range(0, 11) } else { range(0, 99) });
        assert_eq!(old, Err(NoCommonVersion { api: Api::Metadata, broker: range(0, 11) }));
        let new = Versions::agree(|api| (api != Api::Produce).then_some(Range { min: 0, max: 99 })).expect("common");
        assert_eq!((new.of(Api::Produce), new.of(Api::Fetch)), (None, Some(17)));
    }
}
