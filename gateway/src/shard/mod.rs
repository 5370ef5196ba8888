//! One shard: its connections, rooms, timers and counters, on one thread and one ring, shared with nobody.
//!
//! [`Shard`] owns the kernel seam, the rings to feed and control, and a [`Core`]. The core is a function of the events,
//! messages, times and the seed handed in, so a simulation can replay it. It asks for kernel work by [`Order`]s, which
//! `turn` carries out at fixed points; accepting and flushing are lent the seam for their phase. One file per phase:
//!
//! | file | phase or noun |
//! |---|---|
//! | `turn` | the order of the phases; carries orders to the kernel, and enters it |
//! | `accept` | taking connections, and when not to |
//! | `receive` | when a connection is read, and when it must wait |
//! | `transport` | bytes → upgrade, WebSocket messages, goim frames |
//! | `application` | what a WebSocket message is: goim frames, but in the echo server of a test |
//! | `inbound` | what each goim operation does |
//! | `login` | op 7: decide, tell the directory, answer |
//! | `inbox` | messages from feed and control |
//! | `fanout` | a push → send queues |
//! | `broadcast` | pushes to everybody, paced or at once |
//! | `flush` | send queues → kernel, and what came back |
//! | `secure` | the same through TLS, and received bytes before `transport` |
//! | `ending` | closing: goodbye, linger, reuse |
//! | `latency` | how old pushes are when they are sent |
//! | `shed` | ending many, bit by bit, while they are served |
//! | `news` | what feed and control must know |
//! | `conns`, `rooms`, `accepts`, `quota`, `timers`, `stats` | tables |

mod accept;
pub mod accepts;
pub mod application;
mod broadcast;
pub mod conns;
mod ending;
mod fanout;
mod flush;
mod inbound;
mod inbox;
mod latency;
mod login;
mod news;
pub mod quota;
mod receive;
pub mod rooms;
mod secure;
mod shed;
pub mod stats;
pub mod timers;
mod transport;
mod turn;

use std::collections::VecDeque;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::conn::payloads::Payloads;
use crate::conn::send_queue::SpareQueues;
use crate::io::{Event, Io};
use crate::limits::{ShardSettings, TICK_MS};
use crate::mesh::msg::{ConnRef, ControlToShard, FeedToShard, ShardToControl, ShardToFeed};
use crate::mesh::port::{Receiver, Sender};
use crate::mesh::wake::Doorbell;
use crate::table::queue::Queue;

use accept::Acceptor;
use accepts::AcceptSets;
use application::{Application, Goim};
use broadcast::Broadcasts;
use conns::Conns;
use flush::Flights;
use quota::AddressQuota;
use rooms::Rooms;
use stats::{Counts, ShardStats};
use timers::Deadlines;

/// What clients speak on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// goim frames back to back.
    Tcp,
    /// goim frames in WebSocket messages.
    WebSocket,
}

/// One listener as a shard sees it, in the order of [`crate::io::ListenerId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Index of the shard it belongs to.
    pub owner: u16,
    /// What clients speak on it.
    pub transport: Transport,
    /// Encrypted.
    pub tls: bool,
}

/// The four ring ends and the doorbell of one shard.
pub struct ShardLinks {
    /// Pushes and directory answers.
    pub from_feed: Receiver<FeedToShard>,
    /// Directory news.
    pub to_feed: Sender<ShardToFeed>,
    /// Requests and auth answers.
    pub from_control: Receiver<ControlToShard>,
    /// Their answers, and auth questions.
    pub to_control: Sender<ShardToControl>,
    /// Rung by feed and control.
    pub doorbell: Arc<Doorbell>,
}

/// What a shard is made of, its kernel seam and rings aside.
pub struct ShardParts<A> {
    /// Its index among the shards.
    pub index: u16,
    /// Its own listeners first, then those of its neighbours.
    pub listeners: Vec<Listener>,
    /// Its listeners listen already; else it accepts from [`ControlToShard::Open`] on.
    pub open: bool,
    /// Connections it holds at most; the `Io` has [`crate::limits::SPARE_SLOTS`] more descriptors.
    pub capacity: u32,
    /// What it works by, until control sends others.
    pub settings: Arc<ShardSettings>,
    /// Connections per source address, all shards together.
    pub quota: Arc<AddressQuota>,
    /// Where it publishes its counters.
    pub stats: Arc<ShardStats>,
    /// Seed of everything random: generated keys and drain jitter.
    pub seed: [u8; 32],
    /// What connections are served with.
    pub application: A,
}

/// The time as one turn sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the shard started.
    pub ms: u64,
    /// Microseconds since the shard started, wrapping.
    pub us: u32,
    /// Seconds since the Unix epoch.
    pub unix_s: u64,
}

