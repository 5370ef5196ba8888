//! Texts as settings: plain ones, paths, secrets. Owns the bound on their length, and that a secret is shown nowhere.

use std::fmt;
use std::path::PathBuf;

use toml::de::DeValue;

use super::{Fault, TEXT_BYTES_MAX, Value, text_of};

impl Value for String {
    const PLACE: &'static str = "TEXT";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Fault> {
        Self::from_text(text_of(value, "a text")?)
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Fault::Long);
        }
        if text.contains(|letter: char| letter.is_control()) {
            return Err(Fault::Control);
        }
        Ok(text.to_owned())
    }

    fn to_toml(&self) -> String {
        toml::Value::String(self.clone()).to_string()
    }
}

impl Value for PathBuf {
    const PLACE: &'static str = "PATH";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Fault> {
        String::from_toml(value).map(PathBuf::from)
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        String::from_text(text).map(PathBuf::from)
    }

    fn to_toml(&self) -> String {
        self.to_string_lossy().into_owned().to_toml()
    }
}

/// A text that is never shown: tokens and keys. Empty = none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl Secret {
    /// The secret, unless it is empty.
    pub fn get(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret()" } else { "Secret(..)" })
    }
}

impl Value for Secret {
    const SECRET: bool = true;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Fault> {
        String::from_toml(value).map(Secret)
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        String::from_text(text).map(Secret)
    }

    fn to_toml(&self) -> String {
        self.0.to_toml()
    }
}
