//! Fake shards and a fake feed: the other ends of control's rings and of the intake, worked by the test itself.

use std::sync::Arc;
use std::time::Duration;

use halley_gateway::control::handle::ControlHandle;
use halley_gateway::control::logins::LoginRules;
use halley_gateway::control::node::{ControlNode, ControlParts, ShardPort};
use halley_gateway::mesh::msg::{ConnInfo, ConnRef, ControlToShard, ShardToControl};
use halley_gateway::mesh::port::{Receiver, Sender, channel};
use halley_gateway::mesh::wake::Doorbell;

/// How long a test waits for what must come; only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The shard's ring ends.
pub struct FakeShard {
    pub from: Receiver<ControlToShard>,
    pub to: Sender<ShardToControl>,
}

impl FakeShard {
    /// Say one thing, waiting while the ring is full.
    pub async fn say(&mut self, message: ShardToControl) {
        say(&mut self.to, message).await;
    }

    /// The next message from control.
    pub async fn hear(&mut self) -> ControlToShard {
        hear(&mut self.from).await
    }

    /// Answer every question until the test ends: connections are described as [`info`], rooms have `members`.
    pub async fn serve(mut self, members: Vec<ConnRef>, heard: tokio::sync::mpsc::UnboundedSender<ControlToShard>) {
        loop {
            let Some(message) = self.from.pop() else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            match message {
                ControlToShard::Describe { request, conn } => {
                    let info = (conn.slot != u32::MAX).then(|| Box::new(info(conn)));
                    self.say(ShardToControl::Described { request, info }).await;
                }
                ControlToShard::Members { request, limit, .. } => {
                    let conns = members.iter().copied().take(limit as usize).collect();
                    self.say(ShardToControl::Members { request, conns }).await;
                }
                ControlToShard::Trace { conn, on: true } => {
                    self.say(ShardToControl::Traced {
                        conn,
                        event: halley_gateway::mesh::msg::TraceEvent::Received { op: 2, body_bytes: 0 },
                    })
                    .await;
                    let _ = heard.send(ControlToShard::Trace { conn, on: true });
                }
                other => {
                    let _ = heard.send(other);
                }
            }
        }
    }
}

/// Write one message, waiting while the ring is full.
pub async fn say(to: &mut Sender<ShardToControl>, message: ShardToControl) {
    let mut message = Some(message);
    eventually(|| match to.push(message.take()?) {
        Ok(()) => Some(()),
        Err(back) => {
            message = Some(back);
            to.flush();
            None
        }
    })
    .await;
    to.flush();
}

/// The next message of a ring.
pub async fn hear(from: &mut Receiver<ControlToShard>) -> ControlToShard {
    eventually(|| from.pop()).await
}

/// What comes of this, in time.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it never came")
}

/// Try until it gives something.
pub async fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let tries = async {
        loop {
            if let Some(found) = attempt() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(tries).await
}

/// A running loop over as many shards as asked for, with rings of `slots` each way.
pub fn start(shards: usize, slots: usize, jwt: Option<Arc<LoginRules>>) -> (ControlHandle, Vec<FakeShard>) {
    let doorbell = Arc::new(Doorbell::new().expect("an eventfd"));
    let (handle, door) = ControlHandle::new(shards);
    let (mut ports, mut fakes) = (Vec::new(), Vec::new());
    for _ in 0..shards {
        let (to, from_control) = channel(slots, Arc::new(Doorbell::new().expect("an eventfd")));
        let (to_control, from) = channel(slots, Arc::clone(&doorbell));
        ports.push(ShardPort { to, from });
        fakes.push(FakeShard { from: from_control, to: to_control });
    }
    let node =
        ControlNode::new(ControlParts { shards: ports, doorbell, door, jwt, seed: [7; 32], stats: Arc::default() });
    tokio::spawn(async { node.run().await.expect("the doorbell is polled") });
    (handle, fakes)
}

/// A connection for short.
pub fn conn(slot: u32) -> ConnRef {
    ConnRef { slot, generation: 1 }
}

/// What fake shards say about a connection.
pub fn info(conn: ConnRef) -> ConnInfo {
    ConnInfo {
        conn,
        peer: Some("192.0.2.7:4000".parse().expect("an address")),
        transport: "websocket",
        state: "online",
        since_unix_s: 1_790_000_000,
        age_s: 3600,
        heartbeat_age_s: 12,
        room: "live://1".to_owned(),
        accepts: vec![1000, 1001],
        queued_bytes: 5,
        drops: 2,
    }
}
