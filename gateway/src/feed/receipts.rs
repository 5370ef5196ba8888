//! How many connections a push matched, summed over the shards that were asked. Owns the receipts that wait for
//! answers, numbered in the order of asking; the oldest is answered with what is known when too many wait.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::mesh::msg::ReceiptId;

/// Receipts from the oldest unanswered one to the newest.
pub(super) const RECEIPTS_MAX: usize = 4096;

/// The waiting receipts, at most [`RECEIPTS_MAX`] from the oldest on.
#[derive(Debug)]
pub(super) struct Receipts {
    /// `None` = answered, while an older one waits.
    window: VecDeque<Option<Receipt>>,
    /// Number of the first in the window; 0 names no receipt.
    first: ReceiptId,
    open: u64,
    expired: u64,
}

#[derive(Debug)]
struct Receipt {
    missing: usize,
    matched: u64,
    reply: oneshot::Sender<u64>,
}

impl Receipts {
    /// Before the first push that is counted.
    pub(super) fn new() -> Receipts {
        Receipts { window: VecDeque::new(), first: 1, open: 0, expired: 0 }
    }

    /// Receipts that wait.
    pub(super) fn open_len(&self) -> u64 {
        self.open
    }

    /// Receipts answered early, since start.
    pub(super) fn expired(&self) -> u64 {
        self.expired
    }

    /// A receipt over this many shards; answered at once when nobody is asked.
    pub(super) fn open(&mut self, shards: usize) -> (ReceiptId, oneshot::Receiver<u64>) {
        let (reply, answer) = oneshot::channel();
        let receipt = Receipt { missing: shards, matched: 0, reply };
        if shards == 0 {
            receipt.answer();
            return (0, answer);
        }
        if self.window.len() == RECEIPTS_MAX {
            self.expired += 1;
            self.close(self.first);
        }
        self.window.push_back(Some(receipt));
        self.open += 1;
        (self.first + self.window.len() as u64 - 1, answer)
    }

    /// A shard's answer. One that comes after its receipt expired is dropped.
    pub(super) fn answer(&mut self, id: ReceiptId, matched: u32) {
        let Some(Some(receipt)) = self.place(id).and_then(|at| self.window.get_mut(at)) else { return };
        receipt.matched += u64::from(matched);
        receipt.missing -= 1;
        if receipt.missing == 0 {
            self.close(id);
        }
    }

    fn place(&self, id: ReceiptId) -> Option<usize> {
        usize::try_from(id.checked_sub(self.first)?).ok()
    }

    fn close(&mut self, id: ReceiptId) {
        if let Some(receipt) = self.place(id).and_then(|at| self.window.get_mut(at)).and_then(Option::take) {
            receipt.answer();
            self.open -= 1;
        }
        while let Some(None) = self.window.front() {
            self.window.pop_front();
            self.first += 1;
        }
    }
}

impl Receipt {
    fn answer(self) {
        // Whoever asked may have stopped waiting.
        let _ = self.reply.send(self.matched);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_the_sum_of_its_shards_and_comes_with_the_last() {
        let mut receipts = Receipts::new();
        let (first, mut first_answer) = receipts.open(2);
        let (second, mut second_answer) = receipts.open(1);
        assert!(first != second && first != 0 && second != 0);
        receipts.answer(first, 3);
        receipts.answer(second, 5);
        assert_eq!(second_answer.try_recv(), Ok(5), "the younger one may be answered first");
        assert!(first_answer.try_recv().is_err(), "one shard has not answered");
        receipts.answer(first, 4);
        assert_eq!(first_answer.try_recv(), Ok(7));
        assert_eq!((receipts.open_len(), receipts.window.len()), (0, 0));
        receipts.answer(first, 1);
        assert_eq!(receipts.open_len(), 0, "an answer too many changes nothing");
    }

    #[test]
    fn nobody_asked_is_answered_at_once() {
        let mut receipts = Receipts::new();
        let (id, mut answer) = receipts.open(0);
        assert_eq!((id, answer.try_recv()), (0, Ok(0)));
    }

    #[test]
    fn the_oldest_receipt_is_answered_with_what_is_known_when_too_many_wait() {
        let mut receipts = Receipts::new();
        let (oldest, mut answer) = receipts.open(2);
        receipts.answer(oldest, 9);
        let waiting: Vec<_> = (1..RECEIPTS_MAX).map(|_| receipts.open(1)).collect();
        assert!(answer.try_recv().is_err(), "there is still room for it");
        let (newest, mut newest_answer) = receipts.open(1);
        assert_eq!(answer.try_recv(), Ok(9));
        assert_eq!((receipts.expired(), receipts.open_len()), (1, RECEIPTS_MAX as u64));
        receipts.answer(oldest, 1);
        receipts.answer(newest, 6);
        assert_eq!(newest_answer.try_recv(), Ok(6));
        for (id, mut answer) in waiting {
            receipts.answer(id, 2);
            assert_eq!(answer.try_recv(), Ok(2));
        }
        assert_eq!(receipts.open_len(), 0);
    }
}
