//! Step 6 of a push on its way out: the door into the feed thread. Owns the closed list of what others may ask of feed
//! and the bounded channel it travels on; frames and routes nothing itself. The Comet service, the admin side and the
//! dispatcher's gateway hold an [`Intake`]; `feed::node` is the only receiver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use halley_protocol::push::Delivery;
use tokio::sync::{mpsc, oneshot};

use crate::close::CloseReason;
use crate::limits::{ANSWER_MS_MAX, LIST_MS_MAX};
use crate::mesh::msg::{ConnRef, RoomRef, Shed};

pub use super::directory::{DirectoryEntry, DirectoryLimits, Select};

/// Requests that may wait for feed; beyond it callers wait in turn.
pub const INTAKE_REQUESTS_MAX: usize = 1024;

/// How many connections an accepted delivery matched: comes when every shard has answered. `None` where nobody asked.
pub type Matched = Option<oneshot::Receiver<u64>>;

/// Rooms with members: the full key of each and its count.
pub type RoomList = Arc<Vec<(String, u32)>>;

/// One piece of news about watched logins, in the order in which feed learns of them.
#[derive(Clone, Debug)]
pub enum WatchNews {
    /// A login that is meant was there before the watch began.
    There(DirectoryEntry),
    /// A login that is meant is known now.
    Opened(DirectoryEntry),
    /// It is gone.
    Gone {
        /// Index of the shard that held it.
        shard: u16,
        /// The connection, which may be closing still.
        conn: ConnRef,
    },
}

/// The giving end of a watch: never waited for; what does not fit is counted.
#[derive(Clone, Debug)]
pub struct WatchSink {
    news: mpsc::Sender<WatchNews>,
    lost: Arc<AtomicU64>,
}

/// The taking end of a watch.
#[derive(Debug)]
pub struct WatchSource {
    /// News in its order; ends when feed does, or at once if there are too many watches.
    pub news: mpsc::Receiver<WatchNews>,
    lost: Arc<AtomicU64>,
}

impl WatchSink {
    /// Both ends of a watch, with room for so much news.
    pub fn new(room: usize) -> (WatchSink, WatchSource) {
        let (sender, news) = mpsc::channel(room);
        let lost = Arc::new(AtomicU64::new(0));
        (WatchSink { news: sender, lost: Arc::clone(&lost) }, WatchSource { news, lost })
    }

    /// Give one piece of news, or count it as lost; returns whether it was given.
    pub fn give(&self, news: WatchNews) -> bool {
        let full = matches!(self.news.try_send(news), Err(mpsc::error::TrySendError::Full(_)));
        self.lost.fetch_add(u64::from(full), Ordering::Relaxed);
        !full
    }

    /// Whether nobody watches any more.
    pub fn is_closed(&self) -> bool {
        self.news.is_closed()
    }

    /// Resolves when nobody watches any more.
    pub async fn closed(&self) {
        self.news.closed().await;
    }
}

impl WatchSource {
    /// News lost since the last call because the watcher was slow.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// Totals of the gateway, over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Authenticated connections.
    pub connections: u64,
    /// Distinct source addresses among them.
    pub addresses: u64,
    /// Rooms with at least one member.
    pub rooms: u64,
}

/// What others may ask of feed.
#[derive(Debug)]
pub enum Request {
    /// Deliver pushes in order; answered when all of them are in the shards' rings.
    Deliver {
        /// In the order of delivery.
        deliveries: Vec<Delivery>,
        /// One answer per delivery.
        reply: oneshot::Sender<Vec<Matched>>,
    },
    /// Rooms with members and their counts.
    Rooms {
        /// The answer, shared by all who asked at about the same time.
        reply: oneshot::Sender<RoomList>,
    },
    /// How many members rooms have.
    RoomCounts {
        /// Full room keys.
        rooms: Vec<String>,
        /// The answer, in their order.
        reply: oneshot::Sender<Vec<u32>>,
    },
    /// Connections, addresses and rooms.
    Totals {
        /// The numbers of now.
        reply: oneshot::Sender<Totals>,
    },
    /// Logins by key or mid.
    Find {
        /// Whose.
        select: Select,
        /// Oldest first; empty when nobody is logged in so.
        reply: oneshot::Sender<Vec<DirectoryEntry>>,
    },
    /// Logins by connection (to name the members of a room).
    Name {
        /// Shard and connection.
        conns: Vec<(u16, ConnRef)>,
        /// Those that are known.
        reply: oneshot::Sender<Vec<DirectoryEntry>>,
    },
    /// The shards that have members of a room.
    FindRoom {
        /// Full room key.
        room: String,
        /// Shard, the room there, its members there.
        reply: oneshot::Sender<Vec<(u16, RoomRef, u32)>>,
    },
    /// Watch the logins of a user, or of a key, until the receiver is dropped. News that does not fit is dropped.
    Watch {
        /// Whose; nobody need be connected yet.
        select: Select,
        /// Where news goes, beginning with the logins of now.
        news: WatchSink,
    },
    /// Close logins; answered with their number.
    Close {
        /// Whose.
        select: Select,
        /// Why, which the client is told.
        reason: CloseReason,
        /// How many were told to close.
        reply: oneshot::Sender<u64>,
    },
    /// Have the shards end connections bit by bit: in each shard those that are logged in between the pushes asked for
    /// before and those asked for later. Answered with no matches when the shards' rings hold the order.
    Shed {
        /// The order, for every shard.
        order: Shed,
        /// Says when.
        reply: oneshot::Sender<Vec<Matched>>,
    },
    /// Hold logins to come to other limits.
    SetLimits {
        /// The limits from now on.
        limits: DirectoryLimits,
    },
}

