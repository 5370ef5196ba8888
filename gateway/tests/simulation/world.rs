//! One run: a shard on a fake kernel, its clients, its directory, and a script of random acts (`script`).

mod script;

use std::sync::Arc;

use halley_gateway::conn::close::CloseReason;
use halley_gateway::io::sim::{Faults, ServerEnd, SimIo};
use halley_gateway::limits::{Rate, SPARE_SLOTS, ShardSettings, SlowConsumer, TICK_MS};
use halley_gateway::mesh::msg::{ControlToShard, ShardToControl};
use halley_gateway::mesh::port::{self, Receiver, Sender};
use halley_gateway::mesh::wake::Doorbell;
use halley_gateway::shard::stats::{Counts, ShardStats};
use halley_gateway::shard::{Application, Listener, Now, Shard, ShardLinks, ShardParts, Transport};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::client::Client;
use crate::ends::{check_client, check_shared_key, check_totals};
use crate::feed::Feed;

const CAPACITY: u32 = 12;

/// Milliseconds for a login: in most runs more than a run has, in the others so few that some take too long.
const HANDSHAKE_MS: u64 = 3_600_000;
const HANDSHAKE_HASTY_MS: u64 = 1_000;

/// Milliseconds without a heartbeat, likewise: so few that nobody is left when all is quiet.
const HEARTBEAT_MS: u64 = 3_600_000;
const HEARTBEAT_HASTY_MS: u64 = 3_000;

