//! Who is online, asked from the gateway in this process. Owns the sharing of the answers. However many requests ask,
//! one list of rooms is under way at a time, and lists follow each other at a distance. Nobody gets a list that is
//! older than his request. A list that was begun is finished whoever still waits for it, so that those behind it get
//! theirs. Keeps nothing but the last list.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::{Registry, Rooms};
use crate::gateways::{Gateway, NoAnswer, Totals};

/// How long the totals may take: who asks holds one of the listener's places.
const TOTALS_WITHIN: Duration = Duration::from_secs(2);
/// How long a list of rooms may take, and how long who asks waits for one, the list under way before it included: a
/// gateway with very many rooms makes it beside its other work.
const LIST_WITHIN: Duration = Duration::from_secs(30);
/// Time from the beginning of one list to that of the next: making them is work for feed, whoever asks how often.
const LIST_EVERY: Duration = Duration::from_millis(100);

/// Rooms of a list that is put in order on the thread that asked; a longer one has a thread for it.
const ORDERED_HERE_MAX: usize = 10_000;

/// The registry of a process that holds its gateway itself.
pub struct EmbeddedRegistry {
    gateway: Arc<dyn Gateway>,
    /// Number of the last list that was begun, from 1.
    begun: Arc<AtomicU64>,
    /// The last list that arrived. Locked by whoever fetches the next.
    latest: Arc<Mutex<Latest>>,
}

/// A list, its number, and when the last one was begun.
struct Latest {
    number: u64,
    rooms: Rooms,
    begun: Option<Instant>,
}

impl EmbeddedRegistry {
    /// Asks this gateway.
    pub fn new(gateway: Arc<dyn Gateway>) -> EmbeddedRegistry {
        let latest = Latest { number: 0, rooms: Rooms::from([]), begun: None };
        EmbeddedRegistry { gateway, begun: Arc::new(AtomicU64::new(0)), latest: Arc::new(Mutex::new(latest)) }
    }

    async fn newer_than(&self, number: u64) -> Result<Rooms, NoAnswer> {
        let mut latest = self.latest.clone().lock_owned().await;
        if latest.number > number {
            return Ok(latest.rooms.clone());
        }
        let (gateway, begun) = (Arc::clone(&self.gateway), Arc::clone(&self.begun));
        // A task of its own, which holds the lock to its end: who waits here may give up.
        let fetched = tokio::spawn(async move {
            if let Some(last) = latest.begun {
                sleep_until(last + LIST_EVERY).await;
            }
            latest.begun = Some(Instant::now());
            let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
            latest.rooms = in_time(LIST_WITHIN, fetch(&*gateway)).await?;
            latest.number = number;
            Ok(latest.rooms.clone())
        });
        // It can be cut short only when the process ends.
        fetched.await.unwrap_or(Err(NoAnswer::Gone))
    }
}

async fn fetch(gateway: &dyn Gateway) -> Result<Rooms, NoAnswer> {
    let list = gateway.rooms().await?;
    if list.len() <= ORDERED_HERE_MAX {
        return Ok(ordered(list));
    }
    // It ends early only when the process does.
    tokio::task::spawn_blocking(move || ordered(list)).await.map_err(|_| NoAnswer::Gone)
}

/// In the order of [`Rooms`]: once for a list, however many ask for its beginning.
fn ordered(mut list: Vec<(String, u32)>) -> Rooms {
    list.retain(|(_, count)| *count > 0);
    list.sort_unstable_by(|(room, count), (other, others)| others.cmp(count).then_with(|| room.cmp(other)));
    list.into()
}

#[async_trait::async_trait]
impl Registry for EmbeddedRegistry {
    async fn rooms(&self) -> Result<Rooms, NoAnswer> {
        let begun_before = self.begun.load(Ordering::SeqCst);
        in_time(LIST_WITHIN, self.newer_than(begun_before)).await
    }

    async fn counts(&self, rooms: Vec<String>) -> Result<Vec<u32>, NoAnswer> {
        in_time(TOTALS_WITHIN, self.gateway.counts(rooms)).await
    }

    async fn totals(&self) -> Result<Totals, NoAnswer> {
        in_time(TOTALS_WITHIN, self.gateway.totals()).await
    }
}

async fn in_time<T>(within: Duration, answer: impl Future<Output = Result<T, NoAnswer>>) -> Result<T, NoAnswer> {
    tokio::time::timeout(within, answer).await.unwrap_or(Err(NoAnswer::TimedOut))
}

#[cfg(test)]
mod tests {
    use super::*;
    use halley_protocol::push::Target;
    use std::sync::atomic::AtomicU32;
    use tokio::sync::Semaphore;

    /// A gateway whose answers wait for a permit and number themselves.
    struct Slow {
        asked: AtomicU32,
        permits: Semaphore,
    }

