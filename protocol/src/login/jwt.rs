//! Login by a signed token (RFC 7519). Owns the checks of header, signature, time, issuer and audience, and the meaning
//! of the claims. A `null` is never a way around a bound or a check. Opens no socket and reads no clock: the time comes
//! in. It returns the outcome of the login, as `open` does.
//!
//! The body of op 7 is the bare token, or a JSON object with the token in `token` and goim's `room_id` and `accepts`
//! beside it (goim §1.6). Those two wishes count where the claims say nothing about them. Wherever they stand, room and
//! ops must be within what the claims `rooms` and `ops` allow; anything beyond refuses the login, so that it cannot go
//! unnoticed, and a token that contradicts itself is found at its first use. Member id and key are always the token's.
//!
//! A renewal (op 7 on a connection that is logged in) is checked in the same way and must name the same member id. It
//! replaces the authority and the end of the login; key, room and accepted ops stay as they are, less what the new
//! authority does not allow.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::{Algorithm, KeySet};
use super::open::Fields;
use super::{ACCEPTS_MAX, AuthRefusal, Authority, Identity, NAME_BYTES_MAX};

/// Patterns in the claim `rooms`.
pub const ROOM_PATTERNS_MAX: usize = 256;

/// Which claim means what. A name that begins with `/` is a JSON pointer into nested claims (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// Member id: an integer, or one written as a string. Absent = 0: no user, so that no push to a user reaches it.
    pub mid: String,
    /// Connection key: a string. Absent or empty = generated.
    pub key: String,
    /// Full room key to join at login: a string, within `rooms`.
    pub room: String,
    /// Ops wanted at login: integers, within `ops`.
    pub accepts: String,
    /// Rooms that may be joined: one pattern or several, `*` matching any run of characters. Absent = every
    /// room; `null` refuses the login.
    pub rooms: String,
    /// Ops that may be accepted: integers. Absent = every op; `null` refuses the login.
    pub ops: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        ClaimNames {
            mid: "mid".to_owned(),
            key: "key".to_owned(),
            room: "room_id".to_owned(),
            accepts: "accepts".to_owned(),
            rooms: "rooms".to_owned(),
            ops: "ops".to_owned(),
        }
    }
}

/// What a token must say beside being signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// Which claim means what.
    pub claims: ClaimNames,
    /// Values of `iss`, one of which must be there; empty = not looked at.
    pub issuers: Vec<String>,
    /// Values of `aud`, one of which must be there, `*` for any. Empty = the token must have no `aud`, since one that
    /// is meant for others must be refused (RFC 7519 §4.1.3).
    pub audiences: Vec<String>,
    /// How far clocks may differ, in seconds: `exp` counts as this much later, `nbf` as this much earlier.
    pub leeway_s: u64,
    /// Claims that must be there. `exp` is here by default; without it tokens without end are let in.
    pub required: Vec<String>,
}

impl Default for JwtSettings {
    fn default() -> Self {
        JwtSettings {
            claims: ClaimNames::default(),
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway_s: 30,
            required: vec!["exp".to_owned()],
        }
    }
}

/// What decides on signed tokens: settings and keys of a moment.
#[derive(Debug, Default)]
pub struct JwtRules {
    /// What tokens must say.
    pub settings: JwtSettings,
    /// What they are signed with.
    pub keys: KeySet,
}

/// The part of a token's header that we understand.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// There, whatever its value: what is no list of extensions is understood even less.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(value).map(|_| true)
}

impl JwtRules {
    /// Decide on the body of op 7 at `now_s` (seconds since the Unix epoch). `refresh` is the member id of a connection
    /// that is logged in already and must stay the same. A token without key gets the one that `make_key` returns.
    pub fn decide(
        &self,
        body: &[u8],
        refresh: Option<i64>,
        now_s: u64,
        make_key: impl FnOnce() -> Box<str>,
    ) -> Result<Identity, AuthRefusal> {
        let body = body.trim_ascii();
        let identity = if body.starts_with(b"{") {
            let wishes = Fields::read(body, true)?;
            let token = wishes.token.as_deref().ok_or(AuthRefusal::Malformed)?;
            let claims = self.verified_claims(token, now_s)?;
            self.identity(&claims, Some(&wishes), make_key)?
        } else {
            let token = std::str::from_utf8(body).map_err(|_| AuthRefusal::Malformed)?;
            let claims = self.verified_claims(token, now_s)?;
            self.identity(&claims, None, make_key)?
        };
        if refresh.is_some_and(|mid| mid != identity.mid) { Err(AuthRefusal::OtherUser) } else { Ok(identity) }
    }

