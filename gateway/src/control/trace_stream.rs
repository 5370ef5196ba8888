//! The lines of `GET /v1/trace`: what happens to a user, or a key, as it happens. Owns their wording and the two forms
//! they are sent in; waits for no listener, but loses events for a slow one and tells it how many. Ends when the client
//! leaves or the gateway drains.
//!
//! A trace may begin before its user connects: `login` is said of who logs in meanwhile, `online` of who was there
//! before. `queued` is what was put in the send queue: when it leaves is the kernel's business. What comes in the
//! instant of the login, before the shard knows that somebody watches, is not shown: `traced` says from where on
//! nothing is missed.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use halley_service::timestamp::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::describe::{Directory, connection_name};
use super::trace::{TraceRecord, TraceSink, TraceSource};
use crate::feed::intake::{DirectoryEntry, NoAnswer, Select, WatchNews, WatchSink, WatchSource};
use crate::mesh::msg::{ConnRef, TraceEvent};
use halley_service::lifecycle::Lifecycle;

/// Traces at once.
pub const TRACES_MAX: usize = 64;
/// Lines that may wait for the client's connection.
const LINES_MAX: usize = 64;
/// Logins and their ends that may wait for one trace; beyond it feed drops them.
const NEWS_MAX: usize = 1024;
/// How often an idle trace says that it is there, in seconds: a client that vanished is noticed by it.
const ALIVE_S: u64 = 15;

/// How lines are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a line: for `curl`, `jq` and scripts. An empty line says that the trace is alive.
    Lines,
    /// Server-Sent Events: for `EventSource` in browsers.
    Events,
}

impl Form {
    /// The form that an `Accept` value asks for: lines, unless it names `text/event-stream`.
    pub fn from_accept(accept: Option<&str>) -> Form {
        let names_events = |value: &str| value.split(',').any(|kind| kind.trim().starts_with("text/event-stream"));
        if accept.is_some_and(names_events) { Form::Events } else { Form::Lines }
    }

    /// The `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Form::Lines => "application/x-ndjson",
            Form::Events => "text/event-stream",
        }
    }

    fn frame(self, line: &Value) -> Bytes {
        match self {
            Form::Lines => format!("{line}\n").into(),
            Form::Events => format!("data: {line}\n\n").into(),
        }
    }

    fn alive(self) -> Bytes {
        Bytes::from_static(match self {
            Form::Lines => b"\n",
            Form::Events => b":\n\n",
        })
    }
}

/// One trace under way.
struct Trace {
    directory: Directory,
    form: Form,
    lines: mpsc::Sender<Bytes>,
    sink: TraceSink,
    /// The connections told of, and whether their `traced` was.
    open: HashMap<(u16, ConnRef), bool>,
}

/// The client has left.
struct Left;

/// Begin a trace. Its lines come out of the receiver; dropping that ends it. `permit` is held as long.
pub async fn begin(
    directory: Directory,
    lifecycle: Lifecycle,
    select: Select,
    form: Form,
    permit: OwnedSemaphorePermit,
) -> Result<mpsc::Receiver<Bytes>, NoAnswer> {
    let (news_sink, news) = WatchSink::new(NEWS_MAX);
    directory.intake.watch(select.clone(), news_sink).await?;
    let (lines, receiver) = mpsc::channel(LINES_MAX);
    let (sink, source) = TraceSink::new();
    let mut trace = Trace { directory, form, lines, sink, open: HashMap::new() };
    tokio::spawn(async move {
        tokio::select! {
            // `Left` is how most traces end, and nobody is left to hear of it.
            _ = trace.run(select, news, source) => {}
            () = lifecycle.draining() => trace.stop(),
        }
        drop(permit);
    });
    Ok(receiver)
}

