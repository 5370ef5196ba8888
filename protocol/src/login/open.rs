//! Login by goim's own token: unsigned JSON, believed as it stands (goim §1.6). Owns the meaning of its fields; checks
//! nothing but their bounds. What it returns is the outcome of the login; `jwt` takes the client's wishes from the same
//! fields.

use super::json::{BadJson, Scanner, names_equal};
use super::{ACCEPTS_MAX, AuthRefusal, Identity, NAME_BYTES_MAX};

/// The fields of the token, each as far as it was given. `jwt` takes `room_id` and `accepts` from here too.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Member id, 0 by default.
    pub mid: i64,
    /// Connection key, empty for "give me one".
    pub key: Box<str>,
    /// Full room key, empty for none.
    pub room: Box<str>,
    /// Ops wanted, distinct, ascending.
    pub accepts: Vec<i32>,
    /// The signed part of a wrapped token (see `jwt`); goim does not know this field.
    pub token: Option<Box<str>>,
}

impl Fields {
    /// Read the body of op 7. `wrapped` also looks for `token`, which otherwise is an unknown field like any other.
    pub fn read(body: &[u8], wrapped: bool) -> Result<Fields, AuthRefusal> {
        let mut fields = Fields::default();
        fields.read_document(&mut Scanner::new(body), wrapped).map_err(|BadJson| AuthRefusal::Malformed)?;
        fields.accepts.sort_unstable();
        fields.accepts.dedup();
        let fits = fields.key.len() <= NAME_BYTES_MAX
            && fields.room.len() <= NAME_BYTES_MAX
            && fields.accepts.len() <= ACCEPTS_MAX;
        if fits { Ok(fields) } else { Err(AuthRefusal::Malformed) }
    }

    fn read_document(&mut self, scanner: &mut Scanner<'_>, wrapped: bool) -> Result<(), BadJson> {
        if !scanner.null()? {
            scanner.object(|scanner, name| self.read_member(scanner, name, wrapped))?;
        }
        scanner.end()
    }

    /// Of several members with one name the last counts; `null` leaves what was there, but empties `accepts`.
    fn read_member(&mut self, scanner: &mut Scanner<'_>, name: &str, wrapped: bool) -> Result<(), BadJson> {
        if names_equal("mid", name) {
            if !scanner.null()? {
                self.mid = scanner.integer()?;
            }
        } else if names_equal("key", name) {
            if !scanner.null()? {
                self.key = scanner.string()?.into();
            }
        } else if names_equal("room_id", name) {
            if !scanner.null()? {
                self.room = scanner.string()?.into();
            }
        } else if names_equal("accepts", name) {
            self.accepts.clear();
            if !scanner.null()? {
                scanner.array(|scanner| {
                    let op = if scanner.null()? { 0 } else { scanner.integer()? };
                    self.accepts.push(op);
                    Ok(())
                })?;
            }
        } else if names_equal("platform", name) {
            // Not used, yet of the wrong type it makes the token invalid.
            if !scanner.null()? {
                scanner.string()?;
            }
        } else if wrapped && names_equal("token", name) {
            if !scanner.null()? {
                self.token = Some(scanner.string()?.into());
            }
        } else {
            scanner.skip()?;
        }
        Ok(())
    }
}

