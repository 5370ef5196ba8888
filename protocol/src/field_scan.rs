//! Counting a repeated field of a protobuf message without decoding the message. Owns walking over fields as they are
//! on the wire (Protocol Buffers encoding, "Message Structure"). Builds nothing. Who takes messages from strangers asks
//! here first how many elements a decoder would build.

/// How deeply groups may nest, as in the decoder that comes after.
const DEPTH_MAX: u32 = 100;

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
    let mut rest = message;
    let mut found = 0;
    while !rest.is_empty() && found <= count_max {
        let (field, value) = next_field(&mut rest)?;
        if field != wanted {
            continue;
        }
        found += match (value, element) {
            (Value::Bytes(bytes), _) if !inner.is_empty() => count(bytes, inner, element, count_max - found)?,
            (Value::Bytes(_), Element::Bytes) | (Value::Varint, Element::Varint) => 1,
            (Value::Bytes(packed), Element::Varint) => packed.iter().filter(|byte| **byte < 0x80).count(),
            _ => 0,
        };
    }
    Ok(found)
}

enum Value<'m> {
    Varint,
    Fixed,
    Bytes(&'m [u8]),
    Group,
}

/// Take the next field from the start of `rest`: its number and value.
fn next_field<'m>(rest: &mut &'m [u8]) -> Result<(u32, Value<'m>), Malformed> {
    let key = varint(rest)?;
    let field = u32::try_from(key >> 3).map_err(|_| Malformed)?;
    let value = match key & 7 {
        0 => varint(rest).map(|_| Value::Varint)?,
        1 => take(rest, 8).map(|_| Value::Fixed)?,
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
            Value::Bytes(take(rest, length)?)
        }
        3 => skip_group(rest, field).map(|()| Value::Group)?,
        5 => take(rest, 4).map(|_| Value::Fixed)?,
        _ => return Err(Malformed),
    };
    Ok((field, value))
}

fn skip_group(rest: &mut &[u8], field: u32) -> Result<(), Malformed> {
    // Fields of the groups that are open, innermost last.
    let mut open = vec![field];
    while let Some(&innermost) = open.last() {
        let key = varint(rest)?;
        let field = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        match key & 7 {
            0 => drop(varint(rest)?),
            1 => drop(take(rest, 8)?),
            2 => {
                let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
                take(rest, length)?;
            }
            3 if open.len() < DEPTH_MAX as usize => open.push(field),
            4 if field == innermost => drop(open.pop()),
            5 => drop(take(rest, 4)?),
            _ => return Err(Malformed),
        }
    }
    Ok(())
}

fn take<'m>(rest: &mut &'m [u8], length: usize) -> Result<&'m [u8], Malformed> {
    let (taken, after) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = after;
    Ok(taken)
}

/// An integer of at most ten bytes.
fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
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
