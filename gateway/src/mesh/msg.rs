//! The closed vocabulary between threads. Owns the message enums and the identities they carry; holds no queue and no
//! socket. Messages travel over `mesh::ring`: feed and control write, `shard::inbox` reads; `shard::news` writes,
//! `feed::node` and `control::node` read. Shards never talk to each other.

use std::net::SocketAddr;
use std::sync::Arc;

use halley_protocol::login::{AuthRefusal, Identity};
use halley_protocol::payload::Payload;

use crate::close::CloseReason;
use crate::limits::ShardSettings;

/// A framed push as shards share it: framed once by feed, one reference count step per shard.
pub type SharedPayload = Arc<Payload>;

/// One connection of one shard. The shard itself is named by the ring the message travels on.
///
/// `generation` changes every time the slot is reused, so a late message never reaches the next owner of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnRef {
    /// Index in the shard's slab, equal to the index in the ring's direct descriptor table.
    pub slot: u32,
    /// Number of times the slot was taken, wrapping.
    pub generation: u32,
}

/// One room of one shard, named as [`ConnRef`] names a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoomRef {
    /// Index in the shard's room table.
    pub slot: u32,
    /// Number of times the slot was taken, wrapping.
    pub generation: u32,
}

/// Names one wish to know how many connections a push matched; 0 means nobody asks.
pub type ReceiptId = u64;

/// Whom a push is for, within one shard.
#[derive(Clone, Debug)]
pub enum ShardTarget {
    /// One connection; its accepts decide.
    Conn(ConnRef),
    /// Several connections; the accepts of each decide.
    Conns(Box<[ConnRef]>),
    /// Every member of a room; accepts are not asked (goim §2.3).
    Room(RoomRef),
    /// Every authenticated connection whose accepts hold the op. `per_second` is this shard's share of `speed`,
    /// 0 = at once.
    All {
        /// Deliveries a second in this shard, 0 = not paced.
        per_second: u32,
    },
}

/// One push as a shard receives it.
#[derive(Clone, Debug)]
pub struct ShardPush {
    /// Whom it is for.
    pub target: ShardTarget,
    /// The op that accepts are asked for (`protoOp`); not used for rooms.
    pub op: i32,
    /// The framed bytes; `None` asks only for the count (dry run).
    pub payload: Option<SharedPayload>,
    /// Answered by [`ShardToFeed::Receipt`] when not 0.
    pub receipt: ReceiptId,
    /// When its record was written, in milliseconds since the Unix epoch, wrapping; 0 where nobody said.
    pub written_ms: u32,
}

/// What a push takes in a ring.
const _: () = assert!(size_of::<ShardPush>() == 48);

/// Whom an order to shed means, of those who are logged in when the shard takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShedWho {
    /// All of them.
    Everybody,
    /// So many of them in each shard, chosen at random; all where there are fewer.
    AtMost(u32),
}

/// An order to end connections bit by bit. Who logs in after the shard has taken it is not meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// Whom it means.
    pub who: ShedWho,
    /// How long to take, evenly, in milliseconds; 0 = at once.
    pub over_ms: u64,
    /// What they are told.
    pub reason: CloseReason,
}

/// What feed tells a shard. Order in the ring is the order of effect: a push written after `Registered` follows the
/// auth reply on the wire.
#[derive(Clone, Debug)]
pub enum FeedToShard {
    /// The directory knows the connection: the auth reply may go out.
    Registered {
        /// The connection that asked.
        conn: ConnRef,
    },
    /// The directory will not have it, or has made room for a newer login: close it.
    Close {
        /// The connection to end.
        conn: ConnRef,
        /// Why: `KeyReplaced`, `KeyLimit` or `UserLimit`.
        reason: CloseReason,
    },
    /// The directory knows that this shard has the room; `others` counts its members on the other shards.
    /// Sent once for every announced room and again whenever `others` changed.
    Room {
        /// The room, in this shard.
        room: RoomRef,
        /// Members elsewhere.
        others: u32,
    },
    /// A push.
    Push(ShardPush),
    /// End connections bit by bit: those that are logged in between the push before it and the push behind it.
    Shed(Shed),
}

/// What a shard tells feed. Each is one coalesced state of one slot, so the shard may retry it any number of turns.
#[derive(Debug)]
pub enum ShardToFeed {
    /// A login that authentication allowed; answered by `Registered` or `Close`.
    Register {
        /// The connection.
        conn: ConnRef,
        /// What the directory stores.
        login: Box<Login>,
    },
    /// The connection is no longer in the shard; sent only after its `Register`.
    Gone {
        /// The connection.
        conn: ConnRef,
    },
    /// The state of a room: its name the first time, its local member count whenever it changed. `online` 0 with
    /// `closed` ends the room's slot.
    Room {
        /// The room, in this shard.
        room: RoomRef,
        /// Full room key, only when the room is announced.
        name: Option<Box<str>>,
        /// Members on this shard.
        online: u32,
        /// The slot is free again; no push for it makes sense any more.
        closed: bool,
    },
    /// How many connections a push matched in this shard.
    Receipt {
        /// Copied from the push.
        id: ReceiptId,
        /// Connections that were given the push, or would have been.
        matched: u32,
    },
}