/// Decide on goim's token. A login without key gets the one that `make_key` returns.
pub fn open(token: &[u8], make_key: impl FnOnce() -> Box<str>) -> Result<Identity, AuthRefusal> {
    let fields = Fields::read(token, false)?;
    let key = if fields.key.is_empty() { make_key() } else { fields.key };
    Ok(Identity {
        mid: fields.mid,
        key,
        room: fields.room,
        accepts: fields.accepts,
        authority: None,
        expires_at_s: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(token: &str) -> Option<(i64, String, String, Vec<i32>)> {
        let identity = open(token.as_bytes(), || "made".into()).ok()?;
        assert_eq!((&identity.authority, identity.expires_at_s), (&None, None));
        Some((identity.mid, identity.key.into(), identity.room.into(), identity.accepts))
    }

    #[test]
    fn what_goim_accepts_means_the_same() {
        for (token, mid, key, room, accepts) in [
            ("{}", 0, "made", "", &[][..]),
            (" \r\n\t{ } ", 0, "made", "", &[]),
            ("null", 0, "made", "", &[]),
            (
                r#"{"mid":123,"room_id":"live://1000","platform":"web","accepts":[1000,1001,1002]}"#,
                123,
                "made",
                "live://1000",
                &[1000, 1001, 1002],
            ),
            (r#"{"mid":-9223372036854775808}"#, i64::MIN, "made", "", &[]),
            (r#"{"mid":9223372036854775807}"#, i64::MAX, "made", "", &[]),
            (r#"{"mid":-0}"#, 0, "made", "", &[]),
            (r#"{"MID":1,"Key":"k","ROOM_id":"r","Accepts":[7]}"#, 1, "k", "r", &[7]),
            (r#"{"m\u0069d":5}"#, 5, "made", "", &[]),
            (r#"{"mid":1,"Mid":2}"#, 2, "made", "", &[]),
            (r#"{"mid":1,"mid":null}"#, 1, "made", "", &[]),
            (r#"{"key":""}"#, 0, "made", "", &[]),
            (r#"{"mid":null,"key":null,"room_id":null,"platform":null,"accepts":null}"#, 0, "made", "", &[]),
            (r#"{"accepts":[1],"accepts":null}"#, 0, "made", "", &[]),
            (r#"{"accepts":[1,2],"accepts":[3]}"#, 0, "made", "", &[3]),
            (r#"{"accepts":[null,5]}"#, 0, "made", "", &[0, 5]),
            (r#"{"accepts":[3,1,3,-2147483648]}"#, 0, "made", "", &[i32::MIN, 1, 3]),
            (r#"{"accepts":[]}"#, 0, "made", "", &[]),
            (r#"{"other":{"deep":[1,{"x":[true,false,null]}]},"n":1.5e300,"mid":4}"#, 4, "made", "", &[]),
            (r#"{"key":"\u76f4\u64ad"}"#, 0, "直播", "", &[]),
            (r#"{"token":17}"#, 0, "made", "", &[]),
        ] {
            assert_eq!(login(token), Some((mid, key.into(), room.into(), accepts.to_vec())), "{token}");
        }
    }

    #[test]
    fn what_goim_refuses_is_malformed() {
        for token in [
            "",
            " ",
            "{",
            "}",
            "[]",
            "\"x\"",
            "1",
            "true",
            "nul",
            "nullx",
            "{}x",
            "{}{}",
            "{,}",
            r#"{"mid":1,}"#,
            r#"{"mid" 1}"#,
            r#"{mid:1}"#,
            r#"{"mid":"1"}"#,
            r#"{"mid":1.0}"#,
            r#"{"mid":1e3}"#,
            r#"{"mid":01}"#,
            r#"{"mid":9223372036854775808}"#,
            r#"{"mid":true}"#,
            r#"{"mid":[]}"#,
            r#"{"mid":{}}"#,
            r#"{"key":1}"#,
            r#"{"room_id":1}"#,
            r#"{"platform":1}"#,
            r#"{"accepts":"1"}"#,
            r#"{"accepts":1}"#,
            r#"{"accepts":{}}"#,
            r#"{"accepts":["1"]}"#,
            r#"{"accepts":[1.5]}"#,
            r#"{"accepts":[2147483648]}"#,
            r#"{"accepts":[1,]}"#,
            r#"{"accepts":[1 2]}"#,
            r#"{"accepts":[[1]]}"#,
            r#"{"other":tru}"#,
            r#"{"other":[}"#,
            "{\"key\":\"a\nb\"}",
            "\u{feff}{}",
        ] {
            let refusal = open(token.as_bytes(), || "made".into());
            assert_eq!(refusal, Err(AuthRefusal::Malformed), "{token}");
        }
    }

    #[test]
    fn names_and_accepts_are_bounded() {
        let named = |bytes: usize| format!(r#"{{"key":"{0}","room_id":"{0}"}}"#, "x".repeat(bytes));
        assert!(login(&named(NAME_BYTES_MAX)).is_some());
        assert!(login(&named(NAME_BYTES_MAX + 1)).is_none());
        let accepting = |ops: usize| {
            let list: Vec<String> = (0..ops).map(|op| op.to_string()).collect();
            format!(r#"{{"accepts":[{},0,0]}}"#, list.join(","))
        };
        assert_eq!(login(&accepting(ACCEPTS_MAX)).map(|found| found.3.len()), Some(ACCEPTS_MAX));
        assert!(login(&accepting(ACCEPTS_MAX + 1)).is_none());
    }

    #[test]
    fn a_given_key_makes_none() {
        let identity = open(br#"{"key":"device-1"}"#, || unreachable!("the token has a key"));
        assert_eq!(identity.map(|identity| identity.key), Ok("device-1".into()));
    }
}
