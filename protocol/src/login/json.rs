//! Reads JSON the way Go's encoding/json does, because goim's clients were written against that (goim §1.6). Owns the
//! scanner over one complete document. Builds no tree, recurses into nothing, and allocates only for strings with
//! escapes or bad UTF-8. `open` and `jwt` read the body of op 7 with it.

use std::borrow::Cow;

/// Deepest nesting of a value that is skipped; a token (goim §1.6: 4096 bytes) cannot nest deeper.
const DEPTH_MAX: usize = 4096;

/// Not the JSON that was asked for: bad syntax, or a value of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadJson;

/// Reads one document from its start to its end.
#[derive(Debug)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `text`.
    pub fn new(text: &'a [u8]) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    /// The next byte that is not white space, not taken; `None` at the end.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Take `byte` if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), BadJson> {
        self.take(byte).then_some(()).ok_or(BadJson)
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result<(), BadJson> {
        self.peek().is_none().then_some(()).ok_or(BadJson)
    }

    /// Take a `null` if it comes next.
    pub fn null(&mut self) -> Result<bool, BadJson> {
        if self.peek() == Some(b'n') { self.word(b"null").map(|()| true) } else { Ok(false) }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), BadJson> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(BadJson)
        }
    }

    /// Take an object; `member` is called at each member's value, with its name, and must take the value.
    pub fn object(
        &mut self,
        mut member: impl FnMut(&mut Scanner<'a>, &str) -> Result<(), BadJson>,
    ) -> Result<(), BadJson> {
        self.expect(b'{')?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            member(self, &name)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Take an array; `element` is called at each element and must take it.
    pub fn array(&mut self, mut element: impl FnMut(&mut Scanner<'a>) -> Result<(), BadJson>) -> Result<(), BadJson> {
        self.expect(b'[')?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Take a number and return its text.
    fn number(&mut self) -> Result<&'a str, BadJson> {
        self.peek();
        let start = self.at;
        self.at += usize::from(self.text.get(self.at) == Some(&b'-'));
        match self.text.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(BadJson),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(self.text.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        std::str::from_utf8(&self.text[start..self.at]).map_err(|_| BadJson)
    }

    /// Take one or more digits.
    fn digits(&mut self) -> Result<(), BadJson> {
        let count = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(()).ok_or(BadJson)
    }

    /// Take an integer. A fraction or an exponent is refused even where its value is whole, and so is what `T` does not
    /// hold, as Go's decoder does for integer fields.
    pub fn integer<T: std::str::FromStr>(&mut self) -> Result<T, BadJson> {
        self.number()?.parse().map_err(|_| BadJson)
    }

    /// Take a string. Bytes that are not UTF-8 and halves of surrogate pairs become U+FFFD.
    pub fn string(&mut self) -> Result<Cow<'a, str>, BadJson> {
        self.expect(b'"')?;
        let start = self.at;
        let plain =
            self.text[start..].iter().take_while(|&&byte| byte >= b' ' && byte != b'"' && byte != b'\\').count();
        if self.text.get(start + plain) == Some(&b'"') {
            self.at = start + plain + 1;
            return Ok(to_text(&self.text[start..start + plain]));
        }
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.iter().take_while(|&&byte| byte >= b' ' && byte != b'"' && byte != b'\\').count();
            text.push_str(&to_text(&rest[..plain]));
            self.at += plain + 1;
            match rest.get(plain) {
                Some(b'"') => return Ok(Cow::Owned(text)),
                Some(b'\\') => text.push(self.escape()?),
                _ => return Err(BadJson),
            }
        }
    }

    /// Take what follows a backslash.
    fn escape(&mut self) -> Result<char, BadJson> {
        let letter = *self.text.get(self.at).ok_or(BadJson)?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => letter.into(),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with(b"\\u") {
                    let before = self.at;
                    self.at += 2;
                    let second = self.unit()?;
                    if (0xdc00..0xe000).contains(&second) {
                        let scalar = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        return Ok(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    self.at = before;
                }
                char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(BadJson),
        })
    }

    /// Take four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, BadJson> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(BadJson)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?)).ok_or(BadJson)
    }

    /// Take any value and forget it.
    pub fn skip(&mut self) -> Result<(), BadJson> {
        let mut open = Nesting { objects: [0; DEPTH_MAX / 64], depth: 0 };
        loop {
            // At the start of a value.
            let container = match self.peek().ok_or(BadJson)? {
                b'{' => {
                    self.at += 1;
                    if self.take(b'}') { false } else { open.enter(true)? }
                }
                b'[' => {
                    self.at += 1;
                    if self.take(b']') { false } else { open.enter(false)? }
                }
                b'"' => self.string().map(|_| false)?,
                b't' => self.word(b"true").map(|()| false)?,
                b'f' => self.word(b"false").map(|()| false)?,
                b'n' => self.word(b"null").map(|()| false)?,
                _ => self.number().map(|_| false)?,
            };
            // After a whole value: leave every container that ends here.
            if !container && self.leave(&mut open)? {
                return Ok(());
            }
            if open.innermost() == Some(true) {
                self.string()?;
                self.expect(b':')?;
            }
        }
    }

    /// After a value: leave the containers that end here and go past the comma before the next value. Returns whether
    /// none is left open.
    fn leave(&mut self, open: &mut Nesting) -> Result<bool, BadJson> {
        while let Some(object) = open.innermost() {
            if !self.take(if object { b'}' } else { b']' }) {
                self.expect(b',')?;
                return Ok(false);
            }
            open.depth -= 1;
        }
        Ok(true)
    }
}

