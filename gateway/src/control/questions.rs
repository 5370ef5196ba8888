//! Questions to shards that are without answer. Owns who waits for which, their numbers and their bound; sends nothing.
//! `control::node` opens one for a command, sends its number to the shard, and closes it with what comes back.
//!
//! A number says where the question is kept and which of those kept there it is, so that an answer that comes too late
//! finds nobody.

use slab::Slab;

use super::handle::Reply;
use crate::mesh::msg::{ConnInfo, ConnRef};

/// Questions that may be without answer; more are refused as `Busy`.
pub(super) const QUESTIONS_MAX: usize = 4096;

/// Who waits for the answer to a question.
pub(super) enum Question {
    /// [`ControlToShard::Describe`](crate::mesh::msg::ControlToShard::Describe).
    Describe(Reply<Option<Box<ConnInfo>>>),
    /// [`ControlToShard::Members`](crate::mesh::msg::ControlToShard::Members).
    Members(Reply<Box<[ConnRef]>>),
}

impl Question {
    fn is_abandoned(&self) -> bool {
        match self {
            Question::Describe(reply) => reply.is_closed(),
            Question::Members(reply) => reply.is_closed(),
        }
    }
}

struct Open {
    /// Which question it is of all that were opened, wrapping.
    count: u32,
    question: Question,
}

/// The questions without answer, at most [`QUESTIONS_MAX`].
#[derive(Default)]
pub(super) struct Questions {
    open: Slab<Open>,
    opened: u32,
}

impl Questions {
    /// Keep a question; returns its number, or the question when there are too many that somebody waits for.
    pub(super) fn open(&mut self, question: Question) -> Result<u64, Question> {
        if self.open.len() >= QUESTIONS_MAX {
            self.forget_abandoned();
        }
        if self.open.len() >= QUESTIONS_MAX {
            return Err(question);
        }
        self.opened = self.opened.wrapping_add(1);
        let at = self.open.insert(Open { count: self.opened, question });
        Ok(u64::from(self.opened) << 32 | at as u64)
    }

    /// Take the question with a number out; `None` when it was forgotten.
    pub(super) fn close(&mut self, number: u64) -> Option<Question> {
        let at = usize::try_from(number & u64::from(u32::MAX)).ok()?;
        let is_same = u64::from(self.open.get(at)?.count) == number >> 32;
        is_same.then(|| self.open.remove(at).question)
    }

    /// Forget what nobody waits for any more.
    pub(super) fn forget_abandoned(&mut self) {
        self.open.retain(|_, open| !open.question.is_abandoned());
    }

    /// How many are without answer.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether every question was answered or forgotten.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// The place of a question that was forgotten is used again; its answer must not reach the one that is there now.
    #[test]
    fn a_late_answer_finds_nobody() {
        let mut questions = Questions::default();
        let (reply, answer) = oneshot::channel();
        let first = questions.open(Question::Describe(reply)).ok().expect("room");
        drop(answer);
        questions.forget_abandoned();
        let (reply, _answer) = oneshot::channel();
        let second = questions.open(Question::Members(reply)).ok().expect("room");
        assert_eq!((first & 0xffff_ffff, questions.len()), (second & 0xffff_ffff, 1), "the same place");
        assert!(questions.close(first).is_none());
        assert!(matches!(questions.close(second), Some(Question::Members(_))));
        assert!(questions.close(second).is_none() && questions.is_empty());
    }

    /// When all places are taken, those that nobody waits for make room, and no others.
    #[test]
    fn the_bound_counts_who_waits() {
        let mut questions = Questions::default();
        let mut answers = Vec::new();
        let mut ask = || {
            let (reply, answer) = oneshot::channel();
            (questions.open(Question::Describe(reply)).is_ok(), answer)
        };
        for _ in 0..QUESTIONS_MAX {
            answers.push(ask().1);
        }
        assert!(!ask().0);
        answers.pop();
        assert!(ask().0);
    }
}