impl Trace {
    async fn run(&mut self, select: Select, mut watch: WatchSource, mut source: TraceSource) -> Result<(), Left> {
        let whose = match select {
            Select::Key(key) => json!({ "key": key }),
            Select::Mid(mid) => json!({ "mid": mid }),
        };
        self.line("watching", None, whose).await?;
        loop {
            tokio::select! {
                biased;
                () = self.lines.closed() => return Err(Left),
                news = watch.news.recv() => {
                    match news {
                        Some(WatchNews::There(entry)) => self.opened("online", entry).await?,
                        Some(WatchNews::Opened(entry)) => self.opened("login", entry).await?,
                        Some(WatchNews::Gone { shard, conn }) => self.gone(shard, conn).await?,
                        None => {
                            self.stop();
                            return Ok(());
                        }
                    }
                    if watch.news.is_empty() {
                        self.tell_lost("logins", watch.take_lost()).await?;
                    }
                }
                Some(record) = source.records.recv() => {
                    self.happened(record).await?;
                    // Told when there is room again, behind what was kept.
                    if source.records.is_empty() {
                        self.tell_lost("events", source.take_lost()).await?;
                    }
                }
                () = tokio::time::sleep(Duration::from_secs(ALIVE_S)) => {
                    self.lines.send(self.form.alive()).await.map_err(|_| Left)?;
                }
            }
        }
    }

    async fn opened(&mut self, event: &str, entry: DirectoryEntry) -> Result<(), Left> {
        let DirectoryEntry { shard, conn, key, mid, peer } = entry;
        self.open.insert((shard, conn), false);
        let peer = peer.map(|peer| peer.to_string());
        self.line(event, Some((shard, conn)), json!({ "key": key, "mid": mid, "peer": peer })).await?;
        match self.directory.control.trace(shard, conn, self.sink.clone()).await {
            Ok(()) => Ok(()),
            Err(error) => self.line("not_traced", Some((shard, conn)), json!({ "message": error.to_string() })).await,
        }
    }

    /// The directory's word that a connection ended; the shard's, which says why, usually comes first.
    async fn gone(&mut self, shard: u16, conn: ConnRef) -> Result<(), Left> {
        if self.open.remove(&(shard, conn)).is_some() {
            self.line("gone", Some((shard, conn)), json!({})).await
        } else {
            Ok(())
        }
    }

    async fn happened(&mut self, record: TraceRecord) -> Result<(), Left> {
        let TraceRecord { shard, conn, event } = record;
        let (name, details) = match event {
            // Each listener has the shard say so; those who were there before have heard it.
            TraceEvent::Began => match self.open.get_mut(&(shard, conn)) {
                Some(told @ false) => {
                    *told = true;
                    ("traced", json!({}))
                }
                _ => return Ok(()),
            },
            TraceEvent::Received { op, body_bytes } => ("received", json!({ "op": op, "body_bytes": body_bytes })),
            TraceEvent::Queued { op, bytes } => ("queued", json!({ "op": op, "bytes": bytes })),
            TraceEvent::Dropped { op, bytes, cause } => {
                ("dropped", json!({ "op": op, "bytes": bytes, "cause": cause }))
            }
            TraceEvent::Room { room } => ("room", json!({ "room": room })),
            TraceEvent::Closed { reason } => {
                self.open.remove(&(shard, conn));
                ("closed", json!({ "reason": reason.label() }))
            }
        };
        self.line(name, Some((shard, conn)), details).await
    }

    /// Say how many events, or logins and their ends, were not told: the client read too slowly.
    async fn tell_lost(&mut self, what: &str, count: u64) -> Result<(), Left> {
        match count {
            0 => Ok(()),
            count => self.line("lost", None, json!({ "count": count, "what": what })).await,
        }
    }

    /// Say that the gateway stops, unless the client does not read: the stop does not wait for it.
    fn stop(&self) {
        let _ = self.lines.try_send(self.made("stopping", None, json!({})));
    }

    /// Send one line.
    async fn line(&mut self, event: &str, conn: Option<(u16, ConnRef)>, details: Value) -> Result<(), Left> {
        self.lines.send(self.made(event, conn, details)).await.map_err(|_| Left)
    }

    /// One line: time, event and connection, then what belongs to the event.
    fn made(&self, event: &str, conn: Option<(u16, ConnRef)>, details: Value) -> Bytes {
        let mut line = Map::new();
        line.insert("time".to_owned(), Timestamp::from_system(SystemTime::now()).to_string().into());
        line.insert("event".to_owned(), event.into());
        if let Some((shard, conn)) = conn {
            line.insert("connection".to_owned(), connection_name(shard, conn).into());
        }
        if let Value::Object(details) = details {
            line.extend(details);
        }
        self.form.frame(&Value::Object(line))
    }
}