    #[async_trait::async_trait]
    impl Gateway for Slow {
        async fn matched(&self, _: Target, _: i32) -> Result<u64, NoAnswer> {
            Err(NoAnswer::Gone)
        }
        async fn rooms(&self) -> Result<Vec<(String, u32)>, NoAnswer> {
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            self.permits.acquire().await.unwrap().forget();
            Ok(vec![("live://1".into(), number)])
        }
        async fn counts(&self, _: Vec<String>) -> Result<Vec<u32>, NoAnswer> {
            Err(NoAnswer::Gone)
        }
        async fn totals(&self) -> Result<Totals, NoAnswer> {
            Ok(Totals { connections: 2, addresses: 1 })
        }
    }

    /// Requests that come while a list is under way share the next one: it began after they came, and the gateway is
    /// asked twice, not ten times.
    #[tokio::test]
    async fn lists_of_rooms_are_shared_but_never_older_than_the_request() {
        let gateway = Arc::new(Slow { asked: AtomicU32::new(0), permits: Semaphore::new(0) });
        let registry = Arc::new(EmbeddedRegistry::new(gateway.clone()));
        let ask = |registry: Arc<EmbeddedRegistry>| tokio::spawn(async move { registry.rooms().await.unwrap()[0].1 });
        let first = ask(registry.clone());
        while gateway.asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let later: Vec<_> = (0..9).map(|_| ask(registry.clone())).collect();
        tokio::task::yield_now().await;
        gateway.permits.add_permits(2);
        assert_eq!(first.await.unwrap(), 1);
        for answer in later {
            assert_eq!(answer.await.unwrap(), 2);
        }
        assert_eq!(gateway.asked.load(Ordering::SeqCst), 2);
    }

    /// A gateway that does not answer costs its callers a bounded time, those who wait for somebody else's list too;
    /// and once it answers again, so does the registry.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let gateway = Arc::new(Slow { asked: AtomicU32::new(0), permits: Semaphore::new(0) });
        let registry = Arc::new(EmbeddedRegistry::new(gateway.clone()));
        let began = tokio::time::Instant::now();
        let asked = (0..20).map(|_| registry.rooms());
        let answers = futures_util::future::join_all(asked).await;
        assert!(answers.iter().all(|answer| *answer == Err(NoAnswer::TimedOut)), "{answers:?}");
        assert_eq!(began.elapsed(), LIST_WITHIN, "all of them together, by the runtime's own clock");
        gateway.permits.add_permits(9);
        assert!(registry.rooms().await.is_ok());
    }

    /// A gateway whose lists take a while.
    struct Long {
        takes: Duration,
        begun: AtomicU32,
        made: AtomicU32,
    }

    #[async_trait::async_trait]
    impl Gateway for Long {
        async fn matched(&self, _: Target, _: i32) -> Result<u64, NoAnswer> {
            Err(NoAnswer::Gone)
        }
        async fn rooms(&self) -> Result<Vec<(String, u32)>, NoAnswer> {
            self.begun.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.takes).await;
            Ok(vec![("live://1".into(), self.made.fetch_add(1, Ordering::SeqCst) + 1)])
        }
        async fn counts(&self, _: Vec<String>) -> Result<Vec<u32>, NoAnswer> {
            Err(NoAnswer::Gone)
        }
        async fn totals(&self) -> Result<Totals, NoAnswer> {
            Err(NoAnswer::Gone)
        }
    }

    impl Long {
        fn new(millis: u64) -> (Arc<Long>, EmbeddedRegistry) {
            let takes = Duration::from_millis(millis);
            let gateway = Arc::new(Long { takes, begun: AtomicU32::new(0), made: AtomicU32::new(0) });
            let registry = EmbeddedRegistry::new(gateway.clone());
            (gateway, registry)
        }
    }

    /// Those who come while a long list is under way are answered too, by the next.
    #[tokio::test(start_paused = true)]
    async fn long_lists_are_answered_however_many_ask() {
        let (gateway, registry) = Long::new(1_200);
        let ask = |at_ms| {
            let registry = &registry;
            async move {
                tokio::time::sleep(Duration::from_millis(at_ms)).await;
                registry.rooms().await.map(|rooms| rooms[0].1)
            }
        };
        let answers = tokio::join!(ask(0), ask(100), ask(200));
        assert_eq!(answers, (Ok(1), Ok(2), Ok(2)));
        assert_eq!(gateway.begun.load(Ordering::SeqCst), 2);
    }

    /// Who gives up does not take the list along: it is finished, and whoever waits behind it has his turn.
    #[tokio::test(start_paused = true)]
    async fn a_list_outlives_who_asked_for_it() {
        let (gateway, registry) = Long::new(20_000);
        let gave_up = tokio::time::timeout(Duration::from_secs(1), registry.rooms());
        let (gave_up, later) = tokio::join!(gave_up, async {
            tokio::time::sleep(Duration::from_secs(12)).await;
            registry.rooms().await
        });
        assert!(gave_up.is_err());
        assert_eq!(later.map(|rooms| rooms[0].1), Ok(2), "the second list that was made to its end");
        assert_eq!(gateway.begun.load(Ordering::SeqCst), 2);
    }
}
