//! What a shard's send queues refer to: every reply and every push that waits, once, however many connections wait for
//! it. Owns the bytes (or one reference to feed's framing of them) and a plain reference count; knows no connection.
//! `send_queue` holds the ids, `shard::flush` and `shard::secure` take the bytes.

use crate::mesh::msg::SharedPayload;
use crate::table::slab::Slab;

/// Names one entry. [`PayloadId::NONE`] names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadId(u32);

impl PayloadId {
    /// No payload.
    pub const NONE: PayloadId = PayloadId(u32::MAX);
}

/// Bytes that fit an entry without memory of their own: every reply but echoes.
pub const SMALL_BYTES_MAX: usize = 38;

/// The bytes of an entry.
#[derive(Debug)]
pub enum Content {
    /// A push, framed by feed for both transports.
    Shared(SharedPayload),
    /// A short reply.
    Small(u8, [u8; SMALL_BYTES_MAX]),
    /// A longer reply.
    Owned(Box<[u8]>),
}

#[derive(Debug)]
struct Entry {
    content: Content,
    references: u32,
    /// Operation of a push, for drops and traces.
    op: i32,
}

// A free cell of the table needs no space of its own.
const _: () = assert!(size_of::<Option<Entry>>() == size_of::<Entry>());

/// The payloads of one shard.
#[derive(Debug, Default)]
pub struct Payloads {
    entries: Slab<Entry>,
}

impl Payloads {
    /// Without entries, and without memory.
    pub fn new() -> Payloads {
        Payloads::default()
    }

    /// Store a push; the caller holds the one reference and gives it up with [`Payloads::release`].
    pub fn push(&mut self, payload: SharedPayload, op: i32) -> PayloadId {
        self.insert(Content::Shared(payload), op)
    }

    /// Store a reply made of a head and a body.
    pub fn reply(&mut self, head: &[u8], body: &[u8]) -> PayloadId {
        let bytes = head.len() + body.len();
        let content = match u8::try_from(bytes) {
            Ok(small) if bytes <= SMALL_BYTES_MAX => {
                let mut inline = [0; SMALL_BYTES_MAX];
                inline[..head.len()].copy_from_slice(head);
                inline[head.len()..bytes].copy_from_slice(body);
                Content::Small(small, inline)
            }
            _ => {
                let mut owned = Vec::with_capacity(bytes);
                owned.extend_from_slice(head);
                owned.extend_from_slice(body);
                Content::Owned(owned.into_boxed_slice())
            }
        };
        self.insert(content, 0)
    }

    fn insert(&mut self, content: Content, op: i32) -> PayloadId {
        PayloadId(self.entries.insert(Entry { content, references: 1, op }))
    }

    /// One more reference.
    pub fn retain(&mut self, id: PayloadId) {
        self.entries[id.0].references += 1;
    }

    /// One reference less; the last one frees the entry.
    pub fn release(&mut self, id: PayloadId) {
        let entry = &mut self.entries[id.0];
        entry.references -= 1;
        if entry.references == 0 {
            self.entries.remove(id.0);
        }
    }

    /// The bytes as one transport sends them.
    pub fn bytes(&self, id: PayloadId, websocket: bool) -> &[u8] {
        match &self.entries[id.0].content {
            Content::Shared(payload) => payload.bytes(websocket),
            Content::Small(bytes, inline) => &inline[..usize::from(*bytes)],
            Content::Owned(bytes) => bytes,
        }
    }

    /// The shared push behind an id, if it is one.
    pub fn shared(&self, id: PayloadId) -> Option<&SharedPayload> {
        match &self.entries[id.0].content {
            Content::Shared(payload) => Some(payload),
            _ => None,
        }
    }

    /// Whether the entry is a push (which may be dropped) and not a reply (which may not).
    pub fn is_push(&self, id: PayloadId) -> bool {
        matches!(self.entries[id.0].content, Content::Shared(_))
    }

    /// Operation of a push.
    pub fn op(&self, id: PayloadId) -> i32 {
        self.entries[id.0].op
    }

    /// Entries somebody refers to.
    pub fn live(&self) -> usize {
        self.entries.len() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Freed entries are used again, and the last release drops feed's reference.
    #[test]
    fn entries_are_reused_and_references_end() {
        let shared = std::sync::Arc::new(halley_protocol::payload::Payload::message(7, b"x"));
        let mut payloads = Payloads::new();
        let push = payloads.push(shared.clone(), 7);
        payloads.retain(push);
        payloads.release(push);
        assert_eq!(std::sync::Arc::strong_count(&shared), 2);
        payloads.release(push);
        assert_eq!(std::sync::Arc::strong_count(&shared), 1);
        let again = payloads.reply(b"head", &[9; 100]);
        assert_eq!(again, push);
        assert_eq!(payloads.bytes(again, true).len(), 104);
        assert!(!payloads.is_push(again));
        assert_eq!(payloads.live(), 1);
    }
}
