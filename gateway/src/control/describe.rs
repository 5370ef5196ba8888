//! The connections of a key, a user or a room. Owns what is shown of them and how they are found: feed's directory says
//! who and where, the shards say the rest; keeps nothing. Answers `GET` and `DELETE /v1/connections`.

use std::fmt;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use halley_service::timestamp::Timestamp;
use serde::Serialize;

use super::handle::{ControlError, ControlHandle};
use crate::close::CloseReason;
use crate::feed::intake::{DirectoryEntry, Intake, NoAnswer, Request, Select};
use crate::mesh::msg::{ConnInfo, ConnRef, ControlToShard};

/// Connections shown when the caller says nothing else.
pub const SHOWN_DEFAULT: u32 = 100;
/// Connections shown at most.
pub const SHOWN_MAX: u32 = 1_000;
/// What is looked at: the connections of this gateway, whoever else reads the log.
pub const SCOPE: &str = "gateway";
/// How long closing a room's members waits for a shard that is behind, in all, in milliseconds.
const CLOSE_WAIT_MS_MAX: u64 = 10_000;

/// Whose connections are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of a key or a user.
    Login(Select),
    /// The members of a room (full room key).
    Room(String),
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whose::Login(Select::Key(key)) => write!(f, "key={key}"),
            Whose::Login(Select::Mid(mid)) => write!(f, "mid={mid}"),
            Whose::Room(room) => write!(f, "room={room}"),
        }
    }
}

/// One connection, as JSON.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Shard, slot and generation; unique while the process lives.
    pub connection: String,
    /// Shard index.
    pub shard: u16,
    /// Connection key.
    pub key: String,
    /// Member id.
    pub mid: i64,
    /// Current room, empty for none.
    pub room: String,
    /// Peer address, `null` when it is not known.
    pub peer: Option<String>,
    /// `tcp`, `tcp+tls`, `websocket` or `websocket+tls`.
    pub transport: &'static str,
    /// `handshake`, `auth`, `online` or `closing`.
    pub state: &'static str,
    /// When the connection was accepted, to the second.
    pub since: Timestamp,
    /// Seconds since then.
    pub age_seconds: u64,
    /// Seconds since the last heartbeat, or since login.
    pub heartbeat_age_seconds: u64,
    /// Ops accepted for key, mid and broadcast pushes.
    pub accepts: Vec<i32>,
    /// Bytes waiting to be sent.
    pub queued_bytes: u64,
    /// Pushes dropped since login.
    pub drops: u64,
}

/// The answer to `GET /v1/connections`.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// Connections that were found, shown or not.
    pub total: u64,
    /// Among whose: [`SCOPE`].
    pub scope: &'static str,
    /// Up to `limit` of them. One that ended meanwhile is left out.
    pub connections: Vec<Shown>,
}

/// Why nothing, or not all, could be found out or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The gateway is stopping.
    Stopping,
    /// Feed does not answer.
    FeedStuck,
    /// A shard is behind or does not answer.
    Control(ControlError),
}

impl From<NoAnswer> for Failure {
    fn from(why: NoAnswer) -> Failure {
        match why {
            NoAnswer::Stopping => Failure::Stopping,
            NoAnswer::TimedOut => Failure::FeedStuck,
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Failure {
        match error {
            ControlError::Stopping => Failure::Stopping,
            error => Failure::Control(error),
        }
    }
}

/// Names a connection for people: `shard-slot-generation`.
pub fn connection_name(shard: u16, conn: ConnRef) -> String {
    format!("{shard}-{}-{}", conn.slot, conn.generation)
}

/// Asks feed and the shards.
#[derive(Clone, Debug)]
pub struct Directory {
    /// To the shards.
    pub control: ControlHandle,
    /// To feed.
    pub intake: Intake,
}

impl Directory {
    /// Up to `limit` connections, each as it is now.
    pub async fn list(&self, whose: Whose, limit: u32) -> Result<Listing, Failure> {
        let (total, mut entries) = match whose {
            Whose::Login(select) => {
                let entries = self.intake.ask(|reply| Request::Find { select, reply }).await?;
                (entries.len() as u64, entries)
            }
            Whose::Room(room) => self.members(room, limit).await?,
        };
        entries.truncate(limit as usize);
        let described = join_all(entries.into_iter().map(|entry| async {
            let info = self.control.describe(entry.shard, entry.conn).await?;
            Ok::<_, ControlError>(info.map(|info| shown(entry, *info)))
        }));
        let mut connections = Vec::new();
        for result in described.await {
            connections.extend(result?);
        }
        Ok(Listing { total, scope: SCOPE, connections })
    }

    /// The number of a room's members, and up to `limit` of them.
    async fn members(&self, room: String, limit: u32) -> Result<(u64, Vec<DirectoryEntry>), Failure> {
        let places = self.intake.ask(|reply| Request::FindRoom { room, reply }).await?;
        let total = places.iter().map(|&(_, _, online)| u64::from(online)).sum();
        let mut conns = Vec::new();
        for (shard, place, _) in places {
            let left = limit.saturating_sub(u32::try_from(conns.len()).unwrap_or(u32::MAX));
            if left == 0 {
                break;
            }
            let members = self.control.members(shard, place, left).await?;
            conns.extend(members.iter().map(|&conn| (shard, conn)));
        }
        Ok((total, self.intake.ask(|reply| Request::Name { conns, reply }).await?))
    }

    /// End them all, as `ClosedByOperator`. Returns how many were told to; on failure the number comes with it, and
    /// those of a key or user may still be ended when feed goes on.
    pub async fn close(&self, whose: Whose) -> Result<u64, (u64, Failure)> {
        let reason = CloseReason::ClosedByOperator;
        match whose {
            Whose::Login(select) => {
                let asked = self.intake.ask(|reply| Request::Close { select, reason, reply });
                asked.await.map_err(|why| (0, why.into()))
            }
            Whose::Room(room) => {
                let mut closed = 0;
                self.close_room(room, &mut closed).await.map_err(|failure| (closed, failure))?;
                Ok(closed)
            }
        }
    }

    async fn close_room(&self, room: String, closed: &mut u64) -> Result<(), Failure> {
        let until = tokio::time::Instant::now() + Duration::from_millis(CLOSE_WAIT_MS_MAX);
        let places = self.intake.ask(|reply| Request::FindRoom { room, reply }).await?;
        for (shard, place, _) in places {
            for &conn in &self.control.members(shard, place, u32::MAX).await? {
                let close = ControlToShard::Close { conn, reason: CloseReason::ClosedByOperator };
                while let Err(error) = self.control.send(shard, close.clone()).await {
                    if error != ControlError::Busy || tokio::time::Instant::now() >= until {
                        return Err(error.into());
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                *closed += 1;
            }
        }
        Ok(())
    }
}

/// What feed and the shard know, together.
fn shown(entry: DirectoryEntry, info: ConnInfo) -> Shown {
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(info.since_unix_s);
    Shown {
        connection: connection_name(entry.shard, entry.conn),
        shard: entry.shard,
        key: entry.key,
        mid: entry.mid,
        room: info.room,
        peer: info.peer.or(entry.peer).map(|peer| peer.to_string()),
        transport: info.transport,
        state: info.state,
        since: Timestamp::from_system(since),
        age_seconds: info.age_s,
        heartbeat_age_seconds: info.heartbeat_age_s,
        accepts: info.accepts,
        queued_bytes: info.queued_bytes,
        drops: info.drops,
    }
}
