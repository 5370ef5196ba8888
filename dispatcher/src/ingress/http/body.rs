//! Reading request bodies. Owns the bound on one body, on all of them together, and on the time they may take; knows nothing
//! of what is in them. A body takes room as it arrives, not as it is announced: who stalls holds no more than what came. One
//! that finds no room waits for it, for a bounded time too.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::stats::Stats;

/// How long a body may wait for room, all its waits together: at most, and at least. Each draws its own time, for bodies that
/// have begun wait for each other: those that give up first make room for the rest.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
const ROOM_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// How long a body may take to arrive, its waits for room not counted.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// What one permit of the shared bound stands for.
const PERMIT_BYTES: usize = 1024;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Longer than allowed.
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// It did not arrive, whole, in time.
    Broken,
    /// Other bodies took all the room for that long.
    Busy,
}

/// A whole body, which counts against the shared bound until this is dropped.
pub(super) struct Read {
    /// The bytes.
    pub(super) bytes: Bytes,
    _room: Room,
}

/// The shared bound.
#[derive(Debug)]
pub(super) struct Bodies {
    room: Arc<Semaphore>,
    permits: u32,
    stats: Arc<Stats>,
}

/// A body's part of the shared bound, counted as long as it is held.
struct Room {
    permit: Option<OwnedSemaphorePermit>,
    stats: Arc<Stats>,
}

impl Room {
    fn permits(&self) -> u32 {
        self.permit.as_ref().map_or(0, |permit| u32::try_from(permit.num_permits()).unwrap_or(u32::MAX))
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        self.stats.bodies_grew(more.num_permits() * PERMIT_BYTES);
        match self.permit.as_mut() {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.stats.bodies_shrank(self.permits() as usize * PERMIT_BYTES);
    }
}

impl Bodies {
    /// Bodies of `bytes_max` together.
    pub(super) fn new(bytes_max: usize, stats: Arc<Stats>) -> Bodies {
        let permits = permits_of(bytes_max);
        Bodies { room: Arc::new(Semaphore::new(permits as usize)), permits, stats }
    }

    /// Read a body of at most `bytes_max`.
    pub(super) async fn read(&self, headers: &HeaderMap, mut body: Body, bytes_max: usize) -> Result<Read, BodyError> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > bytes_max) {
            return Err(BodyError::TooLarge { bytes_max });
        }
        let mut room = Room { permit: None, stats: Arc::clone(&self.stats) };
        let mut bytes = BytesMut::new();
        let mut read_left = READ_TIMEOUT;
        let mut room_left = None;
        loop {
            let began = Instant::now();
            let Ok(frame) = tokio::time::timeout(read_left, body.frame()).await else { return Err(BodyError::Broken) };
            read_left = read_left.saturating_sub(began.elapsed());
            let Some(frame) = frame else { break };
            // Trailers are no part of it.
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            if data.len() > bytes_max - bytes.len() {
                return Err(BodyError::TooLarge { bytes_max });
            }
            // One body alone must always find room, or it would wait for ever.
            let wanted = permits_of(bytes.len() + data.len()).min(self.permits);
            let missing = wanted - room.permits();
            if missing > 0 {
                let began = Instant::now();
                let left = *room_left.get_or_insert_with(|| {
                    rand::rngs::SmallRng::from_os_rng().random_range(ROOM_TIMEOUT_MIN..=ROOM_TIMEOUT)
                });
                let more = tokio::time::timeout(left, self.room.clone().acquire_many_owned(missing)).await;
                let Ok(Ok(more)) = more else {
                    self.stats.body_refused();
                    return Err(BodyError::Busy);
                };
                room_left = Some(left.saturating_sub(began.elapsed()));
                room.add(more);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Read { bytes: bytes.freeze(), _room: room })
    }
}

