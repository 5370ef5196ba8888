//! How the records of a batch are compressed. Owns the codecs' numbers and names.

use std::fmt;

/// How xerial's frame around snappy begins. No raw block does: `N` would
/// copy what is not there yet.
pub(super) const XERIAL_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";

/// A compression that Kafka knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// None: records are read where they lie.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, raw or in xerial's frame.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878. Stock jobs cannot read it.
    Zstd,
}

impl Codec {
    /// By the low three bits of a batch's attributes; `None` for one that Kafka did not have when this was made.
    pub(super) fn of_attributes(bits: i16) -> Option<Codec> {
        match bits {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }

    /// Who reads it, for a panic's sentence.
    pub(super) fn library(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "flate2",
            Codec::Snappy => "snap",
            Codec::Lz4 => "lz4_flex",
            Codec::Zstd => "zstd",
        }
    }

    /// The low three bits of a batch's attributes.
    pub(super) fn attributes(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        })
    }
}
