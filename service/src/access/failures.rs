//! Wrong tokens. Owns counting them, saying them in the log, and making whoever shows them wait, longer from time to
//! time. Nobody who shows a right token waits, whatever others at his address do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Denied, Peer, Reason};
use crate::address::AddressBlock;

/// How long the answer to an address's first wrong token is held back; each further one doubles it.
const WAIT_MIN: Duration = Duration::from_millis(250);
/// How long at most.
const WAIT_MAX: Duration = Duration::from_secs(4);
/// Time after which an address's failures are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 1024;
/// Answers to wrong tokens that may be held back at once; beyond it they go out at once, as "too many", and end their
/// connections: each further guess costs a connection, and nobody with a right token is kept out by those who guess.
const WAITING_MAX: usize = 256;

/// Who has shown wrong tokens, and who waits for an answer to one; at most 1,024 addresses and 256 answers.
#[derive(Debug)]
pub struct Failures {
    total: AtomicU64,
    addresses: Mutex<HashMap<AddressBlock, Failed>>,
    waiting: Semaphore,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    times: u32,
    last: Instant,
}

impl Default for Failures {
    fn default() -> Self {
        Failures { total: AtomicU64::new(0), addresses: Mutex::default(), waiting: Semaphore::new(WAITING_MAX) }
    }
}

impl Failures {
    /// Wrong tokens so far.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// A wrong token came from there.
    pub(super) fn failed(&self, peer: Peer) -> Reason {
        self.total.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%peer, "a wrong token was shown");
        let now = Instant::now();
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.len() >= ADDRESSES_MAX {
            addresses.retain(|_, failed| now.duration_since(failed.last) < FORGOTTEN_AFTER);
        }
        if addresses.len() >= ADDRESSES_MAX && !addresses.contains_key(&peer.block()) {
            // So many at once are one crowd.
            return Reason::TooManyFailures;
        }
        let failed = addresses.entry(peer.block()).or_insert(Failed { times: 0, last: now });
        let recent = now.duration_since(failed.last) < FORGOTTEN_AFTER;
        *failed = Failed { times: if recent { failed.times.saturating_add(1) } else { 1 }, last: now };
        Reason::WrongToken
    }

    /// Hold the answer to a wrong token back. When too many are held back already, the answer is "too many" at once.
    pub async fn slow_down(&self, peer: Peer, denied: Denied) -> Denied {
        if denied.reason != Reason::WrongToken {
            return denied;
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            return Denied { reason: Reason::TooManyFailures, ..denied };
        };
        let times = {
            let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            addresses.get(&peer.block()).map_or(1, |failed| failed.times)
        };
        tokio::time::sleep(wait(times)).await;
        denied
    }
}

/// How long the answer to so many wrong tokens in a row waits.
fn wait(times: u32) -> Duration {
    WAIT_MIN.saturating_mul(1 << times.saturating_sub(1).min(10)).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Scope;

    const ASK: Scope = Scope { bit: 0, what: "asking", setting: "ask_token", needs_this_machine: true };

    fn peer(number: u32) -> Peer {
        Peer::Tcp(std::net::SocketAddr::from((std::net::Ipv4Addr::from_bits(number), 1)))
    }

    async fn fail(failures: &Failures, number: u32) -> (Reason, Duration) {
        let began = Instant::now();
        let denied = Denied { reason: failures.failed(peer(number)), scope: ASK };
        (failures.slow_down(peer(number), denied).await.reason, began.elapsed())
    }

    /// Each wrong token in a row costs twice the time of the one before, and a minute without one forgives all.
    #[tokio::test(start_paused = true)]
    async fn guessing_becomes_slow() {
        let failures = Failures::default();
        for millis in [250, 500, 1000, 2000, 4000, 4000] {
            assert_eq!(fail(&failures, 1).await, (Reason::WrongToken, Duration::from_millis(millis)));
        }
        assert_eq!(fail(&failures, 2).await.1, WAIT_MIN, "another address");
        tokio::time::advance(FORGOTTEN_AFTER).await;
        assert_eq!(fail(&failures, 1).await.1, WAIT_MIN);
        assert_eq!(failures.total(), 8);
    }

    /// Neither the waiting nor the memory of addresses grows with those who guess.
    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_guesses_is_bounded() {
        let failures = Failures::default();
        let crowd = (0..400).map(|number| fail(&failures, number));
        let reasons = futures_util::future::join_all(crowd).await;
        let held_back = reasons.iter().filter(|(reason, _)| *reason == Reason::WrongToken).count();
        assert_eq!(held_back, WAITING_MAX);
        for number in 0..3000 {
            failures.failed(peer(number));
        }
        assert_eq!(failures.addresses.lock().expect("whole").len(), ADDRESSES_MAX);
    }
}
