//! Memory that queued sends point into. Owns copies made for one send each and a reference to every payload sent
//! without copying, both only until the enter that took the entries has returned: every send is done by then. It builds
//! no entry.

use std::sync::Arc;

use crate::io::SEND_COPY_BYTES_MAX;
use crate::mesh::msg::SharedPayload;

/// Chunks of scratch memory, each of [`SEND_COPY_BYTES_MAX`]; when all are used the kernel is entered early.
const CHUNKS_MAX: usize = 16;
/// References looked at before one more is kept: flushing walks connections whose next payload is mostly the same.
const LOOK_BACK: usize = 4;

/// What the sends queued since the last enter point into.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Never shrinks and its boxes never move. The last one in use is `chunks[chunk]`, filled up to `used`.
    chunks: Vec<Box<[u8]>>,
    chunk: usize,
    used: usize,
    /// Bounded by the entries of one enter.
    held: Vec<SharedPayload>,
}

impl Outgoing {
    pub(super) fn new() -> Outgoing {
        Outgoing { chunks: vec![chunk()], chunk: 0, used: 0, held: Vec::new() }
    }

    /// A whole chunk can still be had, so that any send fits.
    pub(super) fn has_room(&self) -> bool {
        self.chunk + 1 < CHUNKS_MAX
    }

    /// Copies the parts one after another and returns where they lie. Parts that do not fit into
    /// [`SEND_COPY_BYTES_MAX`] are left out, possibly in their middle.
    pub(super) fn copy(&mut self, parts: &mut dyn Iterator<Item = &[u8]>) -> &[u8] {
        let mut start = self.used;
        for part in parts {
            let room = SEND_COPY_BYTES_MAX - (self.used - start);
            let part = &part[..part.len().min(room)];
            if part.len() > SEND_COPY_BYTES_MAX - self.used {
                self.move_to_next_chunk(start);
                start = 0;
            }
            self.chunks[self.chunk][self.used..self.used + part.len()].copy_from_slice(part);
            self.used += part.len();
            if part.len() == room {
                break;
            }
        }
        &self.chunks[self.chunk][start..self.used]
    }

    /// Begins another chunk with what was copied from `start` on.
    fn move_to_next_chunk(&mut self, start: usize) {
        if self.chunks.len() == self.chunk + 1 {
            self.chunks.push(chunk());
        }
        let (full, next) = self.chunks.split_at_mut(self.chunk + 1);
        let begun = &full[self.chunk][start..self.used];
        next[0][..begun.len()].copy_from_slice(begun);
        self.chunk += 1;
        self.used = begun.len();
    }

    /// Keeps the payload until the enter.
    #[inline]
    pub(super) fn hold(&mut self, payload: &SharedPayload) {
        if !self.held.iter().rev().take(LOOK_BACK).any(|held| Arc::ptr_eq(held, payload)) {
            self.held.push(Arc::clone(payload));
        }
    }

    /// The kernel has taken every send.
    #[inline]
    pub(super) fn release(&mut self) {
        self.chunk = 0;
        self.used = 0;
        self.held.clear();
    }
}

fn chunk() -> Box<[u8]> {
    vec![0; SEND_COPY_BYTES_MAX].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies of one enter neither move nor overlap, whatever their sizes, and each holds its parts' bytes up to the
    /// limit.
    #[test]
    fn copies_stay_where_they_are_until_released() {
        let mut outgoing = Outgoing::new();
        for round in 0..3u8 {
            let mut copies: Vec<(*const u8, Vec<u8>)> = Vec::new();
            for (index, sizes) in [[10, 20, 0], [65_000, 400, 300], [1, 65_535, 7], [70_000, 1, 1], [65_536, 9, 0]]
                .into_iter()
                .enumerate()
            {
                assert!(outgoing.has_room());
                let parts: Vec<Vec<u8>> = sizes.iter().zip(1..).map(|(&size, n)| vec![n * 16 + round; size]).collect();
                let mut whole = parts.concat();
                whole.truncate(SEND_COPY_BYTES_MAX);
                let copy = outgoing.copy(&mut parts.iter().map(Vec::as_slice));
                assert_eq!(copy, whole, "copy {index}");
                copies.push((copy.as_ptr(), whole));
            }
            for (at, bytes) in &copies {
                let found = outgoing.chunks.iter().find_map(|chunk| {
                    let start = (*at as usize).checked_sub(chunk.as_ptr() as usize)?;
                    chunk.get(start..start + bytes.len())
                });
                assert_eq!(found, Some(&bytes[..]));
            }
            outgoing.release();
            assert_eq!(outgoing.chunks.len(), 5, "chunks are kept and used again");
        }
    }

    /// Room runs out before memory does.
    #[test]
    fn scratch_memory_is_bounded() {
        let mut outgoing = Outgoing::new();
        let part = vec![7; SEND_COPY_BYTES_MAX];
        let mut sends = 0;
        while outgoing.has_room() {
            outgoing.copy(&mut std::iter::once(&part[..]));
            sends += 1;
        }
        assert_eq!((sends, outgoing.chunks.len()), (CHUNKS_MAX, CHUNKS_MAX));
    }
}
