//! What is wrong with a value. Owns the closed list of it, and its words: the end of a sentence that begins with the
//! setting's name. Repeats a value only where it cannot have been meant for a secret.

use std::fmt;

use toml::de::DeValue;

use super::TEXT_BYTES_MAX;

/// What is wrong with one value, or with one item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file gives another type.
    Kind {
        /// "a whole number".
        wanted: &'static str,
        /// "a text".
        given: &'static str,
    },
    /// It lies outside its bounds.
    Range {
        /// Smallest value.
        low: String,
        /// Largest value.
        high: String,
    },
    /// It is below zero.
    Negative,
    /// It is no whole number.
    NotWhole,
    /// It is no number.
    NotNumber,
    /// It is infinite, or no number in the sense of IEEE 754.
    NotFinite,
    /// It has a unit that its setting does not have, or is no whole number of it.
    Unit {
        /// "seconds".
        unit: &'static str,
        /// A value with its unit.
        example: &'static str,
    },
    /// It is neither true nor false.
    NotBoolean,
    /// The text is longer than [`TEXT_BYTES_MAX`].
    Long,
    /// The text has control characters.
    Control,
    /// A port without an address.
    PortAlone {
        /// The port.
        port: u16,
    },
    /// It is no IP address with a port.
    NotAddress {
        /// As it was given.
        given: String,
    },
    /// It is neither an address nor a socket file.
    NotListener(Box<Fault>),
    /// `unix:` without a path.
    NoSocketFile,
    /// It is none of these words.
    NotAmong {
        /// The words.
        words: &'static [&'static str],
        /// As it was given.
        given: String,
    },
    /// A secret, or a file of secrets, that came from outside and is empty.
    EmptySecret,
    /// A type of the program's own refuses it with this clause.
    Own(String),
}

/// What is wrong with a value, of a list with each of its items: one at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Faults {
        Faults(vec![fault])
    }
}

impl Fault {
    /// The file gives `value` where `wanted` belongs.
    pub fn of_kind(wanted: &'static str, value: &DeValue<'_>) -> Fault {
        let given = match value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a section",
        };
        Fault::Kind { wanted, given }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kind { wanted, given } => write!(f, "must be {wanted}, not {given}"),
            Fault::Range { low, high } => write!(f, "must be between {low} and {high}"),
            Fault::Negative => f.write_str("must not be negative"),
            Fault::NotWhole => f.write_str("must be a whole number"),
            Fault::NotNumber => f.write_str("must be a number"),
            Fault::NotFinite => f.write_str("must be a finite number"),
            Fault::Unit { unit, example } => write!(f, "must be a whole number of {unit}, such as {example:?}"),
            Fault::NotBoolean => f.write_str("must be true or false"),
            Fault::Long => write!(f, "must have at most {TEXT_BYTES_MAX} bytes"),
            Fault::Control => f.write_str("must have no control characters"),
            Fault::PortAlone { port } => {
                write!(f, "must name an address: write 0.0.0.0:{port}, or [::]:{port} with IPv6")
            }
            Fault::NotAddress { given } => {
                write!(f, "must be an IP address with a port, such as 127.0.0.1:3101 or [::1]:3101, not {given:?}")
            }
            Fault::NotListener(address) => write!(f, "{address}; a socket file is written unix:/path"),
            Fault::NoSocketFile => f.write_str("must name a file after unix:"),
            Fault::NotAmong { words, given } => {
                let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                write!(f, "must be {}, not {given:?}", quoted.join(" or "))?;
                match crate::nearest::nearest(given, words.iter().copied()) {
                    Some(word) => write!(f, "; did you mean {word:?}?"),
                    None => Ok(()),
                }
            }
            Fault::EmptySecret => f.write_str(
                "is empty: give it a value, or take it away (in the file, [] or \"\" says that there is none)",
            ),
            Fault::Own(clause) => f.write_str(clause),
        }
    }
}
