//! The types a setting can have. Owns how a value is read from TOML, from an environment variable or from a flag, how
//! it is written back, and what can be wrong with it. Knows no setting and no file. `key` binds types to settings;
//! `load` says where a value stood.
//!
//! | file | noun |
//! |---|---|
//! | `number`, `text`, `address`, `list` | types of every program |
//! | `words` | a closed list of words, which a program gives |
//! | `unit` | bytes and times with their unit: "64KiB", "10s" |
//! | `fault` | what is wrong with a value |

pub mod address;
pub mod fault;
mod list;
mod number;
pub mod text;
pub mod unit;
pub mod words;

use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::de::DeValue;

pub use fault::{Fault, Faults};

/// Bytes of the longest text in a setting.
pub const TEXT_BYTES_MAX: usize = 4096;

/// One setting's type.
pub trait Value: Sized + Clone {
    /// Read from the file.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Fault>;
    /// Read from an environment variable or a flag.
    fn from_text(text: &str) -> Result<Self, Fault>;
    /// Write as TOML; reading that gives an equal value.
    fn to_toml(&self) -> String;
    /// As [`Value::from_toml`]; a list says what is wrong with each of its items.
    fn read_toml(value: &DeValue<'_>) -> Result<Self, Faults> {
        Ok(Self::from_toml(value)?)
    }
    /// As [`Value::from_text`]; a list says what is wrong with each of its items.
    fn read_text(text: &str) -> Result<Self, Faults> {
        Ok(Self::from_text(text)?)
    }
    /// Whether it may not be shown to people.
    const SECRET: bool = false;
    /// Whether a flag may be given several times.
    const LIST: bool = false;
    /// What stands for a value in `--help`.
    const PLACE: &'static str = "VALUE";
}

/// Says so when `value` is outside `range`.
pub fn within<T: PartialOrd + Display>(value: &T, range: &RangeInclusive<T>) -> Result<(), Fault> {
    if range.contains(value) {
        return Ok(());
    }
    Err(Fault::Range { low: range.start().to_string(), high: range.end().to_string() })
}

/// What the file gives where a text was wanted, `what` in words.
pub(super) fn text_of<'v>(value: &'v DeValue<'_>, what: &'static str) -> Result<&'v str, Fault> {
    value.as_str().ok_or_else(|| Fault::of_kind(what, value))
}
