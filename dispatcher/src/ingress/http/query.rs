//! Query parameters as goim binds them. Owns the decoding of Go's `url.ParseQuery` and the error texts of Go's
//! `strconv` and of the validator that goim uses (goim §5): clients match on them. Knows no route.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// The parameters of one request, in order, decoded.
pub(super) struct Query {
    parameters: Vec<(String, String)>,
}

/// Why parameters do not bind. Its text is the one that goim answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BindError {
    /// A value is no integer of the parameter's size.
    Integer { text: String, why: NoInteger },
    /// Rules do not hold, in the order in which they were asked.
    Rules(Vec<BrokenRule>),
}

/// What `strconv` finds wrong with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoInteger {
    /// Something in it is no digit.
    Syntax,
    /// It does not fit.
    Range,
}

/// A rule of goim's validator that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrokenRule {
    /// The name that goim's code gives the parameter.
    field: &'static str,
    /// The rule's own name.
    rule: &'static str,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Integer { text, why } => {
                let why = match why {
                    NoInteger::Syntax => "invalid syntax",
                    NoInteger::Range => "value out of range",
                };
                write!(f, "strconv.ParseInt: parsing {}: {why}", quote(text))
            }
            BindError::Rules(rules) => rules.iter().enumerate().try_for_each(|(index, BrokenRule { field, rule })| {
                let line_end = if index == 0 { "" } else { "\n" };
                write!(f, "{line_end}Key: '{field}' Error:Field validation for '{field}' failed on the '{rule}' tag")
            }),
        }
    }
}

impl std::error::Error for BindError {}

/// Binds the parameters of one route: the first that does not parse ends it, missing ones are collected.
pub(super) struct Binder<'a> {
    query: &'a Query,
    failed: Vec<BrokenRule>,
}

impl Query {
    /// The parameters of a raw query string. Pairs with a broken escape are left out, as Go does; bytes that are no
    /// UTF-8 become U+FFFD, which no key or room is.
    pub(super) fn parse(raw: Option<&str>) -> Query {
        let pairs = raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescape(name)?, unescape(value)?))
        });
        Query { parameters: decoded.collect() }
    }

    /// Every value of a repeated parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.parameters.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The first value.
    pub(super) fn first<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }
}

