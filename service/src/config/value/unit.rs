//! Bytes and times with their unit: "64KiB", "10s". Owns which unit a setting's name stands for, since the unit is its
//! last word, and how a text becomes a whole number of it; bounds are the setting's.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;

use super::Fault;

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
            // The library makes of what is beyond 64 bits the largest number.
            Unit::Bytes => text.parse::<ByteSize>().ok().map(|size| size.as_u64()).filter(|bytes| *bytes < u64::MAX),
            Unit::Seconds => time(text).filter(|time| time.subsec_nanos() == 0).map(|time| time.as_secs()),
            Unit::Milliseconds => {
                let whole = time(text).filter(|time| time.subsec_nanos() % 1_000_000 == 0);
                whole.and_then(|time| u64::try_from(time.as_millis()).ok())
            }
        };
        Some(number.ok_or(Fault::Unit(self)))
    }

    /// A value with its unit.
    pub const fn example(self) -> &'static str {
        match self {
            Unit::Bytes => "64KiB",
            Unit::Seconds => "10s",
            Unit::Milliseconds => "250ms",
        }
    }
}

fn time(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Bytes => "bytes",
            Unit::Seconds => "seconds",
            Unit::Milliseconds => "milliseconds",
        })
    }
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
            (Unit::Bytes, "1.5 MiB", 1_572_864),
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
            (Unit::Seconds, "64KiB"),
            (Unit::Seconds, "1500ms"),
            (Unit::Milliseconds, "1500us"),
            (Unit::Bytes, "99999999999 EiB"),
            (Unit::Seconds, "0x10"),
        ] {
            assert_eq!(unit.whole(text), Some(Err(Fault::Unit(unit))), "{text}");
        }
        for text in ["64", "1_000", "", "ten", "-5s"] {
            assert_eq!(Unit::Seconds.whole(text), None, "{text}");
        }
    }
}