    /// The claims of a token that is signed by one of our keys, is valid now and is meant for us.
    fn verified_claims(&self, token: &str, now_s: u64) -> Result<Value, AuthRefusal> {
        let (message, signature) = token.rsplit_once('.').ok_or(AuthRefusal::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(AuthRefusal::Malformed)?;
        let header: Header = decode_part(header)?;
        let algorithm = Algorithm::from_header(&header.alg).ok_or(AuthRefusal::Signature)?;
        // An extension that must be understood and is not (RFC 7515 §4.1.11).
        if header.crit {
            return Err(AuthRefusal::Signature);
        }
        if !self.keys.verifies(algorithm, header.kid.as_deref(), message.as_bytes(), signature) {
            return Err(AuthRefusal::Signature);
        }
        let claims: Map<String, Value> = decode_part(payload)?;
        let claims = Value::Object(claims);
        self.check_time(&claims, now_s)?;
        self.check_parties(&claims)?;
        for name in &self.settings.required {
            find(&claims, name)?.filter(|claim| !claim.is_null()).ok_or(AuthRefusal::Claims)?;
        }
        Ok(claims)
    }

    fn check_time(&self, claims: &Value, now_s: u64) -> Result<(), AuthRefusal> {
        if let Some(nbf_s) = seconds(claims, "nbf")?
            && nbf_s > now_s.saturating_add(self.settings.leeway_s)
        {
            return Err(AuthRefusal::NotYet);
        }
        match self.expires_at_s(claims)? {
            Some(end_s) if end_s <= now_s => Err(AuthRefusal::Expired),
            _ => Ok(()),
        }
    }

    /// When the login ends: `exp`, as much later as clocks may differ.
    fn expires_at_s(&self, claims: &Value) -> Result<Option<u64>, AuthRefusal> {
        Ok(seconds(claims, "exp")?.map(|exp_s| exp_s.saturating_add(self.settings.leeway_s)))
    }

    fn check_parties(&self, claims: &Value) -> Result<(), AuthRefusal> {
        let JwtSettings { issuers, audiences, .. } = &self.settings;
        // Which issuer that is does not matter without `issuers`; one that is null matters always.
        if issuers.is_empty() {
            check(claims, "iss")?;
        } else if !strings(claims, "iss")?.is_some_and(|found| found.iter().any(|iss| issuers.contains(iss))) {
            return Err(AuthRefusal::Audience);
        }
        let meant_for_us = match strings(claims, "aud")? {
            None => audiences.is_empty(),
            Some(found) => audiences.iter().any(|ours| ours == "*" || found.contains(ours)),
        };
        if meant_for_us { Ok(()) } else { Err(AuthRefusal::Audience) }
    }

    /// What the claims, and within them the client's wishes, say.
    fn identity(
        &self,
        claims: &Value,
        wishes: Option<&Fields>,
        make_key: impl FnOnce() -> Box<str>,
    ) -> Result<Identity, AuthRefusal> {
        let names = &self.settings.claims;
        let rooms = strings(claims, &names.rooms)?;
        if rooms.as_ref().is_some_and(|patterns| patterns.len() > ROOM_PATTERNS_MAX) {
            return Err(AuthRefusal::Claims);
        }
        let authority = Authority { rooms, ops: ops(check(claims, &names.ops)?)? };
        let room = match name(claims, &names.room)? {
            Some(room) => room,
            None => wishes.map(|wishes| wishes.room.clone()).unwrap_or_default(),
        };
        let accepts = match ops(tell(claims, &names.accepts)?)? {
            Some(accepts) => accepts,
            None => wishes.map(|wishes| wishes.accepts.clone()).unwrap_or_default(),
        };
        if !authority.allows_room(&room) || !accepts.iter().all(|&op| authority.allows_op(op)) {
            return Err(AuthRefusal::Authority);
        }
        Ok(Identity {
            mid: member_id(claims, &names.mid)?,
            key: name(claims, &names.key)?.filter(|key| !key.is_empty()).unwrap_or_else(make_key),
            room,
            accepts,
            authority: (authority != Authority::default()).then(|| Arc::new(authority)),
            expires_at_s: self.expires_at_s(claims)?,
        })
    }
}

/// The JSON of one base64url part of a token.
fn decode_part<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, AuthRefusal> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthRefusal::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| AuthRefusal::Malformed)
}

