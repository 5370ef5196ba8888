//! Who waits to hear how many connections a push matched. Owns the table from receipt ids, which travel in the records,
//! to the waiting requests. Delivers nothing itself. The ingress opens a receipt; [`crate::consume`] redeems it when
//! the gateways accept its record. A record whose receipt nobody here waits for is delivered all the same.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use hashbrown::HashMap;
use tokio::sync::oneshot;

/// Requests that may wait at once; one more is answered without its number of matches.
pub const RECEIPTS_MAX: usize = 4096;

/// One count for each gateway that got the push.
pub type Counts = Vec<oneshot::Receiver<u64>>;

/// The waiting requests by the id of their receipt, [`RECEIPTS_MAX`] at most.
#[derive(Debug)]
pub struct Receipts {
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    next_id: u64,
    senders: HashMap<u64, oneshot::Sender<Counts>>,
}

/// One request's place in the table; gives it up when dropped.
#[derive(Debug)]
pub struct Receipt {
    table: Arc<Receipts>,
    id: u64,
    counts: oneshot::Receiver<Counts>,
}

impl Receipts {
    /// An empty table. `seed` should be random: processes that share a bus must not mistake each other's ids for
    /// theirs.
    pub fn new(seed: u64) -> Arc<Receipts> {
        Arc::new(Receipts { waiting: Mutex::new(Waiting { next_id: seed | 1, senders: HashMap::new() }) })
    }

    /// A place in the table; `None` when it is full.
    pub fn open(self: &Arc<Receipts>) -> Option<Receipt> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.senders.len() >= RECEIPTS_MAX {
            return None;
        }
        let id = waiting.next_id;
        // Odd numbers only, so 0 (nobody asks) is never given out.
        waiting.next_id = id.wrapping_add(2);
        let (sender, counts) = oneshot::channel();
        waiting.senders.insert(id, sender);
        Some(Receipt { table: self.clone(), id, counts })
    }

    /// Whoever waits for this id, if somebody still does.
    pub fn redeem(&self, id: u64) -> Option<oneshot::Sender<Counts>> {
        if id == 0 {
            return None;
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).senders.remove(&id)
    }
}

impl Receipt {
    /// The number to put into the record, never 0.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Connections that the push matched, over all gateways; `None` if they do not answer within `wait`.
    pub async fn matched(mut self, wait: Duration) -> Option<u64> {
        let sum = async {
            let counts = (&mut self.counts).await.ok()?;
            sum_of(counts).await
        };
        tokio::time::timeout(wait, sum).await.ok().flatten()
    }
}

/// The sum of all counts; `None` when a gateway went away without one.
async fn sum_of(counts: Counts) -> Option<u64> {
    join_all(counts).await.into_iter().try_fold(0u64, |sum, count| Some(sum.saturating_add(count.ok()?)))
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.table.redeem(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_receipt_sums_the_counts_of_all_gateways() {
        let table = Receipts::new(7);
        let receipt = table.open().unwrap();
        let (first, first_count) = oneshot::channel();
        let (second, second_count) = oneshot::channel();
        table.redeem(receipt.id()).unwrap().send(vec![first_count, second_count]).unwrap();
        first.send(2).unwrap();
        second.send(40).unwrap();
        assert_eq!(receipt.matched(Duration::from_secs(60)).await, Some(42));
    }

    #[tokio::test]
    async fn a_gateway_that_goes_away_leaves_the_number_unknown() {
        let table = Receipts::new(7);
        let receipt = table.open().unwrap();
        let (gone, count) = oneshot::channel::<u64>();
        table.redeem(receipt.id()).unwrap().send(vec![count]).unwrap();
        drop(gone);
        assert_eq!(receipt.matched(Duration::from_secs(60)).await, None);
    }

    #[tokio::test]
    async fn the_table_is_bounded_and_places_are_given_up_by_dropping() {
        let table = Receipts::new(u64::MAX);
        let places: Vec<Receipt> = (0..RECEIPTS_MAX).map(|_| table.open().unwrap()).collect();
        assert!(places.iter().all(|place| place.id() != 0), "0 means that nobody asks");
        assert!(table.open().is_none());
        drop(places);
        let again = table.open().unwrap();
        assert!(table.redeem(0).is_none());
        assert!(table.redeem(again.id()).is_some());
        assert!(table.redeem(again.id()).is_none(), "a receipt is redeemed once");
    }
}
