//! The loop over real rings, with the shards' side in the test's hands: what each shard hears, in which order, and that
//! full rings delay but never lose, reorder or stop anything.

use bytes::Bytes;
use halley_protocol::push::{Body, Delivery, Target};

use tokio::sync::oneshot;

use super::*;
use crate::close::CloseReason;
use crate::feed::directory::LimitPolicy;
use crate::feed::intake::{DirectoryEntry, Matched, Select, Totals, WatchNews, WatchSink, WatchSource};
use crate::mesh::msg::{
    ConnRef, FeedToShard, Login, ReceiptId, RoomRef, ShardPush, ShardTarget, ShardToFeed, Shed, ShedWho,
};
use crate::mesh::port::{Receiver, Sender, channel};

mod delivery;
mod logins;
mod progress;
mod questions;
mod sleep;

/// Feed with its shards, driven turn by turn.
struct Bench {
    node: FeedNode,
    shards: Vec<Shard>,
    requests: mpsc::Sender<Request>,
    stats: Arc<FeedStats>,
}

/// A shard's ends of the rings.
struct Shard {
    to_feed: Sender<ShardToFeed>,
    from_feed: Receiver<FeedToShard>,
}

impl Bench {
    fn new(shards: usize, slots: usize) -> Bench {
        let doorbell = Arc::new(Doorbell::new().expect("a descriptor"));
        let (links, shards) = (0..shards)
            .map(|_| {
                let (to, from_feed) = channel(slots, Arc::new(Doorbell::new().expect("a descriptor")));
                let (to_feed, from) = channel(slots, Arc::clone(&doorbell));
                (ShardLink { to, from }, Shard { to_feed, from_feed })
            })
            .unzip();
        let (requests, receiver) = mpsc::channel(1024);
        let stats = Arc::new(FeedStats::default());
        let node = FeedNode::new(FeedParts {
            shards: links,
            doorbell,
            requests: receiver,
            limits: DirectoryLimits::default(),
            interest: None,
            stats: Arc::clone(&stats),
        });
        Bench { node, shards, requests, stats }
    }

    fn say(&mut self, shard: usize, news: ShardToFeed) {
        let to_feed = &mut self.shards[shard].to_feed;
        to_feed.push(news).expect("room in the ring");
        to_feed.flush();
    }

    /// A login arrives and is answered before anything else happens.
    fn log_in(&mut self, shard: usize, slot: u32, key: &str, mid: i64) -> ConnRef {
        let conn = conn(slot);
        self.say(shard, register(conn, key, mid));
        self.node.turn();
        conn
    }

    fn open_room(&mut self, shard: usize, slot: u32, name: &str, online: u32) -> RoomRef {
        let room = RoomRef { slot, generation: 0 };
        self.say(shard, ShardToFeed::Room { room, name: Some(name.into()), online, closed: false });
        self.node.turn();
        room
    }

    fn count_room(&mut self, shard: usize, room: RoomRef, online: u32) {
        self.say(shard, ShardToFeed::Room { room, name: None, online, closed: false });
    }

    /// All that a shard has heard since the last look.
    fn heard(&mut self, shard: usize) -> Vec<String> {
        std::iter::from_fn(|| self.shards[shard].from_feed.pop()).map(|message| show(&message)).collect()
    }

    fn forget_heard(&mut self) {
        for shard in 0..self.shards.len() {
            self.heard(shard);
        }
    }

    fn ask<T>(&mut self, make: impl FnOnce(oneshot::Sender<T>) -> Request) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        assert!(self.requests.try_send(make(reply)).is_ok(), "room for a request");
        answer
    }

    /// Ask, give feed one turn, take the answer.
    fn answered<T>(&mut self, make: impl FnOnce(oneshot::Sender<T>) -> Request) -> T {
        let mut answer = self.ask(make);
        self.node.turn();
        answer.try_recv().expect("answered within a turn")
    }

    fn deliver(&mut self, deliveries: Vec<Delivery>) -> oneshot::Receiver<Vec<Matched>> {
        self.ask(|reply| Request::Deliver { deliveries, reply })
    }

    fn delivered(&mut self, push: Delivery) -> Matched {
        self.answered(|reply| Request::Deliver { deliveries: vec![push], reply }).pop().expect("one answer per push")
    }
}

/// Every slot is used once in these tests, so the generation only has to be told from the slot.
fn conn(slot: u32) -> ConnRef {
    ConnRef { slot, generation: slot + 100 }
}

fn register(conn: ConnRef, key: &str, mid: i64) -> ShardToFeed {
    ShardToFeed::Register { conn, login: Box::new(Login { key: key.into(), mid, peer: None }) }
}

fn message(target: Target, body: &str) -> Delivery {
    let body = Body::Message(Bytes::copy_from_slice(body.as_bytes()));
    Delivery { target, op: 1000, body: Some(body), count: false, written_ms: 0 }
}

fn to_keys(keys: &[&str], body: &str) -> Delivery {
    message(Target::Keys(keys.iter().map(|&key| key.to_owned()).collect()), body)
}

fn to_room(room: &str, body: &str) -> Delivery {
    message(Target::Room(room.to_owned()), body)
}

fn show(message: &FeedToShard) -> String {
    match message {
        FeedToShard::Registered { conn } => format!("registered {}", conn.slot),
        FeedToShard::Close { conn, reason } => format!("close {} {}", conn.slot, reason.label()),
        FeedToShard::Room { room, others } => format!("room {} others {others}", room.slot),
        FeedToShard::Push(push) => show_push(push),
        FeedToShard::Shed(order) => format!("shed as {}", order.reason.label()),
    }
}

fn show_push(push: &ShardPush) -> String {
    let target = match &push.target {
        ShardTarget::Conn(conn) => format!("conn {}", conn.slot),
        ShardTarget::Conns(conns) => {
            format!("conns {}", conns.iter().map(|conn| conn.slot.to_string()).collect::<Vec<_>>().join(","))
        }
        ShardTarget::Room(room) => format!("room {}", room.slot),
        ShardTarget::All { per_second } => format!("all {per_second}/s"),
    };
    match &push.payload {
        // The inner frame's header has 16 bytes.
        Some(payload) => format!("push {target}: {}", String::from_utf8_lossy(&payload.bytes(false)[16..])),
        None => format!("count {target}"),
    }
}

fn receipt_of(message: &FeedToShard) -> ReceiptId {
    match message {
        FeedToShard::Push(push) => push.receipt,
        _ => 0,
    }
}
