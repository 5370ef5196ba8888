//! Looking into a protobuf message without decoding it. Owns walking over fields as they are on the wire (Protocol
//! Buffers encoding, "Message Structure"), and refuses what the decoder refuses. Builds nothing. Who takes messages
//! from strangers asks here first how many elements a decoder would build; [`crate::push::look`] asks for whom a record
//! is.

/// How deeply groups may nest, as in the decoder that comes after.
const DEPTH_MAX: usize = 100;

/// What one element of the field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// A string, bytes or a message.
    Bytes,
    /// An integer of variable length, alone or packed with others.
    Varint,
}

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// How many elements the field at `path` has: field numbers from the outermost message inwards. Messages that come
/// several times count together, as a decoder merges them. Counting stops soon after `count_max`: a larger result only
/// says that there are more.
pub fn count(message: &[u8], path: &[u32], element: Element, count_max: usize) -> Result<usize, Malformed> {
    let Some((&wanted, inner)) = path.split_first() else { return Ok(0) };
    let mut fields = Fields::new(message);
    let mut found = 0;
    while found <= count_max {
        let Some(next) = fields.next() else { break };
        let (field, value) = next?;
        if field != wanted {
            continue;
        }
        found += match (value, element) {
            (Value::Bytes(bytes), _) if !inner.is_empty() => count(bytes, inner, element, count_max - found)?,
            (Value::Bytes(_), Element::Bytes) | (Value::Varint(_), Element::Varint) => 1,
            (Value::Bytes(packed), Element::Varint) => packed.iter().filter(|byte| **byte < 0x80).count(),
            _ => 0,
        };
    }
    Ok(found)
}

/// What a field has on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'m> {
    /// An integer of variable length.
    Varint(u64),
    /// Eight bytes.
    Fixed64,
    /// Four bytes.
    Fixed32,
    /// A string, bytes, a message, or packed integers.
    Bytes(&'m [u8]),
    /// A group, skipped as a whole.
    Group,
}

/// The fields of a message as they come, each a number and a value. Behind an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Fields<'m> {
    rest: &'m [u8],
}

impl<'m> Fields<'m> {
    /// Of this message.
    pub fn new(message: &'m [u8]) -> Fields<'m> {
        Fields { rest: message }
    }

    /// What comes behind the last field that was given.
    pub fn rest(&self) -> &'m [u8] {
        self.rest
    }
}

impl<'m> Iterator for Fields<'m> {
    type Item = Result<(u32, Value<'m>), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = next_field(&mut self.rest);
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Take the next field from the start of `rest`: its number and value.
#[inline]
fn next_field<'m>(rest: &mut &'m [u8]) -> Result<(u32, Value<'m>), Malformed> {
    let (field, wire_type) = key(rest)?;
    let value = match wire_type {
        0 => varint(rest).map(Value::Varint)?,
        1 => take(rest, 8).map(|_| Value::Fixed64)?,
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
            Value::Bytes(take(rest, length)?)
        }
        3 => skip_group(rest, field).map(|()| Value::Group)?,
        5 => take(rest, 4).map(|_| Value::Fixed32)?,
        _ => return Err(Malformed),
    };
    Ok((field, value))
}

/// A field's number, which is not 0, and its wire type.
#[inline]
fn key(rest: &mut &[u8]) -> Result<(u32, u32), Malformed> {
    let key = u32::try_from(varint(rest)?).map_err(|_| Malformed)?;
    if key < 8 { Err(Malformed) } else { Ok((key >> 3, key & 7)) }
}

#[cold]
fn skip_group(rest: &mut &[u8], field: u32) -> Result<(), Malformed> {
    // Fields of the groups that are open, innermost last.
    let mut open = [0; DEPTH_MAX];
    open[0] = field;
    let mut depth = 1;
    while depth > 0 {
        let (field, wire_type) = key(rest)?;
        if wire_type == 4 {
            if field != open[depth - 1] {
                return Err(Malformed);
            }
            depth -= 1;
            continue;
        }
        if depth == DEPTH_MAX {
            return Err(Malformed);
        }
        match wire_type {
            0 => drop(varint(rest)?),
            1 => drop(take(rest, 8)?),
            2 => {
                let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
                take(rest, length)?;
            }
            3 => {
                open[depth] = field;
                depth += 1;
            }
            5 => drop(take(rest, 4)?),
            _ => return Err(Malformed),
        }
    }
    Ok(())
}

#[inline]
fn take<'m>(rest: &mut &'m [u8], length: usize) -> Result<&'m [u8], Malformed> {
    let (taken, after) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = after;
    Ok(taken)
}

/// An integer of at most ten bytes.
#[inline]
pub(crate) fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    match rest.first() {
        // Nearly all are this short.
        Some(&byte) if byte < 0x80 => {
            *rest = &rest[1..];
            Ok(u64::from(byte))
        }
        _ => long_varint(rest),
    }
}

fn long_varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for (index, &byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *rest = &rest[index + 1..];
            return if index == 9 && byte > 1 { Err(Malformed) } else { Ok(value) };
        }
    }
    Err(Malformed)
}
