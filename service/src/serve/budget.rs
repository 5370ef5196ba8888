//! The bytes that strangers may make a process hold. Owns one bound for all of them together, and half of it for each address;
//! what is held is given back when its [`Held`] is dropped. Header bytes, request bodies and long answers of every listener take
//! from it as they arise; it knows nothing of what they are.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::address::AddressBlock;

/// What one permit stands for, in bytes.
pub const PERMIT_BYTES: usize = 1024;

/// The bound of a process; cheap to clone.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    all: Arc<Semaphore>,
    all_permits: u32,
    address_permits: u32,
    /// Parts of the addresses that hold something, or may.
    addresses: Mutex<HashMap<AddressBlock, Weak<Semaphore>>>,
    held_bytes: AtomicU64,
    refused: AtomicU64,
}

/// One address's part of a [`Budget`]; cheap to clone.
#[derive(Clone)]
pub struct Share {
    budget: Budget,
    own: Arc<Semaphore>,
}

/// Bytes that are held, until this is dropped.
pub struct Held {
    share: Share,
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("held_bytes", &self.held_bytes()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("free_permits", &self.own.available_permits()).finish_non_exhaustive()
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
            all_permits,
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
        let own = known.unwrap_or_else(|| {
            // Never more entries than twice the shares that live, rounded up.
            if addresses.len() == addresses.capacity() {
                addresses.retain(|_, part| part.strong_count() > 0);
            }
            let own = Arc::new(Semaphore::new(self.0.address_permits as usize));
            addresses.insert(address, Arc::downgrade(&own));
            own
        });
        Share { budget: self.clone(), own }
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
    /// Nothing held yet.
    pub fn hold_nothing(&self) -> Held {
        Held { share: self.clone(), permits: None }
    }

    /// Hold `bytes` at once, or nothing.
    pub fn try_hold(&self, bytes: usize) -> Option<Held> {
        let mut held = self.hold_nothing();
        held.try_grow_to(bytes).then_some(held)
    }

    /// Permits for `bytes`. What is asked for at once never exceeds what one address may hold, or one large request alone would
    /// wait for ever.
    fn permits_of(&self, bytes: usize) -> u32 {
        permits_of(bytes).min(self.budget.0.address_permits).min(self.budget.0.all_permits)
    }
}

impl Held {
    /// Bytes held, in steps of [`PERMIT_BYTES`].
    pub fn bytes(&self) -> usize {
        self.permits() as usize * PERMIT_BYTES
    }

    fn permits(&self) -> u32 {
        self.permits.as_ref().map_or(0, |(own, _)| u32::try_from(own.num_permits()).unwrap_or(u32::MAX))
    }

    /// Hold `bytes` in all, if there are so many now. Counts as refused if not.
    pub fn try_grow_to(&mut self, bytes: usize) -> bool {
        self.grow_now(bytes) || self.refused()
    }

    /// Hold `bytes` in all, waiting `within` for others to give theirs back. Counts as refused if they do not.
    pub async fn grow_to(&mut self, bytes: usize, within: Duration) -> bool {
        let Some(missing) = self.missing(bytes) else { return true };
        let (own, all) = (Arc::clone(&self.share.own), Arc::clone(&self.share.budget.0.all));
        let both = async {
            let own = own.acquire_many_owned(missing).await?;
            Ok::<_, tokio::sync::AcquireError>((own, all.acquire_many_owned(missing).await?))
        };
        match timeout(within, both).await {
            Ok(Ok((own, all))) => {
                self.add(own, all);
                true
            }
            _ => self.refused(),
        }
    }

    /// As [`Held::try_grow_to`], for who goes on to wait.
    pub(super) fn grow_now(&mut self, bytes: usize) -> bool {
        let Some(missing) = self.missing(bytes) else { return true };
        let own = Arc::clone(&self.share.own).try_acquire_many_owned(missing);
        let both = own.and_then(|own| {
            let all = Arc::clone(&self.share.budget.0.all).try_acquire_many_owned(missing)?;
            Ok((own, all))
        });
        both.map(|(own, all)| self.add(own, all)).is_ok()
    }

    /// Permits that are missing to hold `bytes`; `None` when there are enough.
    fn missing(&self, bytes: usize) -> Option<u32> {
        self.share.permits_of(bytes).checked_sub(self.permits()).filter(|missing| *missing > 0)
    }

    fn add(&mut self, own: OwnedSemaphorePermit, all: OwnedSemaphorePermit) {
        self.share.budget.0.held_bytes.fetch_add(bytes_of(&own), Ordering::Relaxed);
        match self.permits.as_mut() {
            Some((own_held, all_held)) => {
                own_held.merge(own);
                all_held.merge(all);
            }
            None => self.permits = Some((own, all)),
        }
    }

    fn refused(&self) -> bool {
        self.share.budget.0.refused.fetch_add(1, Ordering::Relaxed);
        false
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((own, _)) = &self.permits {
            self.share.budget.0.held_bytes.fetch_sub(bytes_of(own), Ordering::Relaxed);
        }
    }
}

fn bytes_of(permit: &OwnedSemaphorePermit) -> u64 {
    (permit.num_permits() * PERMIT_BYTES) as u64
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
