//! The door into the feed thread. Owns the closed list of what others may ask of feed and the bounded channel it
//! travels on; frames and routes nothing itself. The gRPC services, the admin side and standalone's bus hold an
//! [`Intake`]; `feed::node` is the only receiver.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::conn::close::CloseReason;
use crate::feed::directory::DirectoryLimits;
use crate::mesh::msg::{ConnRef, RoomRef};

/// Requests that may wait for feed; beyond it callers wait in turn.
pub const INTAKE_REQUESTS_MAX: usize = 1024;

/// Whom a push is for, in the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every connection of these keys.
    Keys(Vec<String>),
    /// Every connection of these users.
    Mids(Vec<i64>),
    /// Every member of this room (full room key).
    Room(String),
    /// Everybody; `speed` deliveries a second over the whole gateway, 0 = at once.
    All {
        /// Deliveries a second, 0 = not paced.
        speed: u32,
    },
}

/// The body of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// One message: framed as op `op`, ver 1, seq 0.
    Message {
        /// Operation that clients see.
        op: i32,
        /// Their body.
        body: Bytes,
    },
    /// One or more complete frames, as stock jobs send them (goim §1.9).
    Raw(Bytes),
    /// A frame sent plainly on both transports, as goim does with a `Proto` of another op than 9.
    Plain {
        /// Header field.
        version: i32,
        /// Header field.
        op: i32,
        /// Header field.
        seq: i32,
        /// Body.
        body: Bytes,
    },
}

/// One push.
#[derive(Clone, Debug)]
pub struct Push {
    /// Whom it is for.
    pub target: Target,
    /// The op that accepts are asked for; not used for rooms.
    pub op: i32,
    /// What to send; `None` only counts (dry run).
    pub body: Option<Body>,
    /// Report the number of matched connections.
    pub count: bool,
}

/// The answer to an accepted push: it is in the gateway's memory, in order.
#[derive(Debug)]
pub struct Accepted {
    /// Comes when every shard has answered, if `count` was asked for.
    pub matched: Option<oneshot::Receiver<u64>>,
}

/// One login as the directory knows it.
#[derive(Clone, Debug)]
pub struct DirectoryEntry {
    /// Shard index.
    pub shard: u16,
    /// The connection in that shard.
    pub conn: ConnRef,
    /// Connection key.
    pub key: String,
    /// Member id.
    pub mid: i64,
    /// Peer address.
    pub peer: Option<SocketAddr>,
}

/// Which logins are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Select {
    /// By connection key.
    Key(String),
    /// By member id.
    Mid(i64),
}

/// Rooms with members: the full key of each and its count.
pub type RoomList = Arc<Vec<(String, u32)>>;

/// News about watched logins.
#[derive(Clone, Debug)]
pub enum WatchNews {
    /// A login that is meant is known now.
    Opened(DirectoryEntry),
    /// It is gone.
    Gone {
        /// Shard index.
        shard: u16,
        /// The connection.
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

/// Totals of the gateway.
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
        pushes: Vec<Push>,
        /// One answer per push.
        reply: oneshot::Sender<Vec<Accepted>>,
    },
    /// Rooms with members and their counts.
    Rooms {
        /// The answer, shared by all who asked at about the same time.
        reply: oneshot::Sender<RoomList>,
    },
    /// Totals.
    Totals {
        /// The answer.
        reply: oneshot::Sender<Totals>,
    },
    /// Logins by key or mid.
    Find {
        /// Which.
        select: Select,
        /// The answer.
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
        /// Which; it need not be connected yet.
        select: Select,
        /// Where news goes, beginning with the logins of now.
        news: WatchSink,
    },
    /// Close logins; answered with their number.
    Close {
        /// Which.
        select: Select,
        /// Why.
        reason: CloseReason,
        /// How many.
        reply: oneshot::Sender<u64>,
    },
    /// Hold logins to come to other limits.
    SetLimits {
        /// The limits from now on.
        limits: DirectoryLimits,
    },
}

/// The sending half of the door, cheap to clone.
#[derive(Clone, Debug)]
pub struct Intake {
    requests: mpsc::Sender<Request>,
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

impl Intake {
    /// A new door and the end that `feed::node` reads.
    pub fn new() -> (Intake, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(INTAKE_REQUESTS_MAX);
        (Intake { requests }, receiver)
    }

    /// Ask and wait for the answer. Waits while [`INTAKE_REQUESTS_MAX`] others wait.
    pub async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, FeedGone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(make(reply)).await.map_err(|_| FeedGone)?;
        answer.await.map_err(|_| FeedGone)
    }

    /// Deliver pushes in order; returns when they are in the gateway's memory.
    pub async fn deliver(&self, pushes: Vec<Push>) -> Result<Vec<Accepted>, FeedGone> {
        self.ask(|reply| Request::Deliver { pushes, reply }).await
    }

    /// Watch logins; see [`Request::Watch`].
    pub async fn watch(&self, select: Select, news: WatchSink) -> Result<(), FeedGone> {
        self.requests.send(Request::Watch { select, news }).await.map_err(|_| FeedGone)
    }

    /// Change the limits on logins; see [`Request::SetLimits`].
    pub async fn set_limits(&self, limits: DirectoryLimits) -> Result<(), FeedGone> {
        self.requests.send(Request::SetLimits { limits }).await.map_err(|_| FeedGone)
    }
}
