//! Record batches, Kafka's message format 2, in which every log of ours carries its records. Owns their bytes: finding
//! batches in what a log answers ([`header`]), their checksums ([`sound`]), reading their records ([`reader`]), making
//! them ([`writer`]), compression ([`codec`], `inflate`, `deflate`) and why one cannot be read ([`unreadable`]). Asks
//! nobody and waits for nothing. Never allocates by what a batch says of itself: only by the bytes that are there, and
//! within the caller's bound. Next: [`crate::consume`] on the way out, the producers of [`crate::bus`] on the way in.
//!
//! A batch is a header of 61 bytes, then records, compressed as a whole. Lengths and deltas in records are zigzag
//! varints.
//!
//! | at | what | |
//! | --- | --- | --- |
//! | 0 | base offset, 8 bytes | of the first record |
//! | 8 | length, 4 | of all that follows |
//! | 12 | partition leader epoch, 4 | |
//! | 16 | magic, 1 | 2 |
//! | 17 | CRC-32C, 4 | of all that follows |
//! | 21 | attributes, 2 | bits 0-2 codec, 3 LogAppendTime, 4 transactional, 5 control |
//! | 23 | last offset delta, 4 | stays when compaction takes records out |
//! | 27 | first timestamp, 8 | |
//! | 35 | max timestamp, 8 | of all records with LogAppendTime |
//! | 43 | producer id, 8; epoch, 2; base sequence, 4 | -1 without |
//! | 57 | record count, 4 | |

pub mod codec;
mod deflate;
pub mod header;
mod inflate;
pub mod limits;
pub mod reader;
pub mod sound;
pub mod unreadable;
mod varint;
pub mod writer;

pub use codec::Codec;
pub use header::{Batch, Batches, Header, Identity};
pub use limits::ReadLimits;
pub use reader::{BatchReader, Record, Records, Walk};
pub use sound::{Damaged, Sound};
pub use unreadable::Unreadable;
pub use writer::BatchBuilder;

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;
