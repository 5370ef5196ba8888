//! Reading request bodies. Owns the bound on one body, and on the time it may take. Knows nothing of what is in it. A
//! body takes from the budget as it arrives, not as it is announced: who stalls holds no more than what came. One that
//! finds no room waits for it, for a bounded time.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;

use super::budget::{Held, Share};

/// How long a body may wait for room, all its waits together: at most, and at least. Each draws its own time, for
/// bodies that have begun wait for each other: those that give up first make room for the rest.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
const ROOM_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// How long a body may take to arrive, its waits for room not counted.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
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

/// A whole body, which counts against the budget until `held` is dropped.
#[derive(Debug)]
pub struct WholeBody {
    /// The bytes.
    pub bytes: Bytes,
    /// What they hold of the budget.
    pub held: Held,
}

/// Read a body of at most `bytes_max`.
pub async fn read<B>(headers: &HeaderMap, body: B, bytes_max: usize, share: &Share) -> Result<WholeBody, BodyError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(BodyError::TooLarge { bytes_max });
    }
    let mut reader = BodyReader::new(body, share);
    while reader.more(bytes_max).await? {}
    Ok(reader.finish())
}

/// Pieces after which others on the thread have their turn, however small they are.
const PIECES_AT_ONCE: u32 = 16;

/// A body that is being read, for who must look at its beginning before its end has come.
pub struct BodyReader<B> {
    body: B,
    bytes: Vec<u8>,
    held: Held,
    pieces: u32,
    read_left: Duration,
    room_left: Option<Duration>,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> BodyReader<B> {
    /// Nothing read yet.
    pub fn new(body: B, share: &Share) -> BodyReader<B> {
        let held = share.hold_nothing();
        BodyReader { body, bytes: Vec::new(), held, pieces: 0, read_left: READ_TIMEOUT, room_left: None }
    }

    /// What came so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Read the next piece; false at the end. The whole must not become longer than `bytes_max`.
    pub async fn more(&mut self, bytes_max: usize) -> Result<bool, BodyError> {
        loop {
            let began = Instant::now();
            let Ok(frame) = tokio::time::timeout(self.read_left, self.body.frame()).await else {
                return Err(BodyError::Broken);
            };
            self.read_left = self.read_left.saturating_sub(began.elapsed());
            let Some(frame) = frame else { return Ok(false) };
            // Trailers are no part of it.
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            if data.len() > bytes_max.saturating_sub(self.bytes.len()) {
                return Err(BodyError::TooLarge { bytes_max });
            }
            self.make_room(self.bytes.len() + data.len(), bytes_max).await?;
            self.bytes.extend_from_slice(&data);
            self.pieces = self.pieces.wrapping_add(1);
            if self.pieces.is_multiple_of(PIECES_AT_ONCE) {
                tokio::task::yield_now().await;
            }
            return Ok(true);
        }
    }

    /// Room for so many bytes, with some to spare if there is, so that few moves of what came are needed. What is held
    /// is what the buffer takes.
    async fn make_room(&mut self, bytes: usize, bytes_max: usize) -> Result<(), BodyError> {
        if bytes <= self.bytes.capacity() {
            return Ok(());
        }
        let ample = (2 * self.bytes.capacity()).clamp(bytes, bytes_max.max(bytes));
        let room = if self.held.grow_now(ample) {
            ample
        } else {
            self.wait_for_room(bytes).await?;
            bytes
        };
        self.bytes.reserve_exact(room - self.bytes.len());
        Ok(())
    }

    async fn wait_for_room(&mut self, bytes: usize) -> Result<(), BodyError> {
        if self.held.grow_now(bytes) {
            return Ok(());
        }
        let began = Instant::now();
        let left = *self
            .room_left
            .get_or_insert_with(|| rand::rngs::SmallRng::from_os_rng().random_range(ROOM_TIMEOUT_MIN..=ROOM_TIMEOUT));
        let found = self.held.grow_to(bytes, left).await;
        self.room_left = Some(left.saturating_sub(began.elapsed()));
        if found { Ok(()) } else { Err(BodyError::Busy) }
    }

    /// The body, after [`BodyReader::more`] said that it has ended.
    pub fn finish(self) -> WholeBody {
        WholeBody { bytes: self.bytes.into(), held: self.held }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::StreamExt as _;

    use super::*;
    use crate::address::AddressBlock;
    use crate::serve::budget::Budget;

    /// A share of so many bytes for one address.
    fn share(bytes: usize) -> Share {
        Budget::new(2 * bytes).share(AddressBlock::Local)
    }

    fn length(bytes: usize) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, bytes.into())])
    }

    #[tokio::test]
    async fn a_body_at_the_bound_is_read_and_one_byte_more_is_not() {
        let share = share(1024);
        let body = read(&HeaderMap::new(), Body::from("12345"), 5, &share).await;
        assert_eq!(body.map(|body| body.bytes).ok(), Some(Bytes::from("12345")));
        let unannounced = read(&HeaderMap::new(), Body::from("123456"), 5, &share).await;
        assert_eq!(unannounced.err(), Some(BodyError::TooLarge { bytes_max: 5 }));
        let announced = read(&length(6), Body::empty(), 5, &share).await;
        assert_eq!(announced.err(), Some(BodyError::TooLarge { bytes_max: 5 }));
    }

    /// With room for two, the third body waits until one of them is done with.
    #[tokio::test(start_paused = true)]
    async fn bodies_together_are_bounded() {
        let share = share(2 * 64 * 1024);
        let headers = HeaderMap::new();
        let read = || read(&headers, Body::from(vec![1; 64 * 1024]), 64 * 1024, &share);
        let first = read().await.expect("room");
        let _second = read().await.expect("room");
        assert_eq!(read().await.err(), Some(BodyError::Busy));
        drop(first);
        assert!(read().await.is_ok());
    }

    /// Who stalls is told so, whether he had to wait for room before or not, and takes no room from others meanwhile.
    #[tokio::test(start_paused = true)]
    async fn a_sender_that_stalls_is_told_so_and_is_in_nobodys_way() {
        let share = share(64 * 1024);
        let stalled = || {
            let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("x"))]);
            Body::from_stream(first.chain(futures_util::stream::pending()))
        };
        let headers = length(64 * 1024);
        let crowd = futures_util::future::join_all((0..10).map(|_| read(&headers, stalled(), 64 * 1024, &share)));
        let other = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            read(&HeaderMap::new(), Body::from(vec![1; 32 * 1024]), 64 * 1024, &share).await
        };
        let (crowd, other) = tokio::join!(crowd, other);
        assert!(other.is_ok());
        assert!(crowd.into_iter().all(|body| body.err() == Some(BodyError::Broken)));
    }

    /// Twice as many senders as there is room for, all of whom have half of it: some give up, and the others get
    /// through.
    #[tokio::test(start_paused = true)]
    async fn bodies_that_wait_for_each_other_do_not_all_give_up() {
        const SENDERS: usize = 64;
        let share = share(SENDERS / 2 * 16 * 1024);
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
            // Given back at once, as when a request has been taken in.
            read(&headers, halves(), 64 * 1024, &share).await.map(drop)
        });
        let came = futures_util::future::join_all(senders).await;
        let through = came.iter().filter(|body| body.is_ok()).count();
        assert!(through > SENDERS / 2, "{through} of {SENDERS} got through");
    }
}
