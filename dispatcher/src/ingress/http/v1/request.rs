//! The body of `POST /v1/push`. Owns its fields, the ways to get them wrong and the sentence for each; checks form
//! only, the bounds are [`crate::ingress::admit`]'s.
//!
//! ```json
//! {"target": {"room": "live://1000"}, "op": 1000, "text": "hello"}
//! ```
//!
//! `target` has one of `key`, `keys`, `mid`, `mids`, `room` (a full room key) or `all` (true). The message is `text`
//! or, as base64, `body`. `speed` paces a push to all, in deliveries a second. `dry_run` only counts, and needs no
//! message; with `"scope": "gateway"` it counts this gateway's connections only. A name that is not known or comes
//! twice (RFC 8259 §4) is refused; `null` is as good as leaving a name away.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use halley_protocol::push::Target;
use halley_service::nearest::nearest;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Characters of a sentence about a request, part of which the sender chooses.
const SENTENCE_CHARACTERS_MAX: usize = 300;

/// Padded or not: both are common.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a body asks for no push; the sender's fault.
#[derive(Debug)]
pub(super) enum RequestError {
    /// It is no JSON, or has something behind it.
    NoJson(serde_json::Error),
    /// It is JSON of another shape.
    WrongShape(serde_path_to_error::Error<serde_json::Error>),
    /// The message comes in both ways.
    TextAndBody,
    /// No message, and no dry run, which needs none.
    NoMessage,
    /// The message is not what it is said to be.
    NoBase64(base64::DecodeError),
    /// `all` is false, which asks for nothing.
    AllIsFalse,
    /// A speed for others than all.
    SpeedWithoutAll,
    /// A scope for what is not counted.
    ScopeWithoutDryRun,
    /// No target, or several.
    NotOneTarget,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::NoJson(error) => write!(f, "the request is no JSON: {error}"),
            RequestError::WrongShape(error) => f.write_str(&located(error)),
            RequestError::TextAndBody => f.write_str("give \"text\" or \"body\", not both"),
            RequestError::NoMessage => f.write_str("the message is missing: give \"text\", or \"body\" as base64"),
            RequestError::NoBase64(error) => write!(f, "\"body\" is no base64: {error}"),
            RequestError::AllIsFalse => f.write_str("\"target.all\" must be true"),
            RequestError::SpeedWithoutAll => f.write_str("\"speed\" goes with the target \"all\" only"),
            RequestError::ScopeWithoutDryRun => f.write_str("\"scope\" goes with \"dry_run\" only"),
            RequestError::NotOneTarget => {
                f.write_str("\"target\" names one of \"key\", \"keys\", \"mid\", \"mids\", \"room\" or \"all\"")
            }
        }
    }
}

impl std::error::Error for RequestError {}

