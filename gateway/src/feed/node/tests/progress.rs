//! Full rings never stand still together: whatever the schedule, with rings of one, two or four slots, every login is
//! answered, every push is delivered in order, every count becomes known.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

/// A shard that keeps its news until there is room, and always takes what feed says.
#[derive(Default)]
struct Model {
    news: VecDeque<ShardToFeed>,
    /// Logged in and not told to go.
    online: BTreeSet<u32>,
    /// Left by themselves; feed may still be about to hear of it.
    left: BTreeSet<u32>,
    /// Waiting for an answer.
    asked: BTreeSet<u32>,
    /// Members of the room, told to feed or about to be.
    members: u32,
    others: u32,
    pushes: Vec<u32>,
    next_slot: u32,
}

const ROOM: RoomRef = RoomRef { slot: 0, generation: 0 };

impl Model {
    fn write(&mut self, ends: &mut Shard, at_most: usize) {
        for _ in 0..at_most {
            let Some(news) = self.news.pop_front() else { break };
            if let Err(news) = ends.to_feed.push(news) {
                self.news.push_front(news);
                break;
            }
        }
        ends.to_feed.flush();
    }

    fn read(&mut self, ends: &mut Shard, at_most: usize) {
        for _ in 0..at_most {
            let Some(message) = ends.from_feed.pop() else { break };
            match message {
                FeedToShard::Registered { conn } => {
                    assert!(self.asked.remove(&conn.slot), "answered twice");
                    self.online.insert(conn.slot);
                }
                FeedToShard::Close { conn, .. } => {
                    if !self.left.remove(&conn.slot) {
                        assert!(self.online.remove(&conn.slot), "closed before the answer, or twice");
                        self.news.push_back(ShardToFeed::Gone { conn });
                    }
                }
                FeedToShard::Room { others, .. } => self.others = others,
                FeedToShard::Shed(_) => panic!("nobody asked for it"),
                FeedToShard::Push(push) => {
                    if let ShardTarget::Conn(conn) = push.target {
                        let known = self.online.contains(&conn.slot) || self.left.contains(&conn.slot);
                        assert!(known, "a push before the answer or after the close");
                    }
                    if let (ShardTarget::Room(_), Some(payload)) = (&push.target, &push.payload) {
                        let number = payload.bytes(false)[16..].try_into().expect("a number of four bytes");
                        self.pushes.push(u32::from_be_bytes(number));
                    }
                    if push.receipt != 0 {
                        self.news.push_back(ShardToFeed::Receipt { id: push.receipt, matched: 1 });
                    }
                }
            }
        }
    }

    fn act(&mut self, random: &mut SmallRng) {
        match random.random_range(0..4) {
            0 | 1 => {
                let conn = conn(self.next_slot);
                self.next_slot += 1;
                self.asked.insert(conn.slot);
                self.news.push_back(register(conn, &format!("key-{}", random.random_range(0..6)), 1));
            }
            2 => {
                self.members = random.random_range(0..5);
                let news = ShardToFeed::Room { room: ROOM, name: None, online: self.members, closed: false };
                self.news.push_back(news);
            }
            _ => {
                if let Some(slot) = self.online.pop_first() {
                    self.left.insert(slot);
                    self.news.push_back(ShardToFeed::Gone { conn: conn(slot) });
                }
            }
        }
    }
}

fn run(seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let shards = random.random_range(1..=4);
    let mut bench = Bench::new(shards, 1 << random.random_range(0..3));
    let mut models: Vec<Model> = (0..shards).map(|_| Model::default()).collect();
    for (shard, model) in models.iter_mut().enumerate() {
        bench.open_room(shard, ROOM.slot, "live://1", 0);
        // A ring of one slot holds the answer, and then a count.
        for _ in 0..2 {
            model.read(&mut bench.shards[shard], 1);
            bench.node.turn();
        }
    }
    let mut numbers = 0u32..;
    let mut answers = Vec::new();
    let mut receipts = Vec::new();
    for _ in 0..400 {
        let shard = random.random_range(0..shards);
        match random.random_range(0..8) {
            0..3 => bench.node.turn(),
            3 => models[shard].act(&mut random),
            4 => models[shard].write(&mut bench.shards[shard], random.random_range(1..4)),
            5 => models[shard].read(&mut bench.shards[shard], random.random_range(1..4)),
            _ => {
                let body = numbers.next().unwrap_or_default().to_be_bytes();
                let body = || Some(Body::Message(Bytes::copy_from_slice(&body)));
                let keys = vec!["key-0".to_owned(), format!("key-{}", random.random_range(0..6))];
                let room = Target::Room("live://1".to_owned());
                let pushes = vec![
                    Delivery { target: room, op: 1, body: body(), count: false, written_ms: 0 },
                    Delivery { target: Target::Keys(keys), op: 2, body: body(), count: true, written_ms: 0 },
                    Delivery { target: Target::All { speed: 3 }, op: 3, body: body(), count: true, written_ms: 0 },
                ];
                answers.push(bench.deliver(pushes));
            }
        }
    }
    // From here on everybody gets a turn, which must be enough to finish everything.
    for _ in 0..20_000 {
        bench.node.turn();
        for (model, ends) in models.iter_mut().zip(&mut bench.shards) {
            model.read(ends, 1);
            model.write(ends, 1);
        }
    }
    for answer in &mut answers {
        receipts.extend(answer.try_recv().expect("delivered").into_iter().flatten());
    }
    for receipt in &mut receipts {
        receipt.try_recv().expect("every shard has answered");
    }
    let sent: Vec<u32> = (0..numbers.start).collect();
    let mut known = BTreeMap::new();
    for (shard, model) in models.iter().enumerate() {
        assert!(model.asked.is_empty() && model.news.is_empty(), "shard {shard} still waits");
        assert_eq!(model.pushes, sent, "pushes to the room of shard {shard}");
        let all: u32 = models.iter().map(|model| model.members).sum();
        assert_eq!(model.others, all - model.members, "the count that shard {shard} knows");
        known.extend(model.online.iter().map(|&slot| ((shard, slot), ())));
    }
    assert_eq!(bench.stats.read().logins, known.len() as u64, "feed and shards agree who is online");
    assert!(known.len() <= 6, "one login per key");
}

#[test]
fn tiny_rings_never_stand_still() {
    for seed in 0..150 {
        if let Err(failure) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("failed with seed {seed}");
            std::panic::resume_unwind(failure);
        }
    }
}