/// What the directory stores about a login.
#[derive(Debug)]
pub struct Login {
    /// Connection key, never empty.
    pub key: Box<str>,
    /// Member id; only values above 0 are indexed.
    pub mid: i64,
    /// Where the client connects from (address counted for `ip_count`).
    pub peer: Option<SocketAddr>,
}

/// What control tells a shard.
#[derive(Clone, Debug)]
pub enum ControlToShard {
    /// The answer to [`ShardToControl::Authenticate`].
    Authenticated {
        /// The connection that waits for it.
        conn: ConnRef,
        /// Who the client is, or why it is refused.
        result: Result<Box<Identity>, AuthRefusal>,
    },
    /// Describe one connection; answered by [`ShardToControl::Described`].
    Describe {
        /// Copied to the answer.
        request: u64,
        /// The connection.
        conn: ConnRef,
    },
    /// List members of a room; answered by [`ShardToControl::Members`].
    Members {
        /// Copied to the answer.
        request: u64,
        /// The room.
        room: RoomRef,
        /// At most this many.
        limit: u32,
    },
    /// End one connection.
    Close {
        /// The connection.
        conn: ConnRef,
        /// Why, usually `ClosedByOperator`.
        reason: CloseReason,
    },
    /// Start or stop reporting what happens to one connection.
    Trace {
        /// The connection.
        conn: ConnRef,
        /// Report from now on, or no longer.
        on: bool,
    },
    /// Accept for a full neighbour too: arm accepts on that shard's listeners.
    ServeListeners {
        /// Index of the shard that is full.
        owner: u16,
        /// Begin, or stop.
        on: bool,
    },
    /// Accept from now on: the listeners listen. Sent once, to a shard that was started closed.
    Open,
    /// Every shard is full (or no longer): accept and close with `ServerFull` instead of leaving clients waiting.
    RefuseWhenFull {
        /// Begin, or stop.
        on: bool,
    },
    /// Settings that can change without a restart.
    Settings(Arc<ShardSettings>),
    /// Stop accepting, then close every connection with `Drain`, spread evenly over `over_ms` with jitter.
    Drain {
        /// How long to take, in milliseconds; 0 = at once.
        over_ms: u64,
    },
    /// End connections bit by bit.
    Shed(Shed),
    /// Leave the turn loop now.
    Stop,
}

/// What a shard tells control.
#[derive(Debug)]
pub enum ShardToControl {
    /// Decide on a token; answered by [`ControlToShard::Authenticated`].
    Authenticate {
        /// The connection that waits.
        conn: ConnRef,
        /// Body of op 7.
        token: Box<[u8]>,
        /// Member id of a live connection that refreshes its token, else `None`.
        refresh: Option<i64>,
    },
    /// The answer to `Describe`; `None` when the connection is gone.
    Described {
        /// Copied from the question.
        request: u64,
        /// The connection now.
        info: Option<Box<ConnInfo>>,
    },
    /// The answer to `Members`.
    Members {
        /// Copied from the question.
        request: u64,
        /// Up to `limit` members.
        conns: Box<[ConnRef]>,
    },
    /// Something happened to a traced connection. Lost, and counted, when too many reports wait for the ring.
    Traced {
        /// The connection.
        conn: ConnRef,
        /// What happened.
        event: TraceEvent,
    },
    /// The shard has no free slot left, or has one again.
    Full {
        /// Which of the two.
        full: bool,
    },
    /// The last connection of a draining shard is gone.
    Drained,
}

/// One connection as `GET /v1/connections` shows it. Key and mid come from the directory.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// The connection.
    pub conn: ConnRef,
    /// Peer address, when the kernel told it.
    pub peer: Option<SocketAddr>,
    /// `tcp` or `websocket`, with `+tls` when encrypted.
    pub transport: &'static str,
    /// `handshake`, `auth`, `online` or `closing`.
    pub state: &'static str,
    /// When the connection was accepted, in seconds since the Unix epoch.
    pub since_unix_s: u64,
    /// Seconds since the connection was accepted.
    pub age_s: u64,
    /// Seconds since the last heartbeat, or since login.
    pub heartbeat_age_s: u64,
    /// Current room, empty for none.
    pub room: String,
    /// Ops accepted for key, mid and broadcast pushes, ascending.
    pub accepts: Vec<i32>,
    /// Bytes waiting to be sent.
    pub queued_bytes: u64,
    /// Pushes dropped since login because the queue was full.
    pub drops: u64,
}

/// What `GET /v1/trace` shows.
#[derive(Clone, Debug)]
pub enum TraceEvent {
    /// The shard reports the connection from here on: nothing that follows is missed.
    Began,
    /// A frame from the client.
    Received {
        /// Operation.
        op: i32,
        /// Body size.
        body_bytes: u32,
    },
    /// A reply or push put in the queue.
    Queued {
        /// Operation of a reply; of a push the op accepts were asked for, 9 for room batches.
        op: i32,
        /// Size on the wire.
        bytes: u32,
    },
    /// A push was dropped.
    Dropped {
        /// Operation of the push.
        op: i32,
        /// Size on the wire.
        bytes: u32,
        /// The drop cause as metrics name it.
        cause: &'static str,
    },
    /// The room changed; empty = none.
    Room {
        /// The new room.
        room: String,
    },
    /// The connection ended.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}