impl Request {
    /// How long whoever asks waits for the answer at most, in milliseconds.
    fn answer_ms_max(&self) -> u64 {
        match self {
            Request::Rooms { .. } => LIST_MS_MAX,
            _ => ANSWER_MS_MAX,
        }
    }
}

/// The sending half of the door, cheap to clone.
#[derive(Clone, Debug)]
pub struct Intake {
    requests: mpsc::Sender<Request>,
}

/// Room for one request, given back when dropped unused.
#[derive(Debug)]
pub struct Reserved(mpsc::OwnedPermit<Request>);

impl Reserved {
    /// Deliver pushes in order. The answer comes when they are in the gateway's memory, and fails when feed is gone.
    pub fn deliver(self, deliveries: Vec<Delivery>) -> oneshot::Receiver<Vec<Matched>> {
        let (reply, accepted) = oneshot::channel();
        self.0.send(Request::Deliver { deliveries, reply });
        accepted
    }

    /// Shed; see [`Request::Shed`].
    pub fn shed(self, order: Shed) -> oneshot::Receiver<Vec<Matched>> {
        let (reply, accepted) = oneshot::channel();
        self.0.send(Request::Shed { order, reply });
        accepted
    }
}

/// The feed thread is gone (the gateway is stopping).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedGone;

impl std::fmt::Display for FeedGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the gateway is stopping")
    }
}

impl std::error::Error for FeedGone {}

/// Why a question has no answer. The gateway's fault, never the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The feed thread is gone (the gateway is stopping).
    Stopping,
    /// Feed did not answer within [`ANSWER_MS_MAX`]: it keeps a push for a shard whose ring stays full, and reads no
    /// further request meanwhile. Or a list of rooms took longer than [`LIST_MS_MAX`]. What was asked for may still
    /// take effect.
    TimedOut,
}

impl From<FeedGone> for NoAnswer {
    fn from(_: FeedGone) -> NoAnswer {
        NoAnswer::Stopping
    }
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoAnswer::Stopping => FeedGone.fmt(f),
            NoAnswer::TimedOut => {
                f.write_str("the gateway does not answer in time, /healthz says whether a part of it is stuck")
            }
        }
    }
}

impl std::error::Error for NoAnswer {}

impl Intake {
    /// A new door and the end that `feed::node` reads.
    pub fn new() -> (Intake, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(INTAKE_REQUESTS_MAX);
        (Intake { requests }, receiver)
    }