impl RequestError {
    /// What the sender is told, of bounded length.
    pub(super) fn sentence(&self) -> String {
        let sentence = self.to_string();
        match sentence.char_indices().nth(SENTENCE_CHARACTERS_MAX) {
            Some((end, _)) => format!("{}…", &sentence[..end]),
            None => sentence,
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PushRequest {
    pub(super) target: Target,
    pub(super) op: i32,
    pub(super) body: Bytes,
    pub(super) dry_run: bool,
    /// Over whom a dry run counts; `None` if nothing was said.
    pub(super) scope: Option<AskedScope>,
}

/// A scope that was asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AskedScope {
    /// The gateway in this process.
    Gateway,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestFields {
    target: Object<TargetFields>,
    op: i32,
    text: Option<String>,
    body: Option<String>,
    speed: Option<u32>,
    dry_run: Option<bool>,
    scope: Option<AskedScope>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetFields {
    key: Option<String>,
    keys: Option<Vec<String>>,
    mid: Option<Mid>,
    mids: Option<Vec<Mid>>,
    room: Option<String>,
    all: Option<bool>,
}

/// Fields as they stand in an object; serde's own structs come in arrays too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        struct Fields<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Object<T>, M::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Fields(std::marker::PhantomData))
    }
}

/// A user id: a number, or its digits in a string, since JavaScript's numbers end at 2^53.
#[derive(Clone, Copy)]
struct Mid(i64);

impl<'de> Deserialize<'de> for Mid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mid, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Mid;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or its digits in a string")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Mid, E> {
                Ok(Mid(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Mid, E> {
                i64::try_from(number).map(Mid).map_err(|_| E::custom("a user id is below 2^63"))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Mid, E> {
                text.parse().map(Mid).map_err(|_| E::custom("a user id is a whole number"))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

impl PushRequest {
    /// Reads the JSON.
    pub(super) fn parse(json: &[u8]) -> Result<PushRequest, RequestError> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let Object(fields): Object<RequestFields> =
            serde_path_to_error::deserialize(&mut reader).map_err(RequestError::WrongShape)?;
        reader.end().map_err(RequestError::NoJson)?;
        let RequestFields { target: Object(target), op, text, body, speed, dry_run, scope } = fields;
        let dry_run = dry_run.unwrap_or(false);
        if scope.is_some() && !dry_run {
            return Err(RequestError::ScopeWithoutDryRun);
        }
        let target = target.chosen(speed)?;
        let body = match (text, body) {
            (Some(_), Some(_)) => return Err(RequestError::TextAndBody),
            (Some(text), None) => Bytes::from(text),
            (None, Some(body)) => Bytes::from(BASE64.decode(body).map_err(RequestError::NoBase64)?),
            (None, None) if dry_run => Bytes::new(),
            (None, None) => return Err(RequestError::NoMessage),
        };
        Ok(PushRequest { target, op, body, dry_run, scope })
    }
}

/// What is wrong, and where it stands.
fn located(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    if !error.inner().is_data() {
        return format!("the request is no JSON: {}", error.inner());
    }
    let sentence = error.inner().to_string();
    match error.path().to_string().as_str() {
        "." => format!("the request is wrong: {sentence}"),
        path => match meant(&sentence, path) {
            Some(meant) => format!("unknown field {path:?}, did you mean {meant:?}?"),
            None => format!("{path:?} is wrong: {sentence}"),
        },
    }
}

/// The field that was meant by one that there is not: the library names it and those that there are, each between
/// backticks.
fn meant(sentence: &str, path: &str) -> Option<String> {
    let mut names = sentence.strip_prefix("unknown field `")?.split('`').step_by(2);
    let unknown = names.next()?;
    let object = path.strip_suffix(unknown)?;
    nearest(unknown, names).map(|name| format!("{object}{name}"))
}

impl TargetFields {
    /// The one target that is named.
    fn chosen(self, speed: Option<u32>) -> Result<Target, RequestError> {
        let TargetFields { key, keys, mid, mids, room, all } = self;
        let number = |mids: Vec<Mid>| Target::Mids(mids.into_iter().map(|Mid(mid)| mid).collect());
        let named = [
            key.map(|key| Target::Keys(vec![key])),
            keys.map(Target::Keys),
            mid.map(|mid| number(vec![mid])),
            mids.map(number),
            room.map(Target::Room),
            all.map(|_| Target::All { speed: speed.unwrap_or(0) }),
        ];
        let mut named = named.into_iter().flatten();
        match (named.next(), named.next()) {
            (Some(Target::All { .. }), None) if all == Some(false) => Err(RequestError::AllIsFalse),
            (Some(target @ Target::All { .. }), None) => Ok(target),
            (Some(_), None) if speed.is_some() => Err(RequestError::SpeedWithoutAll),
            (Some(target), None) => Ok(target),
            _ => Err(RequestError::NotOneTarget),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<PushRequest, String> {
        PushRequest::parse(json.as_bytes()).map_err(|error| error.sentence())
    }

    #[test]
    fn every_target_is_read() {
        for (target, expected) in [
            (r#"{"key":"k"}"#, Target::Keys(vec!["k".into()])),
            (r#"{"keys":["a","b"]}"#, Target::Keys(vec!["a".into(), "b".into()])),
            (r#"{"mid":7}"#, Target::Mids(vec![7])),
            (r#"{"mids":[9007199254740993,"9007199254740995",-1]}"#, {
                Target::Mids(vec![9_007_199_254_740_993, 9_007_199_254_740_995, -1])
            }),
            (r#"{"room":"live://1"}"#, Target::Room("live://1".into())),
            (r#"{"room":"live://1","key":null}"#, Target::Room("live://1".into())),
            (r#"{"all":true}"#, Target::All { speed: 0 }),
        ] {
            let request = parse(&format!(r#"{{"target":{target},"op":-1,"text":"hé"}}"#)).unwrap();
            assert_eq!(
                request,
                PushRequest { target: expected, op: -1, body: "hé".into(), dry_run: false, scope: None }
            );
        }
    }

    #[test]
    fn bodies_speed_and_dry_run_are_read() {
        let all = r#""target":{"all":true},"op":1"#;
        assert_eq!(parse(&format!(r#"{{{all},"body":"aGk="}}"#)).unwrap().body, "hi");
        assert_eq!(parse(&format!(r#"{{{all},"body":"aGk"}}"#)).unwrap().body, "hi");
        assert_eq!(parse(&format!(r#"{{{all},"text":"","speed":5}}"#)).unwrap().target, Target::All { speed: 5 });
        assert!(parse(&format!(r#"{{{all},"dry_run":true}}"#)).unwrap().dry_run);
        assert!(!parse(&format!(r#"{{{all},"dry_run":null,"speed":null,"text":"x"}}"#)).unwrap().dry_run);
    }

    /// A second name of the same spelling, however it is written, is no way to say something else.
    #[test]
    fn a_name_that_comes_twice_is_refused_and_named() {
        for (json, name) in [
            (r#"{"target":{"room":"r"},"target":{"all":true},"op":1,"text":"x"}"#, "target"),
            (r#"{"target":{"room":"r"},"t\u0061rget":{"all":true},"op":1,"text":"x"}"#, "target"),
            (r#"{"target":{"room":"r"},"target":null,"op":1,"text":"x"}"#, "target"),
            (r#"{"target":{"key":"a","key":"b"},"op":1,"text":"x"}"#, "key"),
            (r#"{"target":{"key":null,"key":"b"},"op":1,"text":"x"}"#, "key"),
            (r#"{"target":{"all":true,"all":true},"op":1,"text":"x"}"#, "all"),
            (r#"{"target":{"room":"r"},"op":1,"op":2,"text":"x"}"#, "op"),
            (r#"{"target":{"room":"r"},"op":1,"text":"x","text":"y"}"#, "text"),
            (r#"{"target":{"room":"r"},"op":1,"body":"","body":""}"#, "body"),
            (r#"{"target":{"all":true},"op":1,"text":"x","speed":1,"speed":0}"#, "speed"),
            (r#"{"target":{"all":true},"op":1,"text":"x","dry_run":true,"dry_run":false}"#, "dry_run"),
        ] {
            let message = parse(json).unwrap_err();
            assert!(message.contains(&format!("duplicate field `{name}`")), "{json}: {message}");
        }
    }

    /// Each mistake is answered with a sentence that names it.
    #[test]
    fn mistakes_are_named() {
        for (json, expected) in [
            ("", "the request is no JSON: EOF"),
            ("{", "the request is no JSON: EOF"),
            (r#"{"target":{"key":"k"#, "the request is no JSON: EOF"),
            ("{} x", "missing field `target`"),
            (r#"{"target":{"key":"k"},"op":1,"text":"x"} x"#, "trailing characters"),
            ("[]", "expected an object"),
            (r#"[{"key":"k"},1,"x",null,null,null]"#, "expected an object"),
            (
                r#"{"target":["k"],"op":1,"text":"x"}"#,
                r#""target" is wrong: invalid type: sequence, expected an object"#,
            ),
            (r#"{"targt":{"key":"k"},"op":1,"text":"x"}"#, r#"unknown field "targt", did you mean "target"?"#),
            (
                r#"{"target":{"rom":"r"},"op":1,"text":"x"}"#,
                r#"unknown field "target.rom", did you mean "target.room"?"#,
            ),
            (r#"{"Target":{"key":"k"},"op":1,"text":"x"}"#, r#"did you mean "target"?"#),
            (
                r#"{"target":{"zzzzzzzz":"r"},"op":1}"#,
                r#""target.zzzzzzzz" is wrong: unknown field `zzzzzzzz`, expected one of `key`"#,
            ),
            (r#"{"target":{"a`roo`":"r"},"op":1}"#, "is wrong: unknown field"),
            (r#"{"target":{"key":"k"},"text":"x"}"#, "missing field `op`"),
            (r#"{"target":{"key":"k"},"op":1.5,"text":"x"}"#, r#""op" is wrong: invalid type: floating point"#),
            (r#"{"target":{"key":"k"},"op":2147483648,"text":"x"}"#, r#""op" is wrong: invalid value"#),
            (r#"{"op":1,"text":"x"}"#, "missing field `target`"),
            (r#"{"target":{},"op":1,"text":"x"}"#, r#""target" names one of"#),
            (r#"{"target":{"key":null},"op":1,"text":"x"}"#, r#""target" names one of"#),
            (r#"{"target":{"key":"k","mid":1},"op":1,"text":"x"}"#, r#""target" names one of"#),
            (r#"{"target":{"key":1},"op":1,"text":"x"}"#, r#""target.key" is wrong: invalid type"#),
            (r#"{"target":{"keys":"a"},"op":1,"text":"x"}"#, r#""target.keys" is wrong: invalid type"#),
            (r#"{"target":{"keys":["a",1]},"op":1,"text":"x"}"#, r#""target.keys[1]" is wrong: invalid type"#),
            (r#"{"target":{"mid":1.5},"op":1,"text":"x"}"#, r#""target.mid" is wrong: invalid type"#),
            (r#"{"target":{"mids":["x"]},"op":1,"text":"x"}"#, r#""target.mids[0]" is wrong: a user id is"#),
            (r#"{"target":{"mid":9223372036854775808},"op":1,"text":"x"}"#, "below 2^63"),
            (r#"{"target":{"all":false},"op":1,"text":"x"}"#, r#""target.all" must be true"#),
            (r#"{"target":{"key":"k"},"op":1}"#, "the message is missing"),
            (r#"{"target":{"key":"k"},"op":1,"text":"x","body":""}"#, "not both"),
            (r#"{"target":{"key":"k"},"op":1,"body":"%"}"#, "no base64"),
            (r#"{"target":{"key":"k"},"op":1,"text":7}"#, r#""text" is wrong: invalid type"#),
            (r#"{"target":{"key":"k"},"op":1,"text":"x","speed":1}"#, r#""speed" goes with the target "all""#),
            (r#"{"target":{"all":true},"op":1,"text":"x","speed":-1}"#, r#""speed" is wrong: invalid value"#),
            (r#"{"target":{"all":true},"op":1,"text":"x","dry_run":1}"#, r#""dry_run" is wrong: invalid type"#),
        ] {
            let message = parse(json).unwrap_err();
            assert!(message.contains(expected), "{json}: {message}");
        }
    }

    /// What the sender chose is repeated only as far as it can help.
    #[test]
    fn sentences_are_short() {
        let json = format!(r#"{{"{}":1}}"#, "ä".repeat(100_000));
        assert!(parse(&json).unwrap_err().chars().count() <= SENTENCE_CHARACTERS_MAX + 1);
    }
}
