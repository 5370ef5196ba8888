//! A directory for the simulation: answers what feed would answer, late but in order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use halley_gateway::close::CloseReason;
use halley_gateway::mesh::msg::{ConnRef, FeedToShard, RoomRef, ShardPush, ShardTarget, ShardToFeed, Shed};
use halley_gateway::mesh::port::{Receiver, Sender};
use halley_protocol::payload::Payload;

pub struct Feed {
    pub to_shard: Sender<FeedToShard>,
    pub from_shard: Receiver<ShardToFeed>,
    late: VecDeque<FeedToShard>,
    /// Key → connection.
    pub logins: HashMap<String, ConnRef>,
    /// Logins the shard has not yet said goodbye of: whose key, and which user's, who is the client of this number.
    pub registered: HashMap<ConnRef, (String, i64)>,
    /// Room → the shard's room.
    pub rooms: HashMap<String, RoomRef>,
    pub payloads: Vec<Arc<Payload>>,
    pub receipts_due: u64,
    /// Pushes to rooms, by number, that the shard has perhaps not looked at yet.
    pub unseen: BTreeMap<usize, String>,
    /// Logins that were told to end because their key logged in again.
    pub replaced: u64,
}

impl Feed {
    pub fn new(to_shard: Sender<FeedToShard>, from_shard: Receiver<ShardToFeed>) -> Feed {
        Feed {
            to_shard,
            from_shard,
            late: VecDeque::new(),
            logins: HashMap::new(),
            registered: HashMap::new(),
            rooms: HashMap::new(),
            payloads: Vec::new(),
            receipts_due: 0,
            unseen: BTreeMap::new(),
            replaced: 0,
        }
    }

    /// Hear the shard, and answer up to `answers` of what is due.
    pub fn step(&mut self, answers: usize) {
        while let Some(news) = self.from_shard.pop() {
            match news {
                ShardToFeed::Register { conn, login } => {
                    let key = login.key.to_string();
                    assert!(
                        self.registered.insert(conn, (key.clone(), login.mid)).is_none(),
                        "one registration per connection"
                    );
                    if let Some(old) = self.logins.insert(key, conn) {
                        self.replaced += 1;
                        self.late.push_back(FeedToShard::Close { conn: old, reason: CloseReason::KeyReplaced });
                    }
                    self.late.push_back(FeedToShard::Registered { conn });
                }
                ShardToFeed::Gone { conn } => {
                    let (key, _) = self.registered.remove(&conn).expect("gone only after its registration");
                    if self.logins.get(&key) == Some(&conn) {
                        self.logins.remove(&key);
                    }
                }
                ShardToFeed::Room { room, name, closed, .. } => {
                    if let Some(name) = name {
                        assert!(self.rooms.insert(name.to_string(), room).is_none(), "announced once");
                        self.late.push_back(FeedToShard::Room { room, others: 0 });
                    }
                    if closed {
                        self.rooms.retain(|_, other| *other != room);
                    }
                }
                ShardToFeed::Receipt { id, .. } => {
                    self.receipts_due -= 1;
                    let number = usize::try_from(id).expect("small") - 1;
                    self.unseen.remove(&number);
                }
            }
        }
        for _ in 0..answers {
            let Some(message) = self.late.pop_front() else { break };
            if let Err(message) = self.to_shard.push(message) {
                self.late.push_front(message);
                break;
            }
        }
        self.to_shard.flush();
    }

    pub fn is_quiet(&mut self) -> bool {
        self.late.is_empty() && self.from_shard.is_empty()
    }

    /// Everything answered so far goes first, then the push: order of the ring.
    pub fn push(&mut self, number: usize, target: ShardTarget, op: i32, filler: usize) {
        let body = format!("{number:08}{}", "x".repeat(filler));
        let payload = Arc::new(Payload::message(op, body.as_bytes()));
        self.payloads.push(payload.clone());
        self.say(ShardPush { target, op, payload: Some(payload), receipt: number as u64 + 1, written_ms: 0 });
    }

    /// Have the shard end those who are logged in when it has everything that was answered and pushed so far.
    pub fn shed(&mut self, order: Shed) {
        self.step(usize::MAX);
        self.to_shard.push(FeedToShard::Shed(order)).expect("the ring has room in a simulation");
        self.to_shard.flush();
    }

    /// A push whose record was written so many milliseconds after the epoch.
    pub fn push_written(&mut self, target: ShardTarget, op: i32, written_ms: u32) {
        let payload = Arc::new(Payload::message(op, b"written"));
        self.payloads.push(payload.clone());
        self.say(ShardPush { target, op, payload: Some(payload), receipt: u64::from(u32::MAX), written_ms });
    }

    /// How many would a push reach?
    pub fn count(&mut self, target: ShardTarget, op: i32) {
        self.say(ShardPush { target, op, payload: None, receipt: u64::from(u32::MAX), written_ms: 0 });
    }

    fn say(&mut self, push: ShardPush) {
        self.step(usize::MAX);
        self.receipts_due += 1;
        self.to_shard.push(FeedToShard::Push(push)).expect("the ring has room in a simulation");
        self.to_shard.flush();
    }
}
