//! One run: a shard on a fake kernel, its clients, its directory, and a script of random acts.

use std::sync::Arc;

use halley_gateway::conn::close::CloseReason;
use halley_gateway::io::sim::{Faults, ServerEnd, SimIo};
use halley_gateway::limits::{Rate, SPARE_SLOTS, ShardSettings, SlowConsumer, TICK_MS};
use halley_gateway::mesh::msg::{ControlToShard, ShardTarget, ShardToControl};
use halley_gateway::mesh::port::{self, Receiver, Sender};
use halley_gateway::mesh::wake::Doorbell;
use halley_gateway::shard::stats::{Counts, ShardStats};
use halley_gateway::shard::{Application, Listener, Now, Shard, ShardLinks, ShardParts, Transport};
use halley_protocol::goim::op;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::client::{Client, Fate, KEY_OP};
use crate::ends::{check_client, check_shared_key, check_totals};
use crate::feed::Feed;

const ROOMS: [&str; 3] = ["live://1", "live://2", "room with spaces"];
const CAPACITY: u32 = 12;

/// Milliseconds for a login: in most runs more than a run has, in the others so few that some take too long.
const HANDSHAKE_MS: u64 = 3_600_000;
const HANDSHAKE_HASTY_MS: u64 = 1_000;

/// Milliseconds without a heartbeat, likewise: so few that nobody is left when all is quiet.
const HEARTBEAT_MS: u64 = 3_600_000;
const HEARTBEAT_HASTY_MS: u64 = 3_000;

