//! The bytes that strangers may make a process hold. Owns one bound for all of them together, half of it for each
//! address, and half of either for what anybody may cause without having been let in. Header bytes, request bodies and
//! long answers of every listener take from it as they arise. It knows nothing of what they are. What is held is given
//! back when its [`Held`] is dropped.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::address::AddressBlock;

/// What one permit stands for, in bytes.
pub const PERMIT_BYTES: usize = 1024;

/// The bound of a process; cheap to clone.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    all: Arc<Semaphore>,
    /// Of them, what is held before anybody was let in, or without.
    strangers: Arc<Semaphore>,
    address_permits: u32,
    /// Parts of the addresses that hold something, or may.
    addresses: Mutex<HashMap<AddressBlock, Weak<Part>>>,
    held_bytes: AtomicU64,
    refused: AtomicU64,
}

/// What one address may hold, and what of it as a stranger.
struct Part {
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

/// One address's part of a [`Budget`]; cheap to clone.
#[derive(Clone)]
pub struct Share {
    budget: Budget,
    part: Arc<Part>,
    as_stranger: bool,
}

/// Bytes that are held, until this is dropped.
pub struct Held {
    share: Share,
    permits: Permits,
}

/// As many of each of [`Share::sources`].
type Permits = Vec<OwnedSemaphorePermit>;

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("held_bytes", &self.held_bytes()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("free_permits", &self.part.all.available_permits()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("bytes", &self.bytes()).finish()
    }
}

impl Budget {
    /// A budget of `bytes_max`, half of it for one address.
    pub fn new(bytes_max: usize) -> Budget {
        let all_permits = permits_of(bytes_max);
        Budget(Arc::new(Inner {
            all: Arc::new(Semaphore::new(all_permits as usize)),
            strangers: Arc::new(Semaphore::new((all_permits / 2).max(1) as usize)),
            address_permits: (all_permits / 2).max(1),
            addresses: Mutex::default(),
            held_bytes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// The part of one address.
    pub fn share(&self, address: AddressBlock) -> Share {
        let mut addresses = self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let known = addresses.get(&address).and_then(Weak::upgrade);
        let part = known.unwrap_or_else(|| {
            // Never more entries than twice the shares that live, rounded up.
            if addresses.len() == addresses.capacity() {
                addresses.retain(|_, part| part.strong_count() > 0);
            }
            let permits = self.0.address_permits as usize;
            let part = Arc::new(Part {
                all: Arc::new(Semaphore::new(permits)),
                strangers: Arc::new(Semaphore::new((permits / 2).max(1))),
            });
            addresses.insert(address, Arc::downgrade(&part));
            part
        });
        Share { budget: self.clone(), part, as_stranger: false }
    }

    /// Bytes held now, in steps of [`PERMIT_BYTES`].
    pub fn held_bytes(&self) -> u64 {
        self.0.held_bytes.load(Ordering::Relaxed)
    }

    /// How often somebody asked for more in vain.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl Share {
    /// The same, for what its address may cause without having been let in: headers, and answers to questions that
    /// anybody may ask. However much of that there is, half of the budget is left for the bodies of those who were.
    #[must_use]
    pub fn for_strangers(&self) -> Share {
        Share { as_stranger: true, ..self.clone() }
    }

    /// Whether its address alone may hold so many bytes more, whatever others hold.
    pub(super) fn has_own(&self, bytes: usize) -> bool {
        let own = if self.as_stranger { &self.part.strangers } else { &self.part.all };
        own.available_permits() >= self.permits_of(bytes) as usize
    }

    /// Nothing held yet.
    pub fn hold_nothing(&self) -> Held {
        Held { share: self.clone(), permits: Permits::new() }
    }

    /// Hold `bytes` at once, or nothing.
    pub fn try_hold(&self, bytes: usize) -> Option<Held> {
        let mut held = self.hold_nothing();
        held.try_grow_to(bytes).then_some(held)
    }

    /// Permits for `bytes`. What is asked for at once never exceeds what one address may hold, or one large request
    /// alone would wait for ever.
    fn permits_of(&self, bytes: usize) -> u32 {
        let most = self.budget.0.address_permits;
        permits_of(bytes).min(if self.as_stranger { (most / 2).max(1) } else { most })
    }

    /// Whence every permit is taken. Everybody asks in this order, so that nobody waits in a circle.
    fn sources(&self) -> impl Iterator<Item = &Arc<Semaphore>> {
        let budget = &self.budget.0;
        let strangers = self.as_stranger.then_some([&self.part.strangers, &budget.strangers]);
        [&self.part.all].into_iter().chain(strangers.into_iter().flatten()).chain([&budget.all])
    }

    /// All of them, or none.
    fn try_take(&self, permits: u32) -> Option<Permits> {
        self.sources().map(|source| Arc::clone(source).try_acquire_many_owned(permits).ok()).collect()
    }

    /// All of them, as soon as there are so many.
    async fn take(&self, permits: u32) -> Result<Permits, AcquireError> {
        let mut taken = Permits::new();
        for source in self.sources() {
            taken.push(Arc::clone(source).acquire_many_owned(permits).await?);
        }
        Ok(taken)
    }
}

impl Held {
    /// Bytes held, in steps of [`PERMIT_BYTES`].
    pub fn bytes(&self) -> usize {
        self.permits() as usize * PERMIT_BYTES
    }

    fn permits(&self) -> u32 {
        self.permits.first().map_or(0, |held| u32::try_from(held.num_permits()).unwrap_or(u32::MAX))
    }

    /// Hold `bytes` in all, if there are so many now. Counts as refused if not.
    pub fn try_grow_to(&mut self, bytes: usize) -> bool {
        self.grow_now(bytes) || self.refused()
    }

    /// Hold `bytes` in all, waiting `within` for others to give theirs back. Counts as refused if they do not.
    pub async fn grow_to(&mut self, bytes: usize, within: Duration) -> bool {
        let Some(missing) = self.missing(bytes) else { return true };
        let taken = timeout(within, self.share.take(missing)).await;
        match taken {
            Ok(Ok(more)) => {
                self.add(more);
                true
            }
            _ => self.refused(),
        }
    }

    /// As [`Held::try_grow_to`], for who goes on to wait.
    pub(super) fn grow_now(&mut self, bytes: usize) -> bool {
        let Some(missing) = self.missing(bytes) else { return true };
        self.share.try_take(missing).map(|more| self.add(more)).is_some()
    }

    /// Permits that are missing to hold `bytes`; `None` when there are enough.
    fn missing(&self, bytes: usize) -> Option<u32> {
        self.share.permits_of(bytes).checked_sub(self.permits()).filter(|missing| *missing > 0)
    }

    fn add(&mut self, more: Permits) {
        self.share.budget.0.held_bytes.fetch_add(bytes_of(&more), Ordering::Relaxed);
        if self.permits.is_empty() {
            self.permits = more;
        } else {
            self.permits.iter_mut().zip(more).for_each(|(held, more)| held.merge(more));
        }
    }

    fn refused(&self) -> bool {
        self.share.budget.0.refused.fetch_add(1, Ordering::Relaxed);
        false
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.budget.0.held_bytes.fetch_sub(bytes_of(&self.permits), Ordering::Relaxed);
    }
}

fn bytes_of(permits: &Permits) -> u64 {
    permits.first().map_or(0, |permit| (permit.num_permits() * PERMIT_BYTES) as u64)
}

/// Nothing takes nothing; everything else is rounded up.
fn permits_of(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX >> 4).min(u32::MAX >> 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: AddressBlock = AddressBlock::V4(1);
    const TWO: AddressBlock = AddressBlock::V4(2);
    const SOON: Duration = Duration::from_secs(1);

    /// All of them together hold the bound, one of them half of it; dropping gives back.
    #[test]
    fn one_address_holds_half_and_all_hold_the_bound() {
        let budget = Budget::new(8 * PERMIT_BYTES);
        let (one, two) = (budget.share(ONE), budget.share(TWO));
        let first = one.try_hold(4 * PERMIT_BYTES).expect("half");
        assert!(one.try_hold(1).is_none() && budget.share(ONE).try_hold(1).is_none(), "the half is used up");
        let second = two.try_hold(3 * PERMIT_BYTES).expect("of the other half");
        assert_eq!((budget.held_bytes(), budget.refused()), (7 * PERMIT_BYTES as u64, 2));
        drop(first);
        assert!(one.try_hold(4 * PERMIT_BYTES).is_some());
        drop(second);
        assert_eq!(budget.held_bytes(), 0);
    }

    /// What strangers cause leaves half to those who were let in, and the other way round it is one bound.
    #[tokio::test(start_paused = true)]
    async fn strangers_hold_half_of_it() {
        let budget = Budget::new(8 * PERMIT_BYTES);
        let (one, two) = (budget.share(ONE), budget.share(TWO));
        let mut headers = one.for_strangers().hold_nothing();
        assert!(headers.try_grow_to(PERMIT_BYTES) && headers.try_grow_to(2 * PERMIT_BYTES));
        assert!(one.for_strangers().try_hold(1).is_none(), "half of the half for one address");
        let answer = two.for_strangers().try_hold(2 * PERMIT_BYTES).expect("the rest of the half");
        let mut more = two.for_strangers().hold_nothing();
        assert!(!more.try_grow_to(1) && !more.grow_to(1, SOON).await);
        let bodies = (one.try_hold(2 * PERMIT_BYTES), two.try_hold(2 * PERMIT_BYTES));
        assert!(bodies.0.is_some() && bodies.1.is_some());
        drop(answer);
        let again = two.for_strangers().try_hold(2 * PERMIT_BYTES);
        assert!(again.is_some() && more.share.try_hold(1).is_none());
        drop((headers, bodies, again));
        assert_eq!(budget.held_bytes(), 0);
    }

    /// One request that is larger than anybody may hold is let through alone.
    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_the_bound_is_held_alone() {
        let budget = Budget::new(4 * PERMIT_BYTES);
        let share = budget.share(ONE);
        let held = share.try_hold(100 * PERMIT_BYTES).expect("alone");
        assert_eq!(held.bytes(), 2 * PERMIT_BYTES);
        let mut other = share.hold_nothing();
        assert!(!other.grow_to(1, SOON).await);
        drop(held);
        assert!(other.grow_to(1, SOON).await);
    }

    /// What is held grows by what is missing, and waits for others.
    #[tokio::test(start_paused = true)]
    async fn growing_waits_for_others_and_takes_only_what_is_missing() {
        let budget = Budget::new(8 * PERMIT_BYTES);
        let (one, two) = (budget.share(ONE), budget.share(TWO));
        let mut held = one.try_hold(1).expect("little");
        assert!(held.try_grow_to(PERMIT_BYTES) && held.grow_to(0, SOON).await);
        assert_eq!(held.bytes(), PERMIT_BYTES);
        let others = (two.try_hold(4 * PERMIT_BYTES), one.try_hold(2 * PERMIT_BYTES));
        assert!(others.0.is_some() && others.1.is_some());
        assert!(!held.try_grow_to(3 * PERMIT_BYTES));
        let give_back = async {
            tokio::time::sleep(SOON / 2).await;
            drop(others);
        };
        let (grown, ()) = tokio::join!(held.grow_to(3 * PERMIT_BYTES, SOON), give_back);
        assert!(grown);
        assert_eq!(budget.held_bytes(), 3 * PERMIT_BYTES as u64);
    }

    /// The table of addresses follows those that live.
    #[test]
    fn addresses_that_left_are_forgotten() {
        let budget = Budget::new(1 << 20);
        for number in 0..10_000 {
            let _ = budget.share(AddressBlock::V4(number));
        }
        assert!(budget.0.addresses.lock().expect("whole").len() < 100);
    }
}
