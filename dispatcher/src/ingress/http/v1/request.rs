//! The body of `POST /v1/push`. Owns its fields and the sentence for each way to get them wrong; checks form only, the bounds
//! are [`crate::ingress::admit`]'s.
//!
//! ```json
//! {"target": {"room": "live://1000"}, "op": 1000, "text": "hello"}
//! ```
//!
//! `target` has one of `key`, `keys`, `mid`, `mids`, `room` (a full room key) or `all` (true). The message is `text` or, as
//! base64, `body`. `speed` paces a push to all, in deliveries a second. `dry_run` only counts, and needs no message.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::feed::Target;

const FIELDS: &[&str] = &["target", "op", "text", "body", "speed", "dry_run"];
const TARGETS: &[&str] = &["key", "keys", "mid", "mids", "room", "all"];

/// Padded or not: both are common.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PushRequest {
    pub(super) target: Target,
    pub(super) op: i32,
    pub(super) body: Bytes,
    pub(super) dry_run: bool,
}

impl PushRequest {
    /// Reads the JSON; the error is a sentence for the caller.
    pub(super) fn parse(json: &[u8]) -> Result<PushRequest, String> {
        let request: Value =
            serde_json::from_slice(json).map_err(|error| format!("the request is no JSON: {error}"))?;
        let Value::Object(mut request) = request else {
            return Err("the request must be a JSON object".into());
        };
        check_names(&request, FIELDS, "")?;
        let op = request.get("op").ok_or("\"op\" is missing: the operation that clients see")?;
        let op =
            integer(op).ok_or_else(|| format!("\"op\" must be a whole number from {} to {}", i32::MIN, i32::MAX))?;
        let dry_run = match request.get("dry_run") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(dry_run)) => *dry_run,
            Some(_) => return Err("\"dry_run\" must be true or false".into()),
        };
        let speed = match request.get("speed") {
            None | Some(Value::Null) => None,
            Some(speed) => {
                Some(integer(speed).ok_or("\"speed\" must be a whole number of deliveries a second, 0 or more")?)
            }
        };
        let target = target(request.get("target"), speed)?;
        let body = match (request.remove("text"), request.remove("body")) {
            (Some(_), Some(_)) => return Err("give \"text\" or \"body\", not both".into()),
            (Some(Value::String(text)), None) => Bytes::from(text),
            (Some(_), None) => return Err("\"text\" must be a string".into()),
            (None, Some(Value::String(body))) => match BASE64.decode(body) {
                Ok(body) => Bytes::from(body),
                Err(error) => return Err(format!("\"body\" is no base64: {error}")),
            },
            (None, Some(_)) => return Err("\"body\" must be a string of base64".into()),
            (None, None) if dry_run => Bytes::new(),
            (None, None) => return Err("the message is missing: give \"text\", or \"body\" as base64".into()),
        };
        Ok(PushRequest { target, op, body, dry_run })
    }
}

fn target(target: Option<&Value>, speed: Option<u32>) -> Result<Target, String> {
    let choices = "\"target\" must be an object with one of \"key\", \"keys\", \"mid\", \"mids\", \"room\" or \"all\"";
    let Some(Value::Object(target)) = target else {
        return Err(choices.into());
    };
    check_names(target, TARGETS, "target.")?;
    let mut fields = target.iter();
    let (Some((name, value)), None) = (fields.next(), fields.next()) else {
        return Err(choices.into());
    };
    if speed.is_some() && name != "all" {
        return Err("\"speed\" goes with the target \"all\" only".into());
    }
    match name.as_str() {
        "key" => Ok(Target::Keys(vec![string(value).ok_or("\"target.key\" must be a string")?])),
        "keys" => Ok(Target::Keys(list(value, string).ok_or("\"target.keys\" must be an array of strings")?)),
        "mid" => Ok(Target::Mids(vec![mid(value).ok_or("\"target.mid\" must be a whole number")?])),
        "mids" => Ok(Target::Mids(list(value, mid).ok_or("\"target.mids\" must be an array of whole numbers")?)),
        "room" => {
            let hint = "\"target.room\" must be a full room key such as \"live://1000\"";
            Ok(Target::Room(string(value).ok_or(hint)?))
        }
        _ if *value == Value::Bool(true) => Ok(Target::All { speed: speed.unwrap_or(0) }),
        _ => Err("\"target.all\" must be true".into()),
    }
}

fn integer<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    T::try_from(value.as_i64()?).ok()
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(String::from)
}