pub struct World {
    random: SmallRng,
    shard: Shard<SimIo>,
    feed: Feed,
    to_shard: Sender<ControlToShard>,
    from_shard: Receiver<ShardToControl>,
    clients: Vec<Client>,
    now: Now,
    pushes: usize,
    /// Nobody is dropped for slowness in this run, so every due push must come.
    patient: bool,
    /// Who reads too slowly is ended in this run.
    closes_slow: bool,
    handshake_ms: u64,
    heartbeat_ms: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut random = SmallRng::seed_from_u64(seed);
        let faults = if random.random_bool(0.2) { Faults::NONE } else { Faults::ALL };
        let io = SimIo::new(random.random(), faults, CAPACITY + SPARE_SLOTS, 2);
        let doorbell = Arc::new(Doorbell::new().expect("an eventfd"));
        let (feed_to, from_feed) = port::channel(1024, doorbell.clone());
        let (to_feed, feed_from) = port::channel(if random.random_bool(0.3) { 2 } else { 1024 }, doorbell.clone());
        let (to_shard, from_control) = port::channel(64, doorbell.clone());
        let (to_control, from_shard) = port::channel(64, doorbell.clone());
        let patient = random.random_bool(0.5);
        let handshake_ms = if random.random_bool(0.25) { HANDSHAKE_HASTY_MS } else { HANDSHAKE_MS };
        let heartbeat_ms = if random.random_bool(0.15) { HEARTBEAT_HASTY_MS } else { HEARTBEAT_MS };
        let unlimited = Rate { per_second: 0, burst: 0 };
        let settings = ShardSettings {
            queue_bytes_max: if patient { 1 << 24 } else { 300 },
            handshake_timeout_ms: handshake_ms,
            heartbeat_timeout_ms: heartbeat_ms,
            slow_consumer: match random.random_range(0..3) {
                0 => SlowConsumer::DropNewest,
                1 => SlowConsumer::DropOldest,
                _ => SlowConsumer::Close,
            },
            frames: unlimited,
            bytes: unlimited,
            room_changes: unlimited,
            connections_per_address_max: if random.random_bool(0.2) { 1 } else { 0 },
            ..ShardSettings::default()
        };
        let closes_slow = !patient && settings.slow_consumer == SlowConsumer::Close;
        let listener = |transport| Listener { owner: 0, transport, tls: false };
        let parts = ShardParts {
            index: 0,
            listeners: vec![listener(Transport::Tcp), listener(Transport::WebSocket)],
            capacity: CAPACITY,
            settings: Arc::new(settings),
            quota: Arc::default(),
            stats: Arc::new(ShardStats::default()),
            seed: [7; 32],
            application: Application::Goim,
        };
        let links = ShardLinks { from_feed, to_feed, from_control, to_control, doorbell };
        World {
            random,
            shard: Shard::new(io, links, parts),
            feed: Feed::new(feed_to, feed_from),
            to_shard,
            from_shard,
            clients: Vec::new(),
            now: Now::default(),
            pushes: 0,
            patient,
            closes_slow,
            handshake_ms,
            heartbeat_ms,
        }
    }

    /// The whole run; returns what the shard counted, for comparison with a replay.
    pub fn run(mut self) -> Counts {
        for _ in 0..self.random.random_range(50..300) {
            self.act();
            self.move_bytes(false);
            self.turn();
        }
        self.calm();
        if std::env::var_os("HALLEY_SEED").is_some() {
            eprintln!("{:#?}", self.shard.counts());
        }
        self.settle();
        self.end();
        self.shard.counts().clone()
    }

    fn turn(&mut self) {
        self.now.ms += self.random.random_range(0..20);
        self.now.us = u32::try_from((self.now.ms * 1000) & u64::from(u32::MAX)).expect("cut to 32 bits");
        self.shard.turn(self.now);
        let answers = if self.random.random_bool(0.3) { 0 } else { self.random.random_range(1..4) };
        self.feed.step(answers);
        while let Some(report) = self.from_shard.pop() {
            assert!(matches!(report, ShardToControl::Full { .. } | ShardToControl::Drained), "{report:?}");
        }
        self.check_ends();
    }

    /// After every turn: time is up for whoever has not logged in or beaten, and nobody is ended who may not be.
    fn check_ends(&mut self) {
        for client in &mut self.clients {
            if !client.authenticated && self.now.ms - client.since_ms >= self.handshake_ms {
                client.may_end.allow(CloseReason::HandshakeTimeout);
            }
            // The shard measures in whole ticks.
            if client.beat_ms.is_some_and(|beat_ms| self.now.ms - beat_ms + TICK_MS >= self.heartbeat_ms) {
                client.may_end.allow(CloseReason::HeartbeatTimeout);
            }
            check_client(client, self.shard.io().server_end(client.id));
        }
    }

    /// Everything that could happen has happened.
    fn settle(&mut self) {
        let io = self.shard.io();
        let ends: Vec<(&Client, ServerEnd)> =
            self.clients.iter().map(|client| (client, io.server_end(client.id))).collect();
        for (client, end) in &ends {
            client.settle(*end);
            let late = client.may_end.allows(if client.authenticated {
                CloseReason::HeartbeatTimeout
            } else {
                CloseReason::HandshakeTimeout
            });
            assert!(!late || client.finished || *end != ServerEnd::Open, "client {} is late", client.number);
        }
        let forgotten = ends.iter().filter(|(client, end)| client.finished && *end == ServerEnd::Open).count() as u64;
        let sharers: Vec<_> = ends.into_iter().filter(|(client, _)| client.key_number == Some(0)).collect();
        check_shared_key(&sharers);
        let counts = self.shard.counts();
        let waiting = self.clients.len() as u64 - counts.accepted;
        assert_eq!(forgotten, waiting, "whoever is finished and was let in has ended");
        assert!(waiting == 0 || counts.slots_used == u64::from(CAPACITY), "{waiting} wait though there is room");
        assert!(counts.closes[CloseReason::KeyReplaced as usize] <= self.feed.replaced);
        check_totals(&self.clients, counts);
    }

    /// Clients write some of what they want to say and read some of what came.
    fn move_bytes(&mut self, all: bool) {
        for client in &mut self.clients {
            if !client.outgoing.is_empty() {
                let most = client.outgoing.len();
                let bytes = if all { most } else { self.random.random_range(0..=most) };
                let bytes: Vec<u8> = client.outgoing.drain(..bytes).collect();
                client.wrote |= !bytes.is_empty();
                self.shard.io().write(client.id, &bytes);
            }
            if client.reading || all {
                let bytes = self.shard.io().read(client.id);
                client.hear(&bytes);
            }
        }
    }

    /// Let everything happen that can.
    fn calm(&mut self) {
        let mut quiet = 0;
        for _ in 0..5_000 {
            let before = self.shard.counts().clone();
            self.move_bytes(true);
            self.now.ms += 200;
            self.turn();
            let now = Counts { turns: before.turns, ring_enters: before.ring_enters, ..self.shard.counts().clone() };
            let busy = now != before || self.shard.io().has_events() || !self.feed.is_quiet();
            quiet = if busy { 0 } else { quiet + 1 };
            if quiet > 40 {
                return;
            }
        }
        panic!("the shard does not come to rest");
    }

    /// Everybody leaves: nothing may be left over.
    fn end(&mut self) {
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            client.may_end.allow(CloseReason::Drain);
            if self.shard.io().server_end(client.id) == ServerEnd::Open {
                self.reset(index);
            }
        }
        self.to_shard.push(ControlToShard::Drain { over_ms: 50 }).expect("room in the ring");
        self.to_shard.flush();
        for _ in 0..4 {
            self.now.ms += 6_000;
            self.calm();
        }
        let counts = self.shard.counts();
        let left =
            (counts.connections, counts.authenticated, counts.pending_handshakes, counts.slots_used, counts.rooms);
        assert_eq!(left, (0, 0, 0, 0, 0), "connections, authenticated, pending, slots, rooms");
        assert_eq!((counts.queued_bytes, counts.partial_bytes), (0, 0), "bytes waiting, bytes half received");
        check_totals(&self.clients, counts);
        assert_eq!(counts.closes.iter().sum::<u64>(), counts.accepted, "every connection ended for one reason");
        assert_eq!(self.shard.io().open_sockets(), 0);
        assert!(self.feed.registered.is_empty() && self.feed.logins.is_empty() && self.feed.rooms.is_empty());
        assert_eq!(self.feed.receipts_due, 0, "every receipt was answered");
        for payload in &self.feed.payloads {
            assert_eq!(Arc::strong_count(payload), 1, "a payload outlived its deliveries");
        }
    }
}