impl Now {
    /// Ticks since the shard started.
    pub fn tick(self) -> u32 {
        u32::try_from(self.ms / TICK_MS).unwrap_or(u32::MAX - 1)
    }

    /// The tick `ms` from now, at least one from now.
    pub fn tick_after(self, ms: u64) -> u32 {
        u32::try_from(self.ms.saturating_add(ms).div_ceil(TICK_MS)).unwrap_or(timers::NEVER - 1).max(self.tick() + 1)
    }
}

/// Kernel work the core asks for; carried out by `turn`, in order, before it enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// [`Io::poll_readable`].
    PollReadable(ConnRef),
    /// [`Io::receive`].
    Receive(ConnRef),
    /// [`Io::poll_writable`].
    PollWritable(ConnRef),
    /// [`Io::peer_name`].
    PeerName(ConnRef),
    /// [`Io::shutdown_write`].
    ShutdownWrite(ConnRef),
    /// [`Io::close`].
    Close(ConnRef),
}

/// State of a shard without its kernel.
pub struct Core<A> {
    application: A,
    settings: Arc<ShardSettings>,
    now: Now,
    random: StdRng,
    conns: Conns,
    rooms: Rooms,
    accepts: AcceptSets,
    payloads: Payloads,
    spares: SpareQueues,
    deadlines: Deadlines,
    acceptor: Acceptor,
    quota: Arc<AddressQuota>,
    broadcasts: Broadcasts,
    flights: Flights,
    counts: Counts,
    /// Connections to flush.
    dirty: Queue<u32>,
    /// Connections whose replies pile up: reading goes on when they are out.
    throttled: Vec<ConnRef>,
    /// Connections on their way out.
    goodbyes: ending::Goodbyes,
    /// The last tick whose deadlines were all looked at.
    swept_tick: u32,
    /// Receives that found no buffer, for the next turn.
    hungry: Vec<ConnRef>,
    handshakes: receive::Handshakes,
    /// Connections with news for feed.
    news: Queue<ConnRef>,
    /// Receipts for feed: at most as many as feed has asked for.
    receipts: VecDeque<ShardToFeed>,
    /// Messages for control: auth questions (one per handshake), answers (one per request), traces (bounded).
    reports: VecDeque<ShardToControl>,
    /// Plaintext of one receive, or of one send, of a TLS connection.
    plain: Vec<u8>,
    orders: Vec<Order>,
    due: Vec<u32>,
    /// Bytes waiting on stalled connections, the only ones whose waiting lasts.
    stalled_bytes: u64,
    /// A connection the kernel takes from has much waiting: flush before taking more from feed.
    pressure: bool,
    sheds: shed::Sheds,
    latencies: latency::Latencies,
    drain_order: Option<inbox::DrainOrder>,
    drain: Option<ending::Drain>,
}

/// One shard. Exists on its own thread only.
pub struct Shard<I: Io, A: Application = Goim> {
    io: I,
    core: Core<A>,
    links: ShardLinks,
    stats: Arc<ShardStats>,
    events: Vec<Event>,
    stopping: bool,
}

impl<I: Io, A: Application> Shard<I, A> {
    /// A shard that accepts from its first turn on if it is open.
    pub fn new(io: I, links: ShardLinks, parts: ShardParts<A>) -> Shard<I, A> {
        let core = Core {
            application: parts.application,
            acceptor: Acceptor::new(parts.index, parts.listeners, parts.capacity, parts.open),
            settings: parts.settings,
            now: Now::default(),
            random: StdRng::from_seed(parts.seed),
            conns: Conns::default(),
            rooms: Rooms::new(),
            accepts: AcceptSets::new(),
            payloads: Payloads::new(),
            spares: SpareQueues::new(),
            deadlines: Deadlines::default(),
            quota: parts.quota,
            broadcasts: Broadcasts::default(),
            flights: Flights::default(),
            counts: Counts { capacity: u64::from(parts.capacity), ..Counts::default() },
            dirty: Queue::new(),
            throttled: Vec::new(),
            goodbyes: Vec::new(),
            swept_tick: 0,
            hungry: Vec::new(),
            handshakes: receive::Handshakes::new(),
            news: Queue::new(),
            receipts: VecDeque::new(),
            reports: VecDeque::new(),
            plain: Vec::new(),
            orders: Vec::new(),
            due: Vec::new(),
            stalled_bytes: 0,
            pressure: false,
            sheds: shed::Sheds::default(),
            latencies: latency::Latencies::new(),
            drain_order: None,
            drain: None,
        };
        Shard { io, core, links, stats: parts.stats, events: Vec::new(), stopping: false }
    }

    /// The kernel seam, for tests that play the kernel.
    pub fn io(&mut self) -> &mut I {
        &mut self.io
    }

    /// What it counts, now.
    pub fn counts(&self) -> &Counts {
        &self.core.counts
    }
}
