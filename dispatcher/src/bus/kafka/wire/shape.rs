//! The shape of an answer: which fields follow each other. Owns the look at a whole answer before anything is made of
//! it: every count and every length in there must be covered by bytes that are there. The decoders of `kafka-protocol`
//! make room for as many elements as an answer says; what passes here cannot make them ask for more than a small
//! multiple of its own bytes. Keeps nothing, copies nothing. The tables are in [`super::api`].

/// One field, or a few of one size.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// This many bytes.
    Fixed(usize),
    /// Text or bytes with a compact length (a varint, one more than the bytes; 0 = null).
    Compact,
    /// Text with a length of two bytes.
    Short,
    /// Elements with a compact count.
    Array(&'static [Field]),
    /// Elements with a count of four bytes.
    LongArray(&'static [Field]),
    /// Tagged fields: those that we know, with their shapes. Others are passed over.
    Tags(&'static [(u32, &'static [Field])]),
}

/// The answer is not what its shape says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misshapen;

/// Look at an answer; what is behind it is handed back.
pub fn check<'a>(answer: &'a [u8], shape: &[Field]) -> Result<&'a [u8], Misshapen> {
    let mut rest = answer;
    fields(&mut rest, shape)?;
    Ok(rest)
}

fn fields(rest: &mut &[u8], shape: &[Field]) -> Result<(), Misshapen> {
    for field in shape {
        match field {
            Field::Fixed(bytes) => skip(rest, *bytes)?,
            Field::Compact => {
                let bytes = varint(rest)?.saturating_sub(1);
                skip(rest, bytes as usize)?;
            }
            Field::Short => {
                let length = rest.split_first_chunk().ok_or(Misshapen)?;
                *rest = length.1;
                skip(rest, usize::from(u16::from_be_bytes(*length.0)))?;
            }
            Field::Array(element) => {
                let count = varint(rest)?.saturating_sub(1);
                elements(rest, count, element)?;
            }
            Field::LongArray(element) => {
                let count = rest.split_first_chunk().ok_or(Misshapen)?;
                *rest = count.1;
                elements(rest, u32::from_be_bytes(*count.0), element)?;
            }
            Field::Tags(known) => tags(rest, known)?,
        }
    }
    Ok(())
}

/// Every element has a byte at least, so a count above the bytes is refused at once.
fn elements(rest: &mut &[u8], count: u32, element: &[Field]) -> Result<(), Misshapen> {
    if count as usize > rest.len() {
        return Err(Misshapen);
    }
    (0..count).try_for_each(|_| fields(rest, element))
}

fn tags(rest: &mut &[u8], known: &[(u32, &[Field])]) -> Result<(), Misshapen> {
    let count = varint(rest)?;
    // The last one seen: tags ascend.
    let mut before = None;
    for _ in 0..count {
        let tag = varint(rest)?;
        if before.is_some_and(|before| tag <= before) {
            return Err(Misshapen);
        }
        before = Some(tag);
        let bytes = varint(rest)? as usize;
        let (mut field, after) = rest.split_at_checked(bytes).ok_or(Misshapen)?;
        *rest = after;
        if let Some((_, shape)) = known.iter().find(|(known, _)| *known == tag) {
            fields(&mut field, shape)?;
            if !field.is_empty() {
                return Err(Misshapen);
            }
        }
    }
    Ok(())
}

fn skip(rest: &mut &[u8], bytes: usize) -> Result<(), Misshapen> {
    *rest = rest.split_at_checked(bytes).ok_or(Misshapen)?.1;
    Ok(())
}

/// An unsigned varint of at most five bytes.
fn varint(rest: &mut &[u8]) -> Result<u32, Misshapen> {
    let mut value = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, after) = rest.split_first().ok_or(Misshapen)?;
        *rest = after;
        value |= u32::from(byte & 0x7f).checked_shl(shift).ok_or(Misshapen)?;
        if byte & 0x80 == 0 {
            return if shift == 28 && byte > 0x0f { Err(Misshapen) } else { Ok(value) };
        }
    }
    Err(Misshapen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: &[Field] = &[
        Field::Fixed(2),
        Field::Compact,
        Field::Short,
        Field::Array(&[Field::Compact, Field::Tags(&[])]),
        Field::LongArray(&[Field::Fixed(4)]),
        Field::Tags(&[(0, &[Field::Fixed(3)])]),
    ];
    const ANSWER: &[u8] = b"\0\0\x03ab\0\x01c\x03\x02x\0\x01\x01\x05\x01z\0\0\0\x01\0\0\0\x07\x02\x00\x03abc\x09\x02de";

    /// A whole answer passes, also with bytes behind it; cut anywhere it does not.
    #[test]
    fn a_cut_answer_is_misshapen() {
        assert_eq!(check(ANSWER, SHAPE), Ok(&b""[..]));
        assert_eq!(check(&[ANSWER, b"more"].concat(), SHAPE), Ok(&b"more"[..]));
        for cut in 0..ANSWER.len() {
            assert_eq!(check(&ANSWER[..cut], SHAPE), Err(Misshapen), "cut at {cut}");
        }
    }

    /// Counts and lengths that no bytes cover are refused, and so are varints that are too long and tags out of order.
    #[test]
    fn lies_are_misshapen() {
        let array: &[Field] = &[Field::Array(&[Field::Fixed(4)])];
        let long: &[Field] = &[Field::LongArray(&[Field::Fixed(4)])];
        let tags: &[Field] = &[Field::Tags(&[(1, &[Field::Fixed(1)])])];
        assert_eq!(check(b"\xff\xff\xff\xff\x0f", array), Err(Misshapen));
        assert_eq!(check(b"\xff\xff\xff\xff\x1f", array), Err(Misshapen), "36 bits");
        assert_eq!(check(b"\xff\xff\xff\xff\xff\x01", array), Err(Misshapen), "six bytes");
        assert_eq!(check(b"\x7f\xff\xff\xff", long), Err(Misshapen));
        assert_eq!(check(b"\xff\xff\xff\xff", long), Err(Misshapen), "no answer has a null array of this kind");
        assert_eq!(check(b"\x02\x01\x01a\x01\x01a", tags), Err(Misshapen), "one tag twice");
        assert_eq!(check(b"\x01\x01\x02ab", tags), Err(Misshapen), "a known field that is longer than it is");
        assert_eq!(check(b"\0", array), Ok(&b""[..]), "null");
    }
}