/// What a push is to a client.
type Judge = Box<dyn Fn(&Client) -> Fate>;

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

    fn act(&mut self) {
        let mask = self.random.random();
        match self.random.random_range(0..100) {
            0..15 => self.connect(),
            15..40 => self.push(),
            _ if self.clients.is_empty() => self.connect(),
            roll => {
                let index = self.random.random_range(0..self.clients.len());
                if !self.clients[index].finished {
                    self.client_act(index, roll, mask);
                }
            }
        }
    }

    fn connect(&mut self) {
        // The shard may be full of those who are leaving, but not of those who stay: everybody is served in the end.
        if self.clients.iter().filter(|client| !client.finished).count() >= CAPACITY as usize {
            return;
        }
        let websocket = self.random.random_bool(0.5);
        let window = if self.patient { 1 << 24 } else { self.random.random_range(20..2000) };
        let id = self.shard.io().connect(usize::from(websocket), window);
        let mut client = Client::new(id, self.clients.len(), websocket);
        client.slow = !self.patient;
        client.deaf = !self.patient;
        client.since_ms = self.now.ms;
        if websocket {
            client.say_upgrade();
        }
        self.clients.push(client);
    }

    fn client_act(&mut self, index: usize, roll: u32, mask: [u8; 4]) {
        let fragments = self.random.random_range(1..4);
        let key_number = if self.random.random_bool(0.1) { 0 } else { index };
        let room = ROOMS[self.random.random_range(0..ROOMS.len())];
        let leave = self.random.random_bool(0.3);
        let client = &mut self.clients[index];
        if !client.auth_sent && roll < 97 {
            let token = format!(
                "{{\"mid\":{index},\"key\":\"key{key_number}\",\"room_id\":\"{room}\",\"accepts\":[{KEY_OP}]}}"
            );
            let seq = client.say(op::AUTH, token.as_bytes(), mask, fragments);
            client.expected.push_back((op::AUTH_REPLY, seq, Vec::new()));
            client.auth_sent = true;
            client.room = Some(room.to_owned());
            client.accepts = vec![KEY_OP];
            client.key_number = Some(key_number);
            client.beat_ms = Some(self.now.ms);
            if key_number == 0 {
                self.share_key();
            }
            return;
        }
        match roll {
            40..55 => {
                let seq = client.say(op::HEARTBEAT, b"", mask, fragments);
                client.expected.push_back((op::HEARTBEAT_REPLY, seq, Vec::new()));
                client.beats_said.push_back(self.now.ms);
            }
            55..70 => {
                let room = if leave { "" } else { room };
                let seq = client.say(op::CHANGE_ROOM, room.as_bytes(), mask, fragments);
                client.expected.push_back((op::CHANGE_ROOM_REPLY, seq, room.as_bytes().to_vec()));
                client.rooms_asked.push_back(room.to_owned());
            }
            70..76 => {
                let (op, reply) =
                    if leave { (op::UNSUBSCRIBE, op::UNSUBSCRIBE_REPLY) } else { (op::SUBSCRIBE, op::SUBSCRIBE_REPLY) };
                let body = (KEY_OP + 1).to_string();
                let seq = client.say(op, body.as_bytes(), mask, fragments);
                client.expected.push_back((reply, seq, body.into_bytes()));
                client.accept_changes += 1;
            }
            76..82 => {
                let body = vec![b'u'; self.random.random_range(0..600)];
                let client = &mut self.clients[index];
                let seq = client.say(op::SEND_MESSAGE, &body, mask, fragments);
                client.expected.push_back((op::SEND_MESSAGE, seq, Vec::new()));
            }
            82..87 if client.websocket => {
                client.say_raw(9, true, b"ping", mask);
                client.expected.push_back((-10, 0, b"ping".to_vec()));
            }
            87..91 => {
                client.reading = !client.reading;
                client.deaf = true;
            }
            91..93 if client.websocket => {
                client.say_raw(8, true, &1000u16.to_be_bytes(), mask);
                client.finished = true;
                client.may_end.allow(CloseReason::PeerClosed);
            }
            93..95 => {
                client.outgoing.extend([0xff; 40]);
                client.finished = true;
                client.may_end.allow(if client.websocket {
                    CloseReason::WebSocketProtocol
                } else {
                    CloseReason::BadFrame
                });
            }
            95..97 => self.shutdown(index),
            97..99 => self.reset(index),
            _ => {}
        }
    }

    /// Somebody has named the key of client 0. If that makes two, who stays is the directory's business.
    fn share_key(&mut self) {
        let mut sharers: Vec<_> = self.clients.iter_mut().filter(|client| client.key_number == Some(0)).collect();
        if sharers.len() < 2 {
            return;
        }
        for client in &mut sharers {
            client.slow = true;
            client.may_end.allow(CloseReason::KeyReplaced);
        }
    }

    /// Says everything, then FIN.
    fn shutdown(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.finished = true;
        let rest: Vec<u8> = client.outgoing.drain(..).collect();
        client.wrote |= !rest.is_empty();
        client.may_end.allow(if client.wrote { CloseReason::PeerClosed } else { CloseReason::Probe });
        self.shard.io().write(client.id, &rest);
        self.shard.io().shutdown(client.id);
    }

    /// Vanishes; what it wrote may be lost with it.
    fn reset(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.finished = true;
        client.outgoing.clear();
        if client.wrote {
            client.may_end.allow(CloseReason::PeerReset);
        }
        if !client.authenticated {
            client.may_end.allow(CloseReason::Probe);
        }
        self.shard.io().reset(client.id);
    }

    fn push(&mut self) {
        let number = self.pushes;
        self.feed.step(usize::MAX);
        // Long ones do not fit one coalesced send, or are sent alone.
        let filler = if self.patient && self.random.random_bool(0.2) {
            self.random.random_range(0..90_000)
        } else {
            self.random.random_range(0..60)
        };
        let (target, op, chosen): (ShardTarget, i32, Judge) = match self.random.random_range(0..3) {
            0 => {
                let room = ROOMS[self.random.random_range(0..ROOMS.len())];
                let Some(reference) = self.feed.rooms.get(room) else { return };
                let fate = move |client: &Client| match &client.room {
                    _ if client.rooms_asked.iter().any(|asked| asked == room) => Fate::Possible,
                    Some(now) if now == room && client.authenticated && client.rooms_asked.is_empty() => Fate::Due,
                    Some(now) if now == room => Fate::Possible,
                    _ => Fate::Forbidden,
                };
                (ShardTarget::Room(*reference), KEY_OP + 2, Box::new(fate))
            }
            1 => {
                let key = format!("key{}", self.random.random_range(0..self.clients.len().max(1)));
                let Some(&conn) = self.feed.logins.get(&key) else { return };
                let fate = move |client: &Client| {
                    if format!("key{}", client.number) != key {
                        // A client may hold the key of client 0.
                        return if key == "key0" { Fate::Possible } else { Fate::Forbidden };
                    }
                    if client.authenticated { Fate::Due } else { Fate::Possible }
                };
                (ShardTarget::Conn(conn), KEY_OP, Box::new(fate))
            }
            _ => {
                let fate = |client: &Client| if client.authenticated { Fate::Due } else { Fate::Possible };
                (ShardTarget::All { per_second: 0 }, KEY_OP, Box::new(fate))
            }
        };
        self.pushes += 1;
        for client in &mut self.clients {
            let fate = chosen(client);
            client.note_push(number, fate);
            if self.closes_slow && fate != Fate::Forbidden {
                client.may_end.allow(CloseReason::SlowConsumer);
            }
        }
        self.feed.push(number, target, op, filler);
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
