//! Kafka's zigzag varints. Owns their strict reading, their writing and their size.

use super::Unreadable;

/// An integer of 32 bits from the start of `rest`.
///
/// # Errors
/// [`Unreadable::Cut`] where bytes are missing, [`Unreadable::Varint`] for what 32 bits cannot hold.
#[inline]
pub(super) fn read_i32(rest: &mut &[u8]) -> Result<i32, Unreadable> {
    let raw = match rest.first() {
        // Nearly all are this short.
        Some(&byte) if byte < 0x80 => {
            *rest = &rest[1..];
            u32::from(byte)
        }
        _ => u32::try_from(read_long(rest)?).map_err(|_| Unreadable::Varint)?,
    };
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// An integer of 64 bits from the start of `rest`.
///
/// # Errors
/// As [`read_i32`].
#[inline]
pub(super) fn read_i64(rest: &mut &[u8]) -> Result<i64, Unreadable> {
    let raw = match rest.first() {
        Some(&byte) if byte < 0x80 => {
            *rest = &rest[1..];
            u64::from(byte)
        }
        _ => read_long(rest)?,
    };
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

fn read_long(rest: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut value = 0;
    for (index, &byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *rest = &rest[index + 1..];
            // The tenth byte has room for one bit.
            return if index == 9 && byte > 1 { Err(Unreadable::Varint) } else { Ok(value) };
        }
    }
    Err(if rest.len() < 10 { Unreadable::Cut } else { Unreadable::Varint })
}

/// Appends `value`.
pub(super) fn write(out: &mut Vec<u8>, value: i64) {
    let mut raw = zigzag(value);
    while raw >= 0x80 {
        // The low seven bits, and that more follow.
        out.push(raw.to_le_bytes()[0] | 0x80);
        raw >>= 7;
    }
    out.push(raw.to_le_bytes()[0]);
}

/// How many bytes [`write()`] appends.
pub(super) fn size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every length of a varint, at its edges, comes back, is as long as foretold, and is cut at every byte.
    #[test]
    fn what_is_written_is_read() {
        for bits in 0..64 {
            for value in [1_i64 << bits, (1_i64 << bits).wrapping_sub(1), (1_i64 << bits).wrapping_neg()] {
                let mut bytes = Vec::new();
                write(&mut bytes, value);
                assert_eq!(bytes.len(), size(value), "{value}");
                let mut rest = &bytes[..];
                assert_eq!(read_i64(&mut rest), Ok(value));
                assert!(rest.is_empty());
                let narrow = i32::try_from(value).map_err(|_| Unreadable::Varint);
                assert_eq!(read_i32(&mut &bytes[..]), narrow, "{value}");
                for end in 0..bytes.len() {
                    assert_eq!(read_i64(&mut &bytes[..end]), Err(Unreadable::Cut));
                    assert_eq!(read_i32(&mut &bytes[..end]), Err(Unreadable::Cut));
                }
            }
        }
    }

    /// Eleven bytes, and a tenth that has more than the last bit, are refused.
    #[test]
    fn what_is_too_large_is_refused() {
        let mut bytes = [0xff; 11];
        assert_eq!(read_i64(&mut &bytes[..]), Err(Unreadable::Varint));
        bytes[9] = 2;
        assert_eq!(read_i64(&mut &bytes[..]), Err(Unreadable::Varint));
        bytes[9] = 1;
        assert_eq!(read_i64(&mut &bytes[..]), Ok(i64::MIN));
    }
}