fn permits_of(bytes: usize) -> u32 {
    u32::try_from(bytes / PERMIT_BYTES + 1).unwrap_or(u32::MAX >> 4).min(u32::MAX >> 4)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    fn bodies(bytes_max: usize) -> Bodies {
        Bodies::new(bytes_max, Arc::default())
    }

    fn length(bytes: usize) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, bytes.into())])
    }

    #[tokio::test]
    async fn a_body_at_the_bound_is_read_and_one_byte_more_is_not() {
        let bodies = bodies(1024);
        let read = bodies.read(&HeaderMap::new(), Body::from("12345"), 5).await;
        assert_eq!(read.ok().map(|read| read.bytes), Some(Bytes::from("12345")));
        let unannounced = bodies.read(&HeaderMap::new(), Body::from("123456"), 5).await;
        assert_eq!(unannounced.err(), Some(BodyError::TooLarge { bytes_max: 5 }));
        let announced = bodies.read(&length(6), Body::empty(), 5).await;
        assert_eq!(announced.err(), Some(BodyError::TooLarge { bytes_max: 5 }));
    }

    /// With room for two, the third body waits until one of them is done with.
    #[tokio::test(start_paused = true)]
    async fn bodies_together_are_bounded() {
        let bodies = bodies(2 * 64 * 1024 + 1024);
        let headers = HeaderMap::new();
        let read = || bodies.read(&headers, Body::from(vec![1; 64 * 1024]), 64 * 1024);
        let first = read().await.ok().unwrap();
        let _second = read().await.ok().unwrap();
        assert_eq!(read().await.err(), Some(BodyError::Busy));
        drop(first);
        assert!(read().await.is_ok());
    }

    /// Who stalls is told so, whether he had to wait for room before or not, and takes no room from others meanwhile.
    #[tokio::test(start_paused = true)]
    async fn a_sender_that_stalls_is_told_so_and_is_in_nobodys_way() {
        let bodies = bodies(64 * 1024 - 1);
        let stalled = || {
            let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("x"))]);
            Body::from_stream(first.chain(futures_util::stream::pending()))
        };
        let headers = length(64 * 1024);
        let crowd = futures_util::future::join_all((0..10).map(|_| bodies.read(&headers, stalled(), 64 * 1024)));
        let other = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            bodies.read(&HeaderMap::new(), Body::from(vec![1; 32 * 1024]), 64 * 1024).await
        };
        let (crowd, other) = tokio::join!(crowd, other);
        assert!(other.is_ok());
        assert!(crowd.into_iter().all(|read| read.err() == Some(BodyError::Broken)));
    }

    /// Twice as many senders as there is room for, all of whom have half of it: some give up, and the others get through.
    #[tokio::test(start_paused = true)]
    async fn bodies_that_wait_for_each_other_do_not_all_give_up() {
        const SENDERS: usize = 64;
        let bodies = bodies(SENDERS / 2 * 16 * 1024);
        let halves = || {
            let pieces =
                futures_util::stream::iter([0, 1].map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![1; 8 * 1024]))));
            Body::from_stream(pieces.then(async |piece| {
                tokio::time::sleep(Duration::from_millis(10)).await;
                piece
            }))
        };
        let headers = HeaderMap::new();
        let senders = (0..SENDERS).map(|_| async {
            // Given back at once, as when a push has been taken in.
            bodies.read(&headers, halves(), 64 * 1024).await.map(drop)
        });
        let read = futures_util::future::join_all(senders).await;
        let through = read.iter().filter(|read| read.is_ok()).count();
        assert!(through > SENDERS / 2, "{through} of {SENDERS} got through");
    }

    /// What is held is shown, and nothing when nothing is held any more; who found no room is counted.
    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_counted() {
        let bodies = bodies(3 * 1024 - 1);
        let headers = HeaderMap::new();
        let first = bodies.read(&headers, Body::from(vec![1; 2 * 1024]), 4096).await.ok().unwrap();
        assert_eq!(bodies.stats.bodies_bytes(), 3 * 1024);
        assert_eq!(bodies.read(&headers, Body::from("x"), 4096).await.err(), Some(BodyError::Busy));
        drop(first);
        assert_eq!((bodies.stats.bodies_bytes(), bodies.stats.bodies_refused()), (0, 1));
        assert!(bodies.read(&headers, Body::from(vec![1; 1 << 20]), 1 << 20).await.is_ok(), "one alone always fits");
    }
}
