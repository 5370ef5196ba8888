//! What a reader holds (rule R9). Owns the sum over questions under way, batches that wait, the one that is inflated,
//! and records that the gateway has not answered for; says how much more may be asked for. The batches of one answer
//! share its memory, which is free when the last of them is.

use slab::Slab;

use super::settings::Settings;

/// Least worth asking for.
const ASK_BYTES_MIN: usize = 64 * 1024;

/// Names the answer that a batch came in.
pub(super) type AnswerId = usize;

#[derive(Debug)]
struct Held {
    bytes: usize,
    batches: usize,
}

/// Bytes, by what they are for.
#[derive(Debug)]
pub(super) struct Memory {
    bytes_max: usize,
    ask_bytes_max: usize,
    asked: usize,
    answers: Slab<Held>,
    answered: usize,
    inflated: usize,
    admitted: usize,
}

impl Memory {
    /// None of it in use.
    pub(super) fn new(settings: &Settings) -> Memory {
        Memory {
            bytes_max: settings.memory_bytes.max(ASK_BYTES_MIN),
            ask_bytes_max: usize::try_from(settings.read_bytes_max).unwrap_or(usize::MAX),
            asked: 0,
            answers: Slab::new(),
            answered: 0,
            inflated: 0,
            admitted: 0,
        }
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> usize {
        self.asked + self.answered + self.inflated + self.admitted
    }

    /// Bytes that one of so many sources may be asked for, taken from the bound; `None` when that is too little to ask.
    /// All sources together are given half of the bound, so that answers find room.
    pub(super) fn grant(&mut self, sources: usize) -> Option<u32> {
        let share = (self.bytes_max / 2 / sources.max(1)).min(self.ask_bytes_max);
        let room = self.bytes_max.saturating_sub(self.used());
        let granted = share.min(room);
        if granted == 0 || granted < share.min(ASK_BYTES_MIN) {
            return None;
        }
        self.asked += granted;
        u32::try_from(granted).ok()
    }

    /// A question that was granted so much has ended.
    pub(super) fn give_back(&mut self, granted: u32) {
        self.asked = self.asked.saturating_sub(usize::try_from(granted).unwrap_or(usize::MAX));
    }

    /// An answer of so many bytes, of which so many batches wait.
    pub(super) fn hold(&mut self, bytes: usize) -> AnswerId {
        self.answered += bytes;
        self.answers.insert(Held { bytes, batches: 0 })
    }

    /// One more batch of it waits.
    pub(super) fn keep(&mut self, answer: AnswerId) {
        if let Some(held) = self.answers.get_mut(answer) {
            held.batches += 1;
        }
    }

    /// One batch of it waits no longer.
    pub(super) fn release(&mut self, answer: AnswerId) {
        if let Some(held) = self.answers.get_mut(answer) {
            held.batches = held.batches.saturating_sub(1);
            self.settle(answer);
        }
    }

    /// Forget an answer of which nothing waits.
    pub(super) fn settle(&mut self, answer: AnswerId) {
        if self.answers.get(answer).is_some_and(|held| held.batches == 0) {
            self.answered = self.answered.saturating_sub(self.answers.remove(answer).bytes);
        }
    }

    /// The batch that is read takes so much beside its answer.
    pub(super) fn inflate(&mut self, bytes: usize) {
        self.inflated = bytes;
    }

    /// The gateway has so much more, or so much less.
    pub(super) fn admit(&mut self, bytes: usize) {
        self.admitted += bytes;
    }

    /// The gateway has answered for so much.
    pub(super) fn answered(&mut self, bytes: usize) {
        self.admitted = self.admitted.saturating_sub(bytes);
    }

    /// Whether the gateway may be given more.
    pub(super) fn may_admit(&self) -> bool {
        self.admitted < self.bytes_max
    }
}
