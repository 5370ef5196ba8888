//! Bytes and times with their unit: "64KiB", "10s". Owns which unit a setting's name stands for, since the unit is
//! a word of it, and how a text becomes a whole number of it; bounds are the setting's.

use std::time::Duration;

use bytesize::ByteSize;

use super::Fault;

/// Digits of one number in a time, at most: the library adds numbers up without looking at their sum.
const DIGITS_MAX: usize = 12;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl Unit {
    /// What the setting of this name counts, as far as it is one of these.
    pub fn of(name: &str) -> Option<Unit> {
        if name.ends_with("_seconds") {
            Some(Unit::Seconds)
        } else if name.ends_with("_ms") {
            Some(Unit::Milliseconds)
        } else if name.split('_').any(|word| word == "bytes") {
            Some(Unit::Bytes)
        } else {
            None
        }
    }

    /// The whole number of this unit that a text with a unit means; `None` if the text has none.
    pub fn whole(self, text: &str) -> Option<Result<u64, Fault>> {
        let text = text.trim();
        // A number is read as such, and so is what begins like none.
        if !text.starts_with(|first: char| first.is_ascii_digit()) || !text.contains(|c: char| c.is_alphabetic()) {
            return None;
        }
        let number = match self {
            Unit::Bytes => bytes(text),
            Unit::Seconds => time(text).filter(|time| time.subsec_nanos() == 0).map(|time| time.as_secs()),
            Unit::Milliseconds => {
                let whole = time(text).filter(|time| time.subsec_nanos() % 1_000_000 == 0);
                whole.and_then(|time| u64::try_from(time.as_millis()).ok())
            }
        };
        Some(number.ok_or(self.fault()))
    }

    /// That something is no whole number of it.
    fn fault(self) -> Fault {
        let (unit, example) = match self {
            Unit::Bytes => ("bytes", "64KiB"),
            Unit::Seconds => ("seconds", "10s"),
            Unit::Milliseconds => ("milliseconds", "250ms"),
        };
        Fault::Unit { unit, example }
    }
}

/// Whole ones, with a unit that says what it is: of "64K" nobody knows whether it means 64,000 or 65,536.
fn bytes(text: &str) -> Option<u64> {
    let whole = text.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let is_plain = whole.starts_with(|c: char| c.is_alphabetic()) && whole.ends_with(['B', 'b']);
    // The library makes of what is beyond 64 bits the largest number.
    text.parse::<ByteSize>().ok().map(|size| size.as_u64()).filter(|bytes| is_plain && *bytes < u64::MAX)
}

/// From nanoseconds to weeks: months and years are no certain time, and `M` is easily taken for a minute.
fn time(text: &str) -> Option<Duration> {
    let mut units = text.split(|c: char| !c.is_alphabetic()).filter(|unit| !unit.is_empty());
    let is_certain = units.all(|unit| !unit.starts_with(['M', 'y']) && !unit.starts_with("mo"));
    let mut words = text.split_whitespace().peekable();
    let mut is_whole = true;
    while let Some(word) = words.next() {
        // A blank within a number: the library reads "1 0s" as ten seconds.
        let goes_on = words.peek().is_some_and(|next| next.starts_with(|c: char| c.is_ascii_digit()));
        is_whole &= !(word.ends_with(|c: char| c.is_ascii_digit()) && goes_on);
    }
    let fits = text.split(|c: char| !c.is_ascii_digit()).all(|digits| digits.len() <= DIGITS_MAX);
    (is_certain && is_whole && fits).then(|| humantime::parse_duration(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_a_word_of_the_name() {
        assert_eq!(Unit::of("queue_bytes_max"), Some(Unit::Bytes));
        assert_eq!(Unit::of("drain_seconds"), Some(Unit::Seconds));
        assert_eq!(Unit::of("handshake_timeout_ms"), Some(Unit::Milliseconds));
        for name in ["shards", "frames_per_second", "megabytes", "heartbeat_max"] {
            assert_eq!(Unit::of(name), None, "{name}");
        }
    }

    #[test]
    fn a_text_with_a_unit_is_a_whole_number_of_the_settings() {
        for (unit, text, number) in [
            (Unit::Bytes, "64KiB", 65_536),
            (Unit::Bytes, "64 kib", 65_536),
            (Unit::Bytes, "1MB", 1_000_000),
            (Unit::Bytes, "7B", 7),
            (Unit::Seconds, "10s", 10),
            (Unit::Seconds, "2min", 120),
            (Unit::Seconds, "1h 1m", 3660),
            (Unit::Milliseconds, "8s", 8000),
            (Unit::Milliseconds, "250ms", 250),
        ] {
            assert_eq!(unit.whole(text), Some(Ok(number)), "{text}");
        }
        for (unit, text) in [
            (Unit::Bytes, "10s"),
            (Unit::Bytes, "1.5MiB"),
            (Unit::Bytes, "1k"),
            (Unit::Bytes, "64K"),
            (Unit::Bytes, "1e3B"),
            (Unit::Seconds, "10M"),
            (Unit::Seconds, "1month"),
            (Unit::Seconds, "1y"),
            (Unit::Seconds, "1 0s"),
            (Unit::Seconds, "18446744073709551615s 1000ms"),
            (Unit::Seconds, "64KiB"),
            (Unit::Seconds, "1500ms"),
            (Unit::Milliseconds, "1500us"),
            (Unit::Bytes, "99999999999 EiB"),
            (Unit::Seconds, "0x10"),
        ] {
            assert_eq!(unit.whole(text), Some(Err(unit.fault())), "{text}");
        }
        for text in ["64", "1_000", "", "ten", "-5s"] {
            assert_eq!(Unit::Seconds.whole(text), None, "{text}");
        }
    }
}