/// A user id: a number, or its digits in a string, since JavaScript's numbers end at 2^53.
fn mid(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn list<T>(value: &Value, element: fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(element).collect()
}

/// Refuses names that are not known, and says which one is nearest.
fn check_names(object: &Map<String, Value>, known: &[&str], path: &str) -> Result<(), String> {
    let Some(unknown) = object.keys().find(|name| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    // A name of any length may come, so it is quoted only as far as it can help.
    let shown: String = unknown.chars().take(40).collect();
    let nearest = known.iter().map(|name| (strsim::damerau_levenshtein(name, &shown), name)).min();
    Err(match nearest {
        Some((distance, name)) if distance <= 1 + name.len() / 3 => {
            format!("unknown field \"{path}{shown}\", did you mean \"{path}{name}\"?")
        }
        _ => format!("unknown field \"{path}{shown}\", known are: {}", known.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<PushRequest, String> {
        PushRequest::parse(json.as_bytes())
    }

    #[test]
    fn every_target_is_read() {
        for (target, expected) in [
            (r#"{"key":"k"}"#, Target::Keys(vec!["k".into()])),
            (r#"{"keys":["a","b"]}"#, Target::Keys(vec!["a".into(), "b".into()])),
            (r#"{"mid":7}"#, Target::Mids(vec![7])),
            (r#"{"mids":[9007199254740993,"9007199254740995"]}"#, {
                Target::Mids(vec![9_007_199_254_740_993, 9_007_199_254_740_995])
            }),
            (r#"{"room":"live://1"}"#, Target::Room("live://1".into())),
            (r#"{"all":true}"#, Target::All { speed: 0 }),
        ] {
            let request = parse(&format!(r#"{{"target":{target},"op":-1,"text":"hé"}}"#)).unwrap();
            assert_eq!(request, PushRequest { target: expected, op: -1, body: "hé".into(), dry_run: false });
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

    /// Each mistake is answered with a sentence that names it.
    #[test]
    fn mistakes_are_named() {
        for (json, expected) in [
            ("", "the request is no JSON"),
            ("{} x", "the request is no JSON"),
            ("[]", "must be a JSON object"),
            (r#"{"targt":{"key":"k"},"op":1,"text":"x"}"#, r#"unknown field "targt", did you mean "target"?"#),
            (
                r#"{"target":{"rom":"r"},"op":1,"text":"x"}"#,
                r#"unknown field "target.rom", did you mean "target.room"?"#,
            ),
            (r#"{"zzzzzzz":1}"#, "known are: target, op, text"),
            (r#"{"target":{"key":"k"},"text":"x"}"#, r#""op" is missing"#),
            (r#"{"target":{"key":"k"},"op":1.5,"text":"x"}"#, r#""op" must be a whole number"#),
            (r#"{"target":{"key":"k"},"op":2147483648,"text":"x"}"#, r#""op" must be a whole number"#),
            (r#"{"op":1,"text":"x"}"#, r#""target" must be an object"#),
            (r#"{"target":{},"op":1,"text":"x"}"#, r#""target" must be an object"#),
            (r#"{"target":{"key":"k","mid":1},"op":1,"text":"x"}"#, r#""target" must be an object"#),
            (r#"{"target":{"key":1},"op":1,"text":"x"}"#, r#""target.key" must be a string"#),
            (r#"{"target":{"keys":"a"},"op":1,"text":"x"}"#, r#""target.keys" must be an array"#),
            (r#"{"target":{"mid":1.5},"op":1,"text":"x"}"#, r#""target.mid" must be a whole number"#),
            (r#"{"target":{"all":false},"op":1,"text":"x"}"#, r#""target.all" must be true"#),
            (r#"{"target":{"key":"k"},"op":1}"#, "the message is missing"),
            (r#"{"target":{"key":"k"},"op":1,"text":"x","body":""}"#, "not both"),
            (r#"{"target":{"key":"k"},"op":1,"body":"%"}"#, "no base64"),
            (r#"{"target":{"key":"k"},"op":1,"text":7}"#, r#""text" must be a string"#),
            (r#"{"target":{"key":"k"},"op":1,"text":"x","speed":1}"#, r#""speed" goes with the target "all""#),
            (r#"{"target":{"all":true},"op":1,"text":"x","speed":-1}"#, r#""speed" must be a whole number"#),
            (r#"{"target":{"all":true},"op":1,"text":"x","dry_run":1}"#, r#""dry_run" must be true or false"#),
        ] {
            let message = parse(json).unwrap_err();
            assert!(message.contains(expected), "{json}: {message}");
        }
    }
}