    /// Ask and wait for the answer, [`ANSWER_MS_MAX`] at most, or [`LIST_MS_MAX`] for the list of rooms; the wait
    /// behind [`INTAKE_REQUESTS_MAX`] others is part of it.
    pub async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        let request = make(reply);
        in_time(request.answer_ms_max(), self.wait(request, answer)).await
    }

    /// Deliver pushes in order; returns when they are in the gateway's memory. Waits as long as a shard's ring is full:
    /// that is how the bus, and calls over gRPC with their own deadlines, are held back.
    pub async fn deliver(&self, deliveries: Vec<Delivery>) -> Result<Vec<Matched>, FeedGone> {
        let (reply, accepted) = oneshot::channel();
        self.wait(Request::Deliver { deliveries, reply }, accepted).await
    }

    /// Wait for room for one request; dropping the future takes none. What is asked by it comes behind everything that
    /// was asked before.
    pub async fn reserve(&self) -> Result<Reserved, FeedGone> {
        self.requests.clone().reserve_owned().await.map(Reserved).map_err(|_| FeedGone)
    }

    /// Watch logins; see [`Request::Watch`].
    pub async fn watch(&self, select: Select, news: WatchSink) -> Result<(), NoAnswer> {
        in_time(ANSWER_MS_MAX, self.send(Request::Watch { select, news })).await
    }

    /// Change the limits on logins; see [`Request::SetLimits`].
    pub async fn set_limits(&self, limits: DirectoryLimits) -> Result<(), NoAnswer> {
        in_time(ANSWER_MS_MAX, self.send(Request::SetLimits { limits })).await
    }

    async fn wait<T>(&self, request: Request, answer: oneshot::Receiver<T>) -> Result<T, FeedGone> {
        self.send(request).await?;
        answer.await.map_err(|_| FeedGone)
    }

    async fn send(&self, request: Request) -> Result<(), FeedGone> {
        self.requests.send(request).await.map_err(|_| FeedGone)
    }
}

async fn in_time<T>(ms_max: u64, answer: impl Future<Output = Result<T, FeedGone>>) -> Result<T, NoAnswer> {
    match tokio::time::timeout(Duration::from_millis(ms_max), answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(NoAnswer::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::msg::ShedWho;

    /// While feed reads nothing, a question ends in bounded time, whether it is still before the door or behind it; a
    /// push waits.
    #[tokio::test(start_paused = true)]
    async fn questions_do_not_wait_for_ever_and_pushes_do() {
        let (intake, requests) = Intake::new();
        let ask = || intake.ask(|reply| Request::Totals { reply });
        let asked: Vec<_> = (0..INTAKE_REQUESTS_MAX + 1).map(|_| ask()).collect();
        let answers = futures_util::future::join_all(asked).await;
        assert!(answers.iter().all(|answer| *answer == Err(NoAnswer::TimedOut)));
        let (news, _source) = WatchSink::new(1);
        assert_eq!(intake.watch(Select::Mid(1), news).await, Err(NoAnswer::TimedOut), "the door is full");
        let pushing = tokio::time::timeout(Duration::from_secs(3600), intake.deliver(Vec::new())).await;
        assert!(pushing.is_err(), "it was given up");
        drop(requests);
        assert_eq!(ask().await, Err(NoAnswer::Stopping));
    }

    /// A list of rooms, which takes many turns, may take longer than an answer of one turn, but not for ever either.
    #[tokio::test(start_paused = true)]
    async fn a_list_of_rooms_has_more_time() {
        let (intake, mut requests) = Intake::new();
        let late = async {
            let Some(Request::Rooms { reply }) = requests.recv().await else { panic!("asked for rooms") };
            tokio::time::sleep(Duration::from_millis(2 * ANSWER_MS_MAX)).await;
            reply.send(Arc::default()).expect("still waited for");
        };
        let (rooms, ()) = tokio::join!(intake.ask(|reply| Request::Rooms { reply }), late);
        assert!(rooms.is_ok(), "{rooms:?}");
        let began = tokio::time::Instant::now();
        assert_eq!(intake.ask(|reply| Request::Rooms { reply }).await, Err(NoAnswer::TimedOut));
        assert_eq!(began.elapsed(), Duration::from_millis(LIST_MS_MAX), "by the runtime's own clock");
    }

    /// A place is taken before what goes there is known: what comes by it is behind what was asked before, and one that
    /// is not used makes room again.
    #[tokio::test(start_paused = true)]
    async fn a_reserved_place_is_in_its_order_or_given_back() {
        let (intake, mut requests) = Intake::new();
        let mut places = Vec::new();
        for _ in 0..INTAKE_REQUESTS_MAX {
            places.push(intake.reserve().await.expect("feed is there"));
        }
        let one_more = tokio::time::timeout(Duration::from_secs(3600), intake.reserve()).await;
        assert!(one_more.is_err(), "every place is taken");
        let order = Shed { who: ShedWho::Everybody, over_ms: 0, reason: CloseReason::FeedGap };
        let mut pushed = places.pop().expect("a place").deliver(Vec::new());
        let _shed = places.pop().expect("a place").shed(order);
        places.clear();
        assert!(intake.reserve().await.is_ok());
        assert!(matches!(requests.recv().await, Some(Request::Deliver { .. })), "and its answer is dropped");
        assert!(matches!(requests.recv().await, Some(Request::Shed { .. })));
        assert!(matches!(pushed.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        drop(requests);
        assert!(intake.reserve().await.is_err());
    }
}
