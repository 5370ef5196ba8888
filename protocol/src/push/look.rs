//! For whom a record is, seen without decoding it. Owns the answer for the early filter, borrowed from the record's
//! value: nothing is allocated, and the body is not touched. Says of every record what its decoder
//! ([`PushRecord::decode`](super::PushRecord::decode)) would say, and [`Look::Malformed`] of exactly those that it
//! refuses: who drops a record by what is seen here drops nothing that the decoder would have delivered. Next:
//! [`super::interest`].

use crate::field_scan::{Fields, Malformed, Value, varint};

/// Fields of goim's `PushMsg` and of what follows it (goim §3, [`super`]).
mod field {
    pub(super) const TYPE: u32 = 1;
    pub(super) const OPERATION: u32 = 2;
    pub(super) const SPEED: u32 = 3;
    pub(super) const SERVER: u32 = 4;
    pub(super) const ROOM: u32 = 5;
    pub(super) const KEYS: u32 = 6;
    pub(super) const MSG: u32 = 7;
    pub(super) const MIDS: u32 = 100;
    pub(super) const RECEIPT: u32 = 101;
}

/// For whom a record is.
#[derive(Clone, Debug)]
pub enum Look<'r> {
    /// Everybody who accepts its op.
    Everybody,
    /// The members of this room.
    Room(&'r str),
    /// These keys; none at all if it names none.
    Keys(Keys<'r>),
    /// These users.
    Mids(Mids<'r>),
    /// Nobody: the decoder refuses it, and says why.
    Malformed,
}

impl<'r> Look<'r> {
    /// Looks at a record's value.
    pub fn at(value: &'r [u8]) -> Look<'r> {
        look(value).unwrap_or(Look::Malformed)
    }
}

/// The keys that a record names, in order.
#[derive(Clone, Debug)]
pub struct Keys<'r> {
    fields: Fields<'r>,
    left: usize,
}

impl<'r> Iterator for Keys<'r> {
    type Item = &'r str;

    fn next(&mut self) -> Option<&'r str> {
        self.left = self.left.checked_sub(1)?;
        self.fields.find_map(|field| match field {
            Ok((field::KEYS, Value::Bytes(key))) => std::str::from_utf8(key).ok(),
            _ => None,
        })
    }
}

/// The users that a record names, in order.
#[derive(Clone, Debug)]
pub struct Mids<'r> {
    fields: Fields<'r>,
    packed: &'r [u8],
}

impl Iterator for Mids<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        loop {
            if !self.packed.is_empty() {
                return varint(&mut self.packed).ok().map(u64::cast_signed);
            }
            match self.fields.next()? {
                Ok((field::MIDS, Value::Varint(mid))) => return Some(mid.cast_signed()),
                Ok((field::MIDS, Value::Bytes(packed))) => self.packed = packed,
                _ => {}
            }
        }
    }
}

/// Every field is looked at, so that nothing comes through here which the decoder refuses; later ones replace earlier
/// ones, as they do there.
fn look(value: &[u8]) -> Result<Look<'_>, Malformed> {
    let mut fields = Fields::new(value);
    let (mut kind, mut room) = (0, "");
    // From the first key on, and how many there are.
    let mut keys = Keys { fields: Fields::new(&[]), left: 0 };
    let mut mids = None;
    loop {
        let before = fields.clone();
        let Some(next) = fields.next() else { break };
        match next? {
            (field::TYPE, Value::Varint(number)) => kind = low_32(number),
            (field::OPERATION | field::SPEED, Value::Varint(_))
            | (field::MSG, Value::Bytes(_))
            | (field::RECEIPT, Value::Fixed64) => {}
            (field::SERVER, Value::Bytes(server)) => drop(text(server)?),
            (field::ROOM, Value::Bytes(name)) => room = text(name)?,
            (field::KEYS, Value::Bytes(key)) => {
                text(key)?;
                if keys.left == 0 {
                    keys.fields = before;
                }
                keys.left += 1;
            }
            (field::MIDS, Value::Bytes(mut packed)) => {
                // An empty list adds nobody.
                if !packed.is_empty() {
                    mids.get_or_insert(before);
                }
                while !packed.is_empty() {
                    varint(&mut packed)?;
                }
            }
            (field::MIDS, Value::Varint(_)) => drop(mids.get_or_insert(before)),
            // A field of ours of another kind than ours.
            (field::TYPE..=field::MSG | field::MIDS | field::RECEIPT, _) => return Err(Malformed),
            _ => {}
        }
    }
    match (kind, mids) {
        (0, Some(fields)) => Ok(Look::Mids(Mids { fields, packed: &[] })),
        (0, None) => Ok(Look::Keys(keys)),
        (1, _) if !room.is_empty() => Ok(Look::Room(room)),
        (2, _) => Ok(Look::Everybody),
        _ => Err(Malformed),
    }
}

/// As a decoder reads an `int32`.
#[expect(clippy::cast_possible_truncation, reason = "the wire keeps the low 32 bits")]
fn low_32(number: u64) -> u32 {
    number as u32
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed)
}
