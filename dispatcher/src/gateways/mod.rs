//! The seam to the gateway: the door for what is read from the log, and questions about who is online. Owns both
//! traits; an implementation delivers in order and answers only for what is in the gateway's memory. The gateway's
//! process implements them.

use halley_protocol::push::{Delivery, Target};
use tokio::sync::oneshot;

/// How many connections an accepted delivery matched: comes when every shard has answered. `None` where nobody asked.
pub type Matched = Option<oneshot::Receiver<u64>>;

/// The gateway is stopping or gone: it may or may not have delivered what it was given last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayGone;

/// Why a question about who is online has no answer. The gateway's fault, never the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The gateway is stopping or gone; another call gets no answer either.
    Gone,
    /// It did not answer in time; it may later.
    TimedOut,
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NoAnswer::Gone => "the gateway is stopping",
            NoAnswer::TimedOut => "the gateway does not answer in time, /healthz says whether a part of it is stuck",
        })
    }
}

impl std::error::Error for NoAnswer {}

/// Totals for `/goim/online/total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Authenticated connections of this gateway, idle ones included.
    pub connections: u64,
    /// Distinct source addresses among them, ports left out.
    pub addresses: u64,
}

/// Questions to the gateway of this process, each answered in bounded time.
#[async_trait::async_trait]
pub trait Gateway: Send + Sync + 'static {
    /// How many connections a push to this target with this op would be given now.
    async fn matched(&self, target: Target, op: i32) -> Result<u64, NoAnswer>;
    /// Full keys of the rooms with members, and how many members each has, in no order.
    async fn rooms(&self) -> Result<Vec<(String, u32)>, NoAnswer>;
    /// How many members each of these rooms has, in their order.
    async fn counts(&self, rooms: Vec<String>) -> Result<Vec<u32>, NoAnswer>;
    /// Connections and addresses, not older than the call.
    async fn totals(&self) -> Result<Totals, NoAnswer>;
}

/// What a reader of the log left out, in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Which partitions, with what they lack: from the first offset that was not read to the offset that is read next;
    /// of a topic that is gone to its end, as far as that was known.
    pub partitions: Vec<(i32, std::ops::Range<i64>)>,
    /// Why.
    pub why: GapReason,
}

/// Why a reader left records out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// The reader was farther behind than it may catch up.
    TooFarBehind,
    /// The log no longer had them.
    Retention,
    /// The log ends before what was read, and nobody says where the two part.
    LostTail,
    /// The topic was deleted and made again.
    NewTopic,
    /// The reader began without a position.
    StartedWithout,
}

/// What goes through a gateway's door, in the order of the log.
#[derive(Debug)]
pub enum Handover {
    /// Deliver these in order; answered when all are in the gateway's memory.
    Deliver(Vec<Delivery>),
    /// Who is connected now has missed something. Answered at once, with nothing.
    Gap(Gap),
}

/// A gateway's door for what is read from the log. Used by one task.
pub trait Door: Send + Sync + 'static {
    /// A place, see [`Door::reserve`].
    type Place: Place;
    /// Wait for room for one handover. Dropping the future takes no room.
    fn reserve(&self) -> impl Future<Output = Result<Self::Place, GatewayGone>> + Send;
}

/// Room for one handover behind a gateway's door; unused it is given back when dropped.
pub trait Place: Send + 'static {
    /// Use it, without waiting. The receiver gets one answer for each delivery when they are in the gateway's memory,
    /// in the order of handovers; it fails when the gateway is gone.
    fn admit(self, handover: Handover) -> oneshot::Receiver<Vec<Matched>>;
}
