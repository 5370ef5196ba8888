//! Step 5 of a frame on its way in: received bytes that wait. They are a frame that is not whole, frames behind a
//! request that is being decided, or a fragmented message. Owns their memory, of exact size where the size is known.
//! Idle connections have none of it. `shard::transport` puts bytes in and takes them out.

use halley_protocol::websocket::Profile;
use halley_protocol::websocket::frame::Decoder;

/// What one connection has received and not used yet.
#[derive(Debug)]
pub struct Partial {
    /// Bytes as they came, not decoded yet.
    pub bytes: Vec<u8>,
    /// Pieces of a WebSocket message.
    pub message: Vec<u8>,
    /// Whole goim frames of a message that wait.
    pub frames: Vec<u8>,
    /// Where the WebSocket decoder stands.
    pub decoder: Decoder,
    /// Bytes of this connection in the shard's gauge.
    counted_bytes: u64,
}

impl Partial {
    /// Without bytes, and without memory; frames are read by the rules of `profile`.
    pub fn new(profile: Profile) -> Partial {
        Partial {
            bytes: Vec::new(),
            message: Vec::new(),
            frames: Vec::new(),
            decoder: Decoder::new(profile),
            counted_bytes: 0,
        }
    }

    /// Whether nothing waits, not even the decoder for the rest of a message: the memory can go.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.message.is_empty() && self.frames.is_empty() && self.decoder.is_idle()
    }

    /// Bring the shard's gauge of partly received bytes in line with what is held now.
    pub fn count(&mut self, gauge: &mut u64) {
        let held = (self.bytes.capacity() + self.message.capacity() + self.frames.capacity()) as u64;
        *gauge = *gauge + held - self.counted_bytes;
        self.counted_bytes = held;
    }

    /// Take what is held out of the shard's gauge, for good.
    pub fn uncount(self, gauge: &mut u64) {
        *gauge -= self.counted_bytes;
    }
}

/// Append with a capacity of exactly what is needed: `expected` bytes in all, when that is known to be more.
pub fn append_exact(to: &mut Vec<u8>, bytes: &[u8], expected: usize) {
    let want = expected.max(to.len() + bytes.len());
    if to.capacity() < want {
        to.reserve_exact(want - to.len());
    }
    to.extend_from_slice(bytes);
}
