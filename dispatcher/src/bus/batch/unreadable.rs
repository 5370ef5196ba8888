//! Why a record batch cannot be read. Owns the reasons and their sentences; what is done about one is the reader's.

use std::fmt;

use super::Codec;

/// What is wrong with a batch. Its neighbours may be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Another message format than 2.
    Magic(i8),
    /// A length that no batch has.
    Length(i32),
    /// The bytes are not those that were written.
    BadCrc {
        /// What the batch says.
        written: u32,
        /// What its bytes give.
        found: u32,
    },
    /// A compression that Kafka did not have when this was made.
    UnknownCodec(u8),
    /// The compressed bytes are damaged, cut off or followed by something.
    Inflate(Codec),
    /// Compressed records that would take more memory than is allowed.
    Bomb {
        /// How they are compressed.
        codec: Codec,
        /// Bytes that are allowed.
        bytes_max: usize,
    },
    /// A number of records below zero.
    Count(i32),
    /// A record, or something in it, ends behind its end.
    Cut,
    /// A varint that is too long, or too large for what it says.
    Varint,
    /// A length below zero that does not mean "none".
    NegativeLength,
    /// An offset that is not above the one before it, or not within the batch.
    Offset,
    /// Bytes that belong to no record.
    Leftover,
    /// An offset, which no checksum counts, that has no place in the log.
    Misplaced(i64),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Magic(0 | 1) => {
                f.write_str("it has the message format of Kafka 0.10 or older: write the topic anew")
            }
            Unreadable::Magic(magic) => write!(f, "it has the unknown message format {magic}"),
            Unreadable::Length(bytes) => write!(f, "its length of {bytes} bytes is that of no batch"),
            Unreadable::BadCrc { written, found } => {
                write!(f, "its checksum says {written:08x} and its bytes give {found:08x}: it is damaged")
            }
            Unreadable::UnknownCodec(number) => write!(f, "it is compressed in the unknown way {number}"),
            Unreadable::Inflate(codec) => write!(f, "its {codec} data is damaged"),
            Unreadable::Bomb { codec, bytes_max } => {
                write!(f, "its {codec} data takes more than the {bytes_max} bytes that are allowed")
            }
            Unreadable::Count(count) => write!(f, "it says that it has {count} records"),
            Unreadable::Cut => f.write_str("a record in it ends behind its end"),
            Unreadable::Varint => f.write_str("a number in it is written wrongly"),
            Unreadable::NegativeLength => f.write_str("a length in it is below zero"),
            Unreadable::Offset => f.write_str("the offsets in it do not ascend within it"),
            Unreadable::Leftover => f.write_str("it has bytes that belong to no record"),
            Unreadable::Misplaced(offset) => {
                write!(f, "it says that it begins at offset {offset}, where the log has no place for it")
            }
        }
    }
}

impl std::error::Error for Unreadable {}