/// A claim by name or pointer (RFC 6901), `null` as it stands. A pointer that leads through something without members
/// is no absent claim: the token was made for other names, or its maker failed, and nobody knows what was to be said.
fn find<'a>(claims: &'a Value, name: &str) -> Result<Option<&'a Value>, AuthRefusal> {
    let Some(path) = name.strip_prefix('/') else {
        return Ok(claims.get(name));
    };
    let mut place = claims;
    for token in path.split('/') {
        let token = token.replace("~1", "/").replace("~0", "~");
        let next = match place {
            Value::Object(members) => members.get(&token),
            Value::Array(items) => Some(item(items, &token).ok_or(AuthRefusal::Claims)?),
            _ => return Err(AuthRefusal::Claims),
        };
        let Some(next) = next else { return Ok(None) };
        place = next;
    }
    Ok(Some(place))
}

/// The element that a pointer's token names: digits without a leading zero (RFC 6901 §4).
fn item<'a>(items: &'a [Value], token: &str) -> Option<&'a Value> {
    let digits = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    digits.then(|| token.parse::<usize>().ok()).flatten().and_then(|index| items.get(index))
}

/// A claim that says who somebody is: `null` says nothing, as if it were absent.
fn tell<'a>(claims: &'a Value, name: &str) -> Result<Option<&'a Value>, AuthRefusal> {
    Ok(find(claims, name)?.filter(|value| !value.is_null()))
}

/// A claim that bounds or is checked: `null` would lift the bound and pass the check, so it is refused.
fn check<'a>(claims: &'a Value, name: &str) -> Result<Option<&'a Value>, AuthRefusal> {
    match find(claims, name)? {
        Some(Value::Null) => Err(AuthRefusal::Claims),
        found => Ok(found),
    }
}

/// A checked claim that is a NumericDate (RFC 7519 §2), rounded down; before 1970 counts as 0.
fn seconds(claims: &Value, name: &str) -> Result<Option<u64>, AuthRefusal> {
    match check(claims, name)? {
        None => Ok(None),
        Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => Ok(Some(whole)),
            #[expect(clippy::cast_possible_truncation, reason = "saturates, which is what a date out of range means")]
            (None, Some(fraction)) => Ok(Some(fraction as u64)),
            (None, None) => Err(AuthRefusal::Claims),
        },
        Some(_) => Err(AuthRefusal::Claims),
    }
}

/// A checked claim that is one string or several.
fn strings(claims: &Value, name: &str) -> Result<Option<Vec<String>>, AuthRefusal> {
    match check(claims, name)? {
        None => Ok(None),
        Some(Value::String(one)) => Ok(Some(vec![one.clone()])),
        Some(Value::Array(several)) => several
            .iter()
            .map(|value| value.as_str().map(str::to_owned).ok_or(AuthRefusal::Claims))
            .collect::<Result<Vec<String>, AuthRefusal>>()
            .map(Some),
        Some(_) => Err(AuthRefusal::Claims),
    }
}

/// The value of a claim that is a list of ops, made ascending and distinct.
fn ops(claim: Option<&Value>) -> Result<Option<Vec<i32>>, AuthRefusal> {
    let Some(value) = claim else {
        return Ok(None);
    };
    let list = value.as_array().ok_or(AuthRefusal::Claims)?;
    let op = |value: &Value| value.as_i64().and_then(|op| i32::try_from(op).ok()).ok_or(AuthRefusal::Claims);
    let mut ops = list.iter().map(op).collect::<Result<Vec<i32>, AuthRefusal>>()?;
    ops.sort_unstable();
    ops.dedup();
    if ops.len() <= ACCEPTS_MAX { Ok(Some(ops)) } else { Err(AuthRefusal::Claims) }
}

/// A claim that names a key or a room.
fn name(claims: &Value, name: &str) -> Result<Option<Box<str>>, AuthRefusal> {
    match tell(claims, name)? {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= NAME_BYTES_MAX => Ok(Some(text.as_str().into())),
        Some(_) => Err(AuthRefusal::Claims),
    }
}

/// The claim that names the user: an integer, or one written as a string, as `sub` must be.
fn member_id(claims: &Value, name: &str) -> Result<i64, AuthRefusal> {
    match tell(claims, name)? {
        None => Ok(0),
        Some(Value::Number(number)) => number.as_i64().ok_or(AuthRefusal::Claims),
        Some(Value::String(text)) => text.parse().map_err(|_| AuthRefusal::Claims),
        Some(_) => Err(AuthRefusal::Claims),
    }
}

#[cfg(test)]
mod tests;
