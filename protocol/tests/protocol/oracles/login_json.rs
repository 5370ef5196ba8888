//! The scanner behind goim's login token, beside another reader of JSON. Where both must agree, they do: ours reads as
//! Go does, which takes bytes that are not UTF-8 and halves of surrogate pairs, has an integer `-0`, and nests no
//! deeper than a token can.

use std::fmt;

use halley_protocol::login::json::{BadJson, Scanner};
use halley_protocol::login::open::{Fields, open};
use halley_protocol::login::{ACCEPTS_MAX, NAME_BYTES_MAX};

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// Deeper than this the scanner refuses; see its module.
const DEPTH_MAX: usize = 4096;

/// A body of op 7.
pub fn login_json(body: &[u8]) {
    skips_what_is_json(body);
    reads_the_same_fields(body);
    let made = open(body, || "made".into());
    let fields = Fields::read(body, false);
    match (made, fields) {
        (Ok(identity), Ok(fields)) => {
            let key = if fields.key.is_empty() { "made".into() } else { fields.key };
            assert_eq!((identity.mid, identity.key, identity.room), (fields.mid, key, fields.room));
            assert_eq!(identity.accepts, fields.accepts);
            assert!(identity.authority.is_none() && identity.expires_at_s.is_none());
        }
        (made, fields) => assert_eq!(made.map(drop), fields.map(drop)),
    }
}

fn skips_what_is_json(body: &[u8]) {
    let mut scanner = Scanner::new(body);
    let ours = scanner.skip().and_then(|()| scanner.end()).is_ok();
    let theirs = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    // The other reader lets bytes that are not UTF-8 through where it looks at nothing.
    if std::str::from_utf8(body).is_ok() && !nests_deeply(body) {
        assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(body));
    }
    let mut scanner = Scanner::new(body);
    let _: Result<_, BadJson> = scanner.string();
    let _: Result<i64, BadJson> = Scanner::new(body).integer();
}

fn nests_deeply(body: &[u8]) -> bool {
    body.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() >= DEPTH_MAX
}

fn reads_the_same_fields(body: &[u8]) {
    for wrapped in [false, true] {
        let ours = Fields::read(body, wrapped);
        if let Ok(fields) = &ours {
            assert!(fields.key.len() <= NAME_BYTES_MAX && fields.room.len() <= NAME_BYTES_MAX);
            assert!(fields.accepts.len() <= ACCEPTS_MAX && fields.accepts.is_sorted_by(|a, b| a < b));
            assert!(wrapped || fields.token.is_none());
        }
        match Token::read(body, wrapped) {
            Ok(_) if nests_deeply(body) => {}
            Ok(token) => {
                let within = token.key.len() <= NAME_BYTES_MAX
                    && token.room.len() <= NAME_BYTES_MAX
                    && token.accepts.len() <= ACCEPTS_MAX;
                let theirs = (token.mid, token.key, token.room, token.accepts, token.token);
                let ours = ours.map(|ours| {
                    (ours.mid, ours.key.into(), ours.room.into(), ours.accepts, ours.token.map(String::from))
                });
                assert_eq!(ours.ok(), within.then_some(theirs), "{}", String::from_utf8_lossy(body));
            }
            Err(_) if go_takes_more(body) => {}
            Err(error) => assert!(ours.is_err(), "{error}: {}", String::from_utf8_lossy(body)),
        }
    }
}

/// Whether something may be in it that Go takes and the other reader does not.
fn go_takes_more(body: &[u8]) -> bool {
    let holds = |part: &[u8]| body.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    std::str::from_utf8(body).is_err() || holds(b"\\ud") || holds(b"-0")
}

/// What [`Fields`] should be, read by serde.
#[derive(Default)]
struct Token {
    mid: i64,
    key: String,
    room: String,
    accepts: Vec<i32>,
    token: Option<String>,
}

impl Token {
    fn read(body: &[u8], wrapped: bool) -> Result<Token, serde_json::Error> {
        let mut document = serde_json::Deserializer::from_slice(body);
        let token = document.deserialize_option(Members { wrapped })?;
        document.end().map(|()| token)
    }
}

/// The members of a token, or `null`.
struct Members {
    wrapped: bool,
}

impl<'de> Visitor<'de> for Members {
    type Value = Token;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_none<E>(self) -> Result<Token, E> {
        Ok(Token::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Token, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Token, A::Error> {
        let mut token = Token::default();
        while let Some(name) = members.next_key::<String>()? {
            match folded(&name).as_str() {
                "mid" => token.mid = members.next_value::<Option<i64>>()?.unwrap_or(token.mid),
                "key" => token.key = members.next_value::<Option<String>>()?.unwrap_or(token.key),
                "room_id" => token.room = members.next_value::<Option<String>>()?.unwrap_or(token.room),
                "platform" => drop(members.next_value::<Option<String>>()?),
                "accepts" => {
                    let ops = members.next_value::<Option<Vec<Option<i32>>>>()?.unwrap_or_default();
                    token.accepts = ops.into_iter().map(Option::unwrap_or_default).collect();
                }
                "token" if self.wrapped => token.token = members.next_value::<Option<String>>()?.or(token.token),
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        token.accepts.sort_unstable();
        token.accepts.dedup();
        Ok(token)
    }
}

/// A name without regard to case, as Go has it: two letters outside ASCII are ASCII ones in other clothes.
fn folded(name: &str) -> String {
    name.chars().flat_map(|letter| if letter == '\u{17f}' { 's' } else { letter }.to_lowercase()).collect()
}