impl<'a> Binder<'a> {
    /// Nothing bound yet.
    pub(super) fn new(query: &'a Query) -> Binder<'a> {
        Binder { query, failed: Vec::new() }
    }

    /// An int32; absent or empty is 0.
    pub(super) fn int32(&mut self, name: &str) -> Result<i32, BindError> {
        let number = parse_int(self.query.first(name).unwrap_or_default(), 32)?;
        Ok(i32::try_from(number).expect("parsed within 32 bits"))
    }

    /// An int64; absent or empty is 0.
    pub(super) fn int64(&mut self, name: &str) -> Result<i64, BindError> {
        parse_int(self.query.first(name).unwrap_or_default(), 64)
    }

    /// All int64 values of a repeated parameter.
    pub(super) fn int64s(&mut self, name: &str) -> Result<Vec<i64>, BindError> {
        self.query.all(name).map(|value| parse_int(value, 64)).collect()
    }

    /// A string; absent is empty.
    pub(super) fn string(&mut self, name: &str) -> String {
        self.query.first(name).unwrap_or_default().into()
    }

    /// All values of a repeated parameter.
    pub(super) fn strings(&mut self, name: &str) -> Vec<String> {
        self.query.all(name).map(String::from).collect()
    }

    /// Note a failed rule; `field` is the name that goim's code gives the parameter.
    pub(super) fn require(&mut self, holds: bool, field: &'static str, rule: &'static str) {
        if !holds {
            self.failed.push(BrokenRule { field, rule });
        }
    }

    /// Whether every rule held.
    pub(super) fn finish(self) -> Result<(), BindError> {
        if self.failed.is_empty() { Ok(()) } else { Err(BindError::Rules(self.failed)) }
    }
}

/// One component of a query string; `None` when an escape is broken.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
                high << 4 | low
            }
            plain => plain,
        });
    }
    Some(match String::from_utf8_lossy(&bytes) {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => text,
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Go's `strconv.ParseInt(text, 10, bits)` behind a form: empty is 0.
fn parse_int(text: &str, bits: u32) -> Result<i64, BindError> {
    let fail = |why| Err(BindError::Integer { text: text.into(), why });
    let (negative, digits) = match text.as_bytes() {
        [] => return Ok(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return fail(NoInteger::Syntax);
    }
    // Go reads the digits as an unsigned number of so many bits, and ends at whichever comes first: a byte that is no
    // digit, or a value that does not fit.
    let mut magnitude: u128 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return fail(NoInteger::Syntax);
        }
        magnitude = magnitude * 10 + u128::from(digit - b'0');
        if magnitude >= 1 << bits {
            return fail(NoInteger::Range);
        }
    }
    let limit = 1u128 << (bits - 1);
    if magnitude > limit || magnitude == limit && !negative {
        return fail(NoInteger::Range);
    }
    let value = i128::try_from(magnitude).expect("below 2^64");
    Ok(i64::try_from(if negative { -value } else { value }).expect("checked above"))
}

/// Go's `strconv.Quote`, for what arrives in queries.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            '\0'..=' ' | '\x7f' if character != ' ' => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(character));
            }
            other if other.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(other));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_decode_as_in_go() {
        let query = Query::parse(Some("keys=a&keys=b%20c&room=x+y&flag&=v&bad=%zz&short=%4&keys=%E7%9B%B4&raw=%ff"));
        assert_eq!(query.all("keys").collect::<Vec<_>>(), ["a", "b c", "直"]);
        assert_eq!(query.first("room"), Some("x y"));
        assert_eq!(query.first("flag"), Some(""));
        assert_eq!(query.first("bad"), None);
        assert_eq!(query.first("short"), None);
        assert_eq!(query.first("raw"), Some("\u{fffd}"));
        assert_eq!(Query::parse(None).first("keys"), None);
    }

    /// The texts are those of Go's strconv package.
    #[test]
    fn integers_parse_and_fail_as_in_go() {
        let error = |text: &str, why: &str| Err(format!("strconv.ParseInt: parsing {text}: {why}"));
        for (text, bits, expected) in [
            ("", 32, Ok(0)),
            ("1000", 32, Ok(1000)),
            ("+7", 32, Ok(7)),
            ("-7", 32, Ok(-7)),
            ("007", 32, Ok(7)),
            ("2147483647", 32, Ok(2_147_483_647)),
            ("-2147483648", 32, Ok(-2_147_483_648)),
            ("9223372036854775807", 64, Ok(i64::MAX)),
            ("-9223372036854775808", 64, Ok(i64::MIN)),
            ("2147483648", 32, error("\"2147483648\"", "value out of range")),
            ("-2147483649", 32, error("\"-2147483649\"", "value out of range")),
            ("9223372036854775808", 64, error("\"9223372036854775808\"", "value out of range")),
            ("99999999999999999999999999999999999999999999x", 64, {
                error("\"99999999999999999999999999999999999999999999x\"", "value out of range")
            }),
            ("x", 32, error("\"x\"", "invalid syntax")),
            ("1,2", 64, error("\"1,2\"", "invalid syntax")),
            ("-", 32, error("\"-\"", "invalid syntax")),
            (" 1", 32, error("\" 1\"", "invalid syntax")),
            ("1.0", 32, error("\"1.0\"", "invalid syntax")),
            ("1_0", 32, error("\"1_0\"", "invalid syntax")),
            ("a\"\\\n\u{1}直", 32, error(r#""a\"\\\n\x01直""#, "invalid syntax")),
        ] {
            assert_eq!(parse_int(text, bits).map_err(|error| error.to_string()), expected, "{text:?}");
        }
    }
}
