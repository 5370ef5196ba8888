//! How the rest of the process asks the control loop for something. Owns the closed list of commands, the bounded
//! channel they travel on and the time an answer may take; touches no ring. `control::node` is the only receiver.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::trace::TraceSink;
use crate::limits::{ANSWER_MS_MAX, ShardSettings};
use crate::mesh::msg::{ConnInfo, ConnRef, ControlToShard, RoomRef};

/// Commands that may wait for the loop; beyond it callers wait in turn.
pub const COMMANDS_MAX: usize = 1024;

/// Why the control loop could not do it. The gateway's fault, never the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// The gateway is stopping.
    Stopping,
    /// The shard has too much to do, or too many others wait for an answer.
    Busy,
    /// The shard did not answer within [`ANSWER_MS_MAX`].
    TimedOut,
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ControlError::Stopping => "the gateway is stopping",
            ControlError::Busy => "the gateway has too much to do, try again in a moment",
            ControlError::TimedOut => "a shard of the gateway does not answer",
        })
    }
}

impl std::error::Error for ControlError {}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, ControlError>>;

/// What may be asked of the control loop.
#[derive(Debug)]
pub enum Command {
    /// Send one message that has no answer; replied when it is in the shard's ring, or in order behind what waits for
    /// that.
    Send {
        /// Shard index.
        shard: u16,
        /// The message; not `Authenticated`, `Describe` or `Members`, which have answers of their own.
        message: ControlToShard,
        /// The answer.
        reply: Reply<()>,
    },
    /// Describe one connection.
    Describe {
        /// Shard index.
        shard: u16,
        /// The connection.
        conn: ConnRef,
        /// The answer; `None` when it is gone.
        reply: Reply<Option<Box<ConnInfo>>>,
    },
    /// List members of a room in one shard.
    Members {
        /// Shard index.
        shard: u16,
        /// The room there.
        room: RoomRef,
        /// At most this many.
        limit: u32,
        /// The answer.
        reply: Reply<Box<[ConnRef]>>,
    },
    /// Tell a sink what happens to a connection, until the connection or the sink is gone.
    Trace {
        /// Shard index.
        shard: u16,
        /// The connection.
        conn: ConnRef,
        /// Who wants to know.
        sink: TraceSink,
        /// The answer.
        reply: Reply<()>,
    },
    /// Leave the loop, after what came before is in the rings.
    Stop,
}

/// What a shard last said about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardState {
    /// It has no free slot.
    pub full: bool,
    /// It was told to drain and its last connection is gone.
    pub drained: bool,
}

/// The asking end, cheap to clone.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    commands: mpsc::Sender<Command>,
    states: watch::Receiver<Vec<ShardState>>,
}

/// The loop's end of a [`ControlHandle`].
#[derive(Debug)]
pub struct ControlDoor {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) states: watch::Sender<Vec<ShardState>>,
}

impl ControlHandle {
    /// A handle to a loop over `shards` shards, and the loop's end of it.
    pub fn new(shards: usize) -> (ControlHandle, ControlDoor) {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (states, receiver) = watch::channel(vec![ShardState::default(); shards]);
        (ControlHandle { commands: sender, states: receiver }, ControlDoor { commands, states })
    }

    /// Number of shards.
    pub fn shards(&self) -> u16 {
        u16::try_from(self.states.borrow().len()).unwrap_or(u16::MAX)
    }

    /// What the shards say about themselves. Changes that follow each other closely are seen as one.
    pub fn states(&self) -> watch::Receiver<Vec<ShardState>> {
        self.states.clone()
    }

    async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.commands.send(make(reply)).await.map_err(|_| ControlError::Stopping)?;
            answer.await.map_err(|_| ControlError::Stopping)?
        };
        tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), asked).await.unwrap_or(Err(ControlError::TimedOut))
    }

    /// Send one message that has no answer; returns when it is on its way in order.
    pub async fn send(&self, shard: u16, message: ControlToShard) -> Result<(), ControlError> {
        self.ask(|reply| Command::Send { shard, message, reply }).await
    }

    /// Send a message to every shard; goes on after a shard that cannot take it and returns the first error.
    pub async fn send_all(&self, message: ControlToShard) -> Result<(), ControlError> {
        let mut result = Ok(());
        for shard in 0..self.shards() {
            result = result.and(self.send(shard, message.clone()).await);
        }
        result
    }

    /// Give every shard new settings.
    pub async fn settings(&self, settings: Arc<ShardSettings>) -> Result<(), ControlError> {
        self.send_all(ControlToShard::Settings(settings)).await
    }

    /// Stop accepting and close every connection, spread over `over_ms`; [`ShardState::drained`] tells the end.
    pub async fn drain(&self, over_ms: u64) -> Result<(), ControlError> {
        self.send_all(ControlToShard::Drain { over_ms }).await
    }

    /// Describe one connection; `None` when it is gone.
    pub async fn describe(&self, shard: u16, conn: ConnRef) -> Result<Option<Box<ConnInfo>>, ControlError> {
        self.ask(|reply| Command::Describe { shard, conn, reply }).await
    }

    /// Up to `limit` members of a room in one shard.
    pub async fn members(&self, shard: u16, room: RoomRef, limit: u32) -> Result<Box<[ConnRef]>, ControlError> {
        self.ask(|reply| Command::Members { shard, room, limit, reply }).await
    }

    /// Tell `sink` what happens to a connection from now on.
    pub async fn trace(&self, shard: u16, conn: ConnRef, sink: TraceSink) -> Result<(), ControlError> {
        self.ask(|reply| Command::Trace { shard, conn, sink, reply }).await
    }

    /// Whether a shard still turns: it must answer a question within [`ANSWER_MS_MAX`].
    pub async fn is_turning(&self, shard: u16) -> bool {
        // A slot that cannot be; the answer is that it is gone.
        let nobody = ConnRef { slot: u32::MAX, generation: 0 };
        self.describe(shard, nobody).await.is_ok()
    }

    /// Make the loop end.
    pub async fn stop(&self) {
        // An error only says that it has ended.
        let _ = self.commands.send(Command::Stop).await;
    }
}
