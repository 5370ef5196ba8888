//! Times as people and programs read them. Owns the one format that admin routes and notes answer with; reads no clock.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last moment that the format has room for: four digits of a year.
const UNIX_MS_MAX: u64 = 253_402_300_799_999;

/// A moment in UTC, written as RFC 3339 with milliseconds: `2026-01-31T12:00:00.000Z`. One after the year 9999 is
/// written as the last of that year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    unix_ms: u64,
}

impl Timestamp {
    /// The moment `unix_ms` milliseconds after the Unix epoch.
    pub fn from_unix_ms(unix_ms: u64) -> Timestamp {
        Timestamp { unix_ms }
    }

    /// A moment of the system's clock; one before 1970 becomes 1970.
    pub fn from_system(time: SystemTime) -> Timestamp {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp { unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Whole seconds since the Unix epoch.
    pub fn unix_s(self) -> u64 {
        self.unix_ms / 1000
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = UNIX_EPOCH + Duration::from_millis(self.unix_ms.min(UNIX_MS_MAX));
        humantime::format_rfc3339_millis(moment).fmt(f)
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn moments_read_as_rfc_3339() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_704_067_199_001, "2023-12-31T23:59:59.001Z"),
            (1_709_210_096_123, "2024-02-29T12:34:56.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_unix_ms(unix_ms).to_string(), text);
        }
    }
}
