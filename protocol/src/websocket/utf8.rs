//! UTF-8 that comes in pieces (RFC 6455 §8.1, RFC 3629 §4). Owns the place within a character that a piece may end in.
//! Finds the first wrong byte in the piece that holds it, so that a text message can be refused before it is whole.

/// Where in a character the bytes so far end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Utf8 {
    /// Between characters.
    #[default]
    Boundary,
    /// One continuation byte is missing.
    One,
    /// Two are missing.
    Two,
    /// Three are missing.
    Three,
    /// After E0: the next must be A0..=BF (shorter forms exist below), then one more.
    AfterE0,
    /// After ED: the next must be 80..=9F (surrogates lie above), then one more.
    AfterEd,
    /// After F0: the next must be 90..=BF (shorter forms exist below), then two more.
    AfterF0,
    /// After F4: the next must be 80..=8F (Unicode ends there), then two more.
    AfterF4,
}

/// A byte that cannot stand where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidUtf8;

impl Utf8 {
    /// Take the next piece.
    pub(super) fn push(self, mut piece: &[u8]) -> Result<Utf8, InvalidUtf8> {
        let mut state = self;
        while state != Utf8::Boundary {
            let Some((&byte, rest)) = piece.split_first() else {
                return Ok(state);
            };
            state = state.step(byte)?;
            piece = rest;
        }
        match std::str::from_utf8(piece) {
            Ok(_) => Ok(Utf8::Boundary),
            Err(error) if error.error_len().is_some() => Err(InvalidUtf8),
            // At most three bytes of a character that may yet become whole.
            Err(error) => piece[error.valid_up_to()..].iter().try_fold(Utf8::Boundary, |state, &byte| state.step(byte)),
        }
    }

    fn step(self, byte: u8) -> Result<Utf8, InvalidUtf8> {
        match (self, byte) {
            (Utf8::Boundary, 0x00..=0x7f) | (Utf8::One, 0x80..=0xbf) => Ok(Utf8::Boundary),
            (Utf8::Boundary, 0xc2..=0xdf)
            | (Utf8::Two, 0x80..=0xbf)
            | (Utf8::AfterE0, 0xa0..=0xbf)
            | (Utf8::AfterEd, 0x80..=0x9f) => Ok(Utf8::One),
            (Utf8::Boundary, 0xe1..=0xec | 0xee..=0xef)
            | (Utf8::Three, 0x80..=0xbf)
            | (Utf8::AfterF0, 0x90..=0xbf)
            | (Utf8::AfterF4, 0x80..=0x8f) => Ok(Utf8::Two),
            (Utf8::Boundary, 0xf1..=0xf3) => Ok(Utf8::Three),
            (Utf8::Boundary, 0xe0) => Ok(Utf8::AfterE0),
            (Utf8::Boundary, 0xed) => Ok(Utf8::AfterEd),
            (Utf8::Boundary, 0xf0) => Ok(Utf8::AfterF0),
            (Utf8::Boundary, 0xf4) => Ok(Utf8::AfterF4),
            _ => Err(InvalidUtf8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidUtf8, Utf8};

    /// Every sequence of one to three bytes, and the four-byte ones around each border, fed byte by byte: the same
    /// verdict as the standard library's on the whole, and refused at the first byte that no continuation could save.
    #[test]
    fn agrees_with_the_standard_library_on_every_prefix() {
        let borders = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xf0, 0xf4, 0xff];
        let three = (0..=0xff_u8).flat_map(|a| (0..=0xff_u8).map(move |b| (a, b)));
        for (first, second) in three {
            for third in borders {
                for fourth in borders {
                    let bytes = [first, second, third, fourth];
                    let mut state = Ok(Utf8::Boundary);
                    for end in 1..=bytes.len() {
                        state = state.and_then(|state: Utf8| state.push(&bytes[end - 1..end]));
                        let expected = match std::str::from_utf8(&bytes[..end]) {
                            Ok(_) => Ok(true),
                            Err(error) if error.error_len().is_none() => Ok(false),
                            Err(_) => Err(InvalidUtf8),
                        };
                        assert_eq!(state.map(|state| state == Utf8::Boundary), expected, "{:02x?}", &bytes[..end]);
                        assert_eq!(Utf8::Boundary.push(&bytes[..end]), state, "{:02x?} as one piece", &bytes[..end]);
                    }
                }
            }
        }
    }
}
