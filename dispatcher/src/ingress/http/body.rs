//! Reading request bodies. Owns the bound on one body, on all of them together, and on the time they may take; knows nothing
//! of what is in them. A request that finds no room waits for it, for a bounded time too.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request may wait for room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a body may take to arrive once it has room.
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
    _room: OwnedSemaphorePermit,
}

/// The shared bound.
#[derive(Debug)]
pub(super) struct Bodies {
    room: Arc<Semaphore>,
    permits: u32,
}

impl Bodies {
    /// Bodies of `bytes_max` together.
    pub(super) fn new(bytes_max: usize) -> Bodies {
        let permits = permits_of(bytes_max);
        Bodies { room: Arc::new(Semaphore::new(permits as usize)), permits }
    }

    /// Read a body of at most `bytes_max`.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Read, BodyError> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > bytes_max) {
            return Err(BodyError::TooLarge { bytes_max });
        }
        // One body alone must always find room, or it would wait for ever.
        let permits = permits_of(announced.unwrap_or(bytes_max)).min(self.permits);
        let room = tokio::time::timeout(ROOM_TIMEOUT, self.room.clone().acquire_many_owned(permits));
        let Ok(Ok(room)) = room.await else { return Err(BodyError::Busy) };
        let collected = tokio::time::timeout(READ_TIMEOUT, Limited::new(body, bytes_max).collect());
        match collected.await {
            Ok(Ok(collected)) => Ok(Read { bytes: collected.to_bytes(), _room: room }),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge { bytes_max }),
            Ok(Err(_)) | Err(_) => Err(BodyError::Broken),
        }
    }
}

fn permits_of(bytes: usize) -> u32 {
    u32::try_from(bytes / PERMIT_BYTES + 1).unwrap_or(u32::MAX >> 4).min(u32::MAX >> 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(bytes: usize) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, bytes.into())])
    }

    #[tokio::test]
    async fn a_body_at_the_bound_is_read_and_one_byte_more_is_not() {
        let bodies = Bodies::new(1024);
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
        let bodies = Bodies::new(2 * 64 * 1024 + 1024);
        let headers = HeaderMap::new();
        let read = || bodies.read(&headers, Body::from("x"), 64 * 1024);
        let first = read().await.ok().unwrap();
        let _second = read().await.ok().unwrap();
        assert_eq!(read().await.err(), Some(BodyError::Busy));
        drop(first);
        assert!(read().await.is_ok());
    }

    /// Who stalls is told so, whether he had to wait for room before or not.
    #[tokio::test(start_paused = true)]
    async fn a_sender_that_stalls_is_not_told_that_others_are_in_the_way() {
        let bodies = Bodies::new(1);
        let headers = HeaderMap::new();
        let stalled = || Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(bodies.read(&headers, stalled(), 5).await.err(), Some(BodyError::Broken));
        let first = bodies.read(&headers, Body::from("x"), 5).await.ok().unwrap();
        let second = bodies.read(&headers, stalled(), 5);
        let leave = async {
            tokio::time::sleep(ROOM_TIMEOUT / 2).await;
            drop(first);
        };
        assert_eq!(tokio::join!(second, leave).0.err(), Some(BodyError::Broken));
    }
}