/// Which containers are open around a skipped value, innermost last: a bit each, set for objects.
struct Nesting {
    objects: [u64; DEPTH_MAX / 64],
    depth: usize,
}

impl Nesting {
    /// One more; always `true` when there is room for it.
    fn enter(&mut self, object: bool) -> Result<bool, BadJson> {
        let word = self.objects.get_mut(self.depth / 64).ok_or(BadJson)?;
        *word = *word & !(1 << (self.depth % 64)) | u64::from(object) << (self.depth % 64);
        self.depth += 1;
        Ok(true)
    }

    /// Whether the innermost is an object; `None` outside of all.
    fn innermost(&self) -> Option<bool> {
        let last = self.depth.checked_sub(1)?;
        Some(self.objects[last / 64] >> (last % 64) & 1 == 1)
    }
}

/// Text with every byte that is not UTF-8 replaced.
fn to_text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

/// Whether `name` is the lower-case ASCII `field` but for case. Two letters outside ASCII fold to ASCII ones and count
/// as equal, as in Go: U+017F (long s) and U+212A (Kelvin sign).
pub fn names_equal(field: &str, name: &str) -> bool {
    name.len() < 3 * field.len() + 1
        && name
            .chars()
            .map(|letter| match letter {
                '\u{17f}' => 's',
                '\u{212a}' => 'k',
                other => other.to_ascii_lowercase(),
            })
            .eq(field.chars())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn skips(text: &[u8]) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.skip().and_then(|()| scanner.end()).is_ok()
    }

    #[test]
    fn strings_are_read_as_go_reads_them() {
        for (text, expected) in [
            (&br#""""#[..], Some("")),
            (br#""live://1""#, Some("live://1")),
            (br#""\"\\\/\b\f\n\r\t""#, Some("\"\\/\u{8}\u{c}\n\r\t")),
            (br#""\u0041\u00e9""#, Some("A\u{e9}")),
            (br#""\ud83d\ude00""#, Some("\u{1f600}")),
            (br#""\ud83dx""#, Some("\u{fffd}x")),
            (br#""\ud83d\u0041""#, Some("\u{fffd}A")),
            (br#""\ude00""#, Some("\u{fffd}")),
            (b"\"\xff\xfe\"", Some("\u{fffd}\u{fffd}")),
            (b"\"a\xffb\\n\"", Some("a\u{fffd}b\n")),
            (br#""\x""#, None),
            (br#""\u12""#, None),
            (br#""\u+123""#, None),
            (b"\"a\nb\"", None),
            (b"\"a", None),
            (b"\"a\\", None),
        ] {
            assert_eq!(Scanner::new(text).string().ok().as_deref(), expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn integers_are_whole_numbers_in_range() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("2147483647", Some(i32::MAX)),
            ("-2147483648", Some(i32::MIN)),
            ("2147483648", None),
            ("1.0", None),
            ("1e2", None),
            ("01", Some(0)), // The rest, "1", is what the caller then stumbles over.
            ("+1", None),
            ("\"1\"", None),
            ("-", None),
        ] {
            assert_eq!(Scanner::new(text.as_bytes()).integer::<i32>().ok(), expected, "{text}");
        }
    }

    #[test]
    fn names_fold_as_in_go() {
        for name in ["accepts", "ACCEPTS", "Accept\u{17f}"] {
            assert!(names_equal("accepts", name), "{name}");
        }
        assert!(names_equal("key", "\u{212a}EY"));
        for name in ["accept", "acceptss", "", "\u{e4}ccepts"] {
            assert!(!names_equal("accepts", name), "{name}");
        }
    }

    #[test]
    fn nesting_is_bounded_without_recursion() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(skips(&nested(DEPTH_MAX)));
        assert!(!skips(&nested(DEPTH_MAX + 2)));
    }

    proptest! {
        /// An independent parser agrees on what is JSON, for documents made of JSON's own pieces.
        #[test]
        fn skipping_accepts_exactly_json(pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"a\"", "\"\"", "1", "-0.5e+3", "01", "1.", "true", "false", "null", "nul",
            " ", "{\"a\":", "[1,", "2]", "}", "\"\\u0041\"", "\"\\q\"",
        ]), 0..12)) {
            let text = pieces.concat();
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(skips(text.as_bytes()), theirs, "{}", text);
        }

        /// Nothing makes the scanner panic or run past the end.
        #[test]
        fn any_bytes_are_survived(text in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = skips(&text);
            let _ = Scanner::new(&text).string();
        }
    }
}
