//! What of an answer's batches a reader must know before it reads on: where each ends, in which epoch it was written,
//! whether it is whole. Owns nothing; the records are read later, in their turn.

use bytes::Bytes;

const HEADER_BYTES: usize = 61;
const PREFIX_BYTES: usize = 12;
const CONTROL: i16 = 1 << 5;

/// One batch of an answer.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Offset of its first record, as it was written.
    pub(super) base: i64,
    /// Offset to read on from, whatever compaction took out (rule R5).
    pub(super) next: i64,
    /// Epoch of the leader that wrote it.
    pub(super) epoch: i32,
    /// Records that it has.
    pub(super) count: i64,
    /// The broker's own.
    pub(super) control: bool,
    /// All of it.
    pub(super) bytes: Bytes,
    /// Why nothing of it can be believed.
    pub(super) fault: Option<&'static str>,
}

/// The batches of an answer; one that is cut off ends it.
pub(super) struct Walk(Bytes);

impl Walk {
    pub(super) fn new(batches: Bytes) -> Walk {
        Walk(batches)
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let head = self.0.first_chunk::<17>()?;
        let base = i64::from_be_bytes(head[0..8].try_into().expect("8 bytes"));
        let length = i32::from_be_bytes(head[8..12].try_into().expect("4 bytes"));
        let epoch = i32::from_be_bytes(head[12..16].try_into().expect("4 bytes"));
        let magic = head[16];
        let bytes = usize::try_from(length).unwrap_or(0) + PREFIX_BYTES;
        let nothing = |bytes, fault| {
            Some(Found {
                base,
                next: base.saturating_add(1),
                epoch,
                count: 0,
                control: false,
                bytes,
                fault: Some(fault),
            })
        };
        if bytes < 17 || (magic == 2 && bytes < HEADER_BYTES) {
            return nothing(std::mem::take(&mut self.0), "its length is impossible");
        }
        if self.0.len() < bytes {
            return None;
        }
        let bytes = self.0.split_to(bytes);
        if magic != 2 {
            return nothing(bytes, "it is of an old message format");
        }
        let int = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let attributes = i16::from_be_bytes([bytes[21], bytes[22]]);
        let next = base.saturating_add(i64::from(int(23).max(0))).saturating_add(1);
        let crc_is_right = crc32c::crc32c(&bytes[21..]) == u32::from_be_bytes(int(17).to_be_bytes());
        let fault = (!crc_is_right).then_some("its checksum is wrong");
        let count = i64::from(int(57).max(0));
        Some(Found { base, next, epoch, count, control: attributes & CONTROL != 0, bytes, fault })
    }
}
