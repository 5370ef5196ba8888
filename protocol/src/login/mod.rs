//! Step 7 of a frame on its way in: who a client is and what it may reach. Owns what op 7 may say, the outcome of a
//! login, and the authority that goes on after it. Opens no socket or file, reads no clock and waits for nobody: the
//! time, the keys and what is random are handed in. `open` reads goim's unsigned token, `jwt` checks a signed one with
//! the keys that `keys` holds. Whoever asks applies the outcome: in the gateway `shard::login`, for signed tokens by
//! way of `control::logins`.

pub mod json;
pub mod jwt;
pub mod keys;
pub mod open;

use std::sync::Arc;

/// Longest key or room name accepted, in bytes. goim has no bound.
pub const NAME_BYTES_MAX: usize = 1024;
/// Distinct ops one connection may accept. goim has no bound.
pub const ACCEPTS_MAX: usize = 1024;

/// What a successful login says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// Member id; only values above 0 can be pushed to by mid.
    pub mid: i64,
    /// Connection key, never empty.
    pub key: Box<str>,
    /// Full room key to join, empty for none.
    pub room: Box<str>,
    /// Ops wanted for key, mid and broadcast pushes.
    pub accepts: Vec<i32>,
    /// What ops 12 and 14 may reach; `None` = anything.
    pub authority: Option<Arc<Authority>>,
    /// When the login ends unless refreshed, in seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
}

/// What a client may reach after login (claims `rooms` and `ops`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    /// Room patterns, `*` matching any run of characters; `None` = every room.
    pub rooms: Option<Vec<String>>,
    /// Ops that may be accepted; `None` = every op.
    pub ops: Option<Vec<i32>>,
}

/// Why a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthRefusal {
    /// Not the JSON or JWT that the mode asks for.
    Malformed,
    /// The signature, algorithm or key does not fit.
    Signature,
    /// `exp` has passed, by more than clocks may differ.
    Expired,
    /// `nbf` has not come, by more than clocks may differ.
    NotYet,
    /// `iss` or `aud` is not ours.
    Audience,
    /// A claim is missing or has the wrong type.
    Claims,
    /// The room or the ops asked for at login, in the token or beside it, are beyond what its claims `rooms` and `ops`
    /// allow.
    Authority,
    /// A refresh names another user than the connection.
    OtherUser,
    /// The authority is out of reach or has too much to do.
    Unavailable,
    /// A library panicked on the token.
    Internal,
}

impl AuthRefusal {
    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            AuthRefusal::Malformed => "malformed",
            AuthRefusal::Signature => "signature",
            AuthRefusal::Expired => "expired",
            AuthRefusal::NotYet => "not_yet",
            AuthRefusal::Audience => "audience",
            AuthRefusal::Claims => "claims",
            AuthRefusal::Authority => "authority",
            AuthRefusal::OtherUser => "other_user",
            AuthRefusal::Unavailable => "unavailable",
            AuthRefusal::Internal => "internal",
        }
    }

    /// Every refusal, in the order of the discriminants.
    pub const ALL: &'static [AuthRefusal] = &[
        AuthRefusal::Malformed,
        AuthRefusal::Signature,
        AuthRefusal::Expired,
        AuthRefusal::NotYet,
        AuthRefusal::Audience,
        AuthRefusal::Claims,
        AuthRefusal::Authority,
        AuthRefusal::OtherUser,
        AuthRefusal::Unavailable,
        AuthRefusal::Internal,
    ];
}

impl Authority {
    /// Whether the room may be joined. The empty room (leaving) always may.
    pub fn allows_room(&self, room: &str) -> bool {
        room.is_empty() || self.rooms.as_ref().is_none_or(|patterns| patterns.iter().any(|p| matches_pattern(p, room)))
    }

    /// Whether the op may be accepted.
    pub fn allows_op(&self, op: i32) -> bool {
        self.ops.as_ref().is_none_or(|ops| ops.contains(&op))
    }
}

/// Whether `name` matches `pattern`, in which `*` stands for any run of characters.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

/// A random (version 4) UUID in its 36 character form, made of `random` (RFC 9562 §5.4). goim gives one to every login
/// that names no key (goim §1.6). The caller's own generator makes the bits, so that a simulation can repeat them.
pub fn uuid_v4(random: u128) -> Box<str> {
    uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid().hyphenated().to_string().into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::uuid_v4;

    #[test]
    fn a_generated_key_is_a_version_4_uuid() {
        assert_eq!(&*uuid_v4(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(&*uuid_v4(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(&*uuid_v4(0x3d7c6d1e_8a1b_0f7e_1b0a_2f1c5d6e7f80), "3d7c6d1e-8a1b-4f7e-9b0a-2f1c5d6e7f80");
    }
}
