//! What a process counts while others look at it. Owns the two ways to share numbers without a lock. Either one thread
//! works on plain integers and publishes them whole ([`Published`], made by [`counters!`](crate::counters!)), or
//! several threads add to one ([`Counter`]). Knows no name under which they are shown: whoever counts gives them names.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// Declares a struct of counters, each an `u64`, an array of them or a histogram, that [`Published`] can share.
///
/// ```
/// halley_service::counters! {
///     /// What a baker counts.
///     pub struct Baked {
///         /// Loaves since start.
///         pub loaves: u64,
///         /// Rolls since start, by kind.
///         pub rolls: [u64; 3],
///     }
/// }
///
/// let shared = halley_service::counters::Published::<Baked>::default();
/// shared.publish(&Baked { loaves: 2, rolls: [0, 7, 0] });
/// assert_eq!(shared.read().rolls, [0, 7, 0]);
/// ```
#[macro_export]
macro_rules! counters {
    (
        $(#[$doc:meta])*
        pub struct $counts:ident { $($(#[$field_doc:meta])* pub $field:ident: $number:ty,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $counts { $($(#[$field_doc])* pub $field: $number,)* }

        const _: () = {
            /// The same, as others see it.
            #[derive(Debug, Default)]
            pub struct Shared { $($field: <$number as $crate::counters::Number>::Shared,)* }

            impl $crate::counters::Counts for $counts {
                type Shared = Shared;

                #[inline]
                fn store(&self, shared: &Shared) {
                    $($crate::counters::Number::store(&self.$field, &shared.$field);)*
                }

                #[inline]
                fn load(shared: &Shared) -> $counts {
                    $counts { $($field: $crate::counters::Number::load(&shared.$field),)* }
                }
            }
        };
    };
}

/// One counter, or an array of them, as its thread works on it.
pub trait Number {
    /// As others see it.
    type Shared: Debug + Default;

    /// Let others see it.
    fn store(&self, shared: &Self::Shared);

    /// What is to be seen.
    fn load(shared: &Self::Shared) -> Self;
}

impl Number for u64 {
    type Shared = AtomicU64;

    #[inline]
    fn store(&self, shared: &AtomicU64) {
        shared.store(*self, Ordering::Relaxed);
    }

    #[inline]
    fn load(shared: &AtomicU64) -> u64 {
        shared.load(Ordering::Relaxed)
    }
}

impl<const LENGTH: usize> Number for [u64; LENGTH]
where
    [AtomicU64; LENGTH]: Default,
{
    type Shared = [AtomicU64; LENGTH];

    #[inline]
    fn store(&self, shared: &[AtomicU64; LENGTH]) {
        self.iter().zip(shared).for_each(|(number, shared)| number.store(shared));
    }

    #[inline]
    fn load(shared: &[AtomicU64; LENGTH]) -> [u64; LENGTH] {
        std::array::from_fn(|at| u64::load(&shared[at]))
    }
}

/// What [`counters!`](crate::counters!) makes of a struct.
pub trait Counts {
    /// Its counters as others see them.
    type Shared: Debug + Default;

    /// Let others see all of them.
    fn store(&self, shared: &Self::Shared);

    /// What is to be seen.
    fn load(shared: &Self::Shared) -> Self;
}

/// The copy of one thread's counters that others read, on cache lines of its own: publishing slows nobody down who
/// writes beside it.
#[derive(Debug)]
pub struct Published<C: Counts>(CachePadded<C::Shared>);

impl<C: Counts> Published<C> {
    /// The one thread that counts: let others see this.
    #[inline]
    pub fn publish(&self, counts: &C) {
        counts.store(&self.0);
    }

    /// Anybody: read. Each number is one that was published; they may be of two publications that follow each other.
    pub fn read(&self) -> C {
        C::load(&self.0)
    }
}

impl<C: Counts> Default for Published<C> {
    fn default() -> Published<C> {
        Published(CachePadded::default())
    }
}

/// A number that several threads add to. A reader sees it alone, in no order with others.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Count some more.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Count some less, of what was added before.
    #[inline]
    pub fn take_back(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    /// The number now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
