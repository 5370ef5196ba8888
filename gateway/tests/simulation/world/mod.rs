//! One run: a shard on a fake kernel, its clients, its directory and its control, and a script of acts (`script`) that
//! is decided by chance or by a tape.

mod control;
mod script;

use std::sync::Arc;

use halley_gateway::close::CloseReason;
use halley_gateway::conn::tls::INCOMING_BYTES_MAX;
use halley_gateway::io::sim::{ClientId, Faults, ServerEnd, SimIo};
use halley_gateway::limits::{AuthMode, Rate, SPARE_SLOTS, ShardSettings, SlowConsumer, TICK_MS};
use halley_gateway::mesh::msg::ControlToShard;
use halley_gateway::mesh::port;
use halley_gateway::mesh::wake::Doorbell;
use halley_gateway::shard::application::Goim;
use halley_gateway::shard::stats::{Counts, ShardStats};
use halley_gateway::shard::{Listener, Now, Shard, ShardLinks, ShardParts, Transport};

use crate::choices::Choices;
use crate::cleartext::Sides;
use crate::client::{Client, Fate};
use crate::ends::{check_client, check_shared_key, check_totals};
use crate::feed::Feed;

use control::Control;

const CAPACITY: u32 = 12;

/// Milliseconds for a login: in most runs more than a run has, in the others so few that some take too long.
const HANDSHAKE_MS: u64 = 3_600_000;
const HANDSHAKE_HASTY_MS: u64 = 1_000;

/// Milliseconds without a heartbeat, likewise: so few that nobody is left when all is quiet.
const HEARTBEAT_MS: u64 = 3_600_000;
const HEARTBEAT_HASTY_MS: u64 = 3_000;

/// Bytes of pushes that may wait on one connection, where nobody is dropped for slowness, and where many are.
const QUEUE_BYTES: u32 = 1 << 24;
const QUEUE_SHORT_BYTES: u32 = 300;

/// Window of a client that always takes everything.
const WIDE: usize = 1 << 24;

/// Bytes that one TLS session may hold: what is not whole and a receive behind it, and one send, made by doubling.
const SESSION_BYTES_MAX: u64 = INCOMING_BYTES_MAX as u64 + 256 + 2 * (16 * 1024 + 8192);

pub struct World<C> {
    choices: C,
    shard: Shard<SimIo>,
    feed: Feed,
    control: Control,
    clients: Vec<Client>,
    sides: [Sides; 2],
    settings: ShardSettings,
    now: Now,
    pushes: usize,
    /// Numbers of the pushes that go out at a pace.
    paced: Vec<usize>,
    /// Nobody is dropped for slowness so far, so every due push must come.
    patient: bool,
    /// Who reads too slowly is ended, since some time.
    closes_slow: bool,
    /// Whose window was narrowed; when all is to come to rest it widens again.
    narrowed: Vec<ClientId>,
    /// Somebody has said what nobody can foresee: it may have taken another's key.
    wild: bool,
    /// Everybody is being sent away.
    drained: bool,
    handshake_ms: u64,
    heartbeat_ms: u64,
    turns_since_leap: usize,
}

impl<C: Choices> World<C> {
    pub fn new(mut choices: C) -> World<C> {
        let faults = if choices.chance(20) { Faults::NONE } else { Faults::ALL };
        let io = SimIo::new(choices.below(1 << 16) as u64, faults, CAPACITY + SPARE_SLOTS, 4);
        let doorbell = Arc::new(Doorbell::new().expect("an eventfd"));
        let (feed_to, from_feed) = port::channel(1024, doorbell.clone());
        let (to_feed, feed_from) = port::channel(if choices.chance(30) { 2 } else { 1024 }, doorbell.clone());
        let (to_shard, from_control) = port::channel(64, doorbell.clone());
        let (to_control, from_shard) = port::channel(if choices.chance(30) { 2 } else { 64 }, doorbell.clone());
        let patient = choices.chance(50);
        let handshake_ms = if choices.chance(25) { HANDSHAKE_HASTY_MS } else { HANDSHAKE_MS };
        let heartbeat_ms = if choices.chance(15) { HEARTBEAT_HASTY_MS } else { HEARTBEAT_MS };
        let unlimited = Rate { per_second: 0, burst: 0 };
        let record_bytes_max = *choices.pick(&[None, Some(32), Some(200)]);
        let sides = [&rustls::version::TLS13, &rustls::version::TLS12]
            .map(|version| Sides::cleartext(version, record_bytes_max));
        let settings = ShardSettings {
            auth: if choices.chance(35) { AuthMode::Ask } else { AuthMode::Open },
            tls: Some(sides[0].server.clone()),
            queue_bytes_max: if patient { QUEUE_BYTES } else { QUEUE_SHORT_BYTES },
            handshake_timeout_ms: handshake_ms,
            heartbeat_timeout_ms: heartbeat_ms,
            slow_consumer: *choices.pick(&SLOW_CONSUMERS),
            frames: unlimited,
            bytes: unlimited,
            room_changes: unlimited,
            connections_per_address_max: if choices.chance(20) { 1 } else { 0 },
            ..ShardSettings::default()
        };
        let closes_slow = !patient && settings.slow_consumer == SlowConsumer::Close;
        let listener = |transport, tls| Listener { owner: 0, transport, tls };
        let parts = ShardParts {
            index: 0,
            listeners: vec![
                listener(Transport::Tcp, false),
                listener(Transport::WebSocket, false),
                listener(Transport::Tcp, true),
                listener(Transport::WebSocket, true),
            ],
            open: true,
            capacity: CAPACITY,
            settings: Arc::new(settings.clone()),
            quota: Arc::default(),
            stats: Arc::new(ShardStats::default()),
            seed: [7; 32],
            application: Goim,
        };
        let links = ShardLinks { from_feed, to_feed, from_control, to_control, doorbell };
        World {
            choices,
            shard: Shard::new(io, links, parts),
            feed: Feed::new(feed_to, feed_from),
            control: Control::new(to_shard, from_shard),
            clients: Vec::new(),
            sides,
            settings,
            now: Now::default(),
            pushes: 0,
            paced: Vec::new(),
            patient,
            closes_slow,
            narrowed: Vec::new(),
            wild: false,
            drained: false,
            handshake_ms,
            heartbeat_ms,
            turns_since_leap: 0,
        }
    }

    /// The whole run; returns what the shard counted, for comparison with a replay.
    pub fn run(mut self) -> Counts {
        for _ in 0..self.choices.acts() {
            if self.choices.is_over() {
                break;
            }
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
        self.turns_since_leap += 1;
        self.now.ms += self.choices.below(20) as u64;
        self.now.us = u32::try_from((self.now.ms * 1000) & u64::from(u32::MAX)).expect("cut to 32 bits");
        self.shard.turn(self.now);
        // None at all, three times in ten.
        let answers = [1, 2, 3, 1, 2, 3, 1, 0, 0, 0][self.choices.below(10)];
        self.feed.step(answers);
        self.control.hear();
        for _ in 0..answers {
            let outcome = self.choices.below(12);
            self.control.answer(outcome, &mut self.clients);
        }
        self.check_ends();
        let counts = self.shard.counts();
        assert_eq!(counts.transports.iter().sum::<u64>(), counts.connections, "each speaks something");
        assert!(counts.tls_buffered_bytes <= counts.connections * SESSION_BYTES_MAX, "{}", counts.tls_buffered_bytes);
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
        let ends: Vec<ServerEnd> = self.clients.iter().map(|client| io.server_end(client.id)).collect();
        for (client, &end) in self.clients.iter_mut().zip(&ends) {
            // Who is still connected to one that drains was never let in.
            if !self.drained || end != ServerEnd::Open {
                client.settle(end);
            }
            let late = client.may_end.allows(if client.authenticated {
                CloseReason::HeartbeatTimeout
            } else {
                CloseReason::HandshakeTimeout
            });
            let may_stay = client.finished || client.wild || self.drained;
            assert!(!late || may_stay || end != ServerEnd::Open, "client {} is late", client.number);
        }
        let ends = self.clients.iter().zip(ends);
        let counts = self.shard.counts();
        let waiting = self.clients.len() as u64 - counts.accepted;
        if !self.drained {
            let forgotten = ends.clone().filter(|(client, end)| client.finished && *end == ServerEnd::Open).count();
            assert_eq!(forgotten as u64, waiting, "whoever is finished and was let in has ended");
            assert!(waiting == 0 || counts.slots_used == u64::from(CAPACITY), "{waiting} wait though there is room");
        }
        if !self.wild {
            let sharers: Vec<_> = ends.filter(|(client, _)| client.key_number == Some(0)).collect();
            check_shared_key(&sharers);
        }
        assert!(counts.closes[CloseReason::KeyReplaced as usize] <= self.feed.replaced);
        check_totals(&self.clients, counts);
    }

    /// Clients write some of what they want to say and read some of what came.
    fn move_bytes(&mut self, all: bool) {
        for client in &mut self.clients {
            if client.tls.is_some() && !client.outgoing.is_empty() {
                let most = client.outgoing.len();
                client.take_outgoing(if all { most } else { self.choices.below(most + 1) });
            }
            let outgoing = client.take_outgoing(0);
            if !outgoing.is_empty() {
                let most = outgoing.len();
                let bytes = if all { most } else { self.choices.below(most + 1) };
                let bytes: Vec<u8> = outgoing.drain(..bytes).collect();
                client.wrote |= !bytes.is_empty();
                self.shard.io().write(client.id, &bytes);
            }
            if client.reading || all {
                let bytes = self.shard.io().read(client.id);
                client.hear_socket(&bytes);
            }
        }
    }

    /// Let everything happen that can.
    fn calm(&mut self) {
        let mut quiet = 0;
        for client in std::mem::take(&mut self.narrowed) {
            self.shard.io().set_window(client, WIDE);
        }
        for _ in 0..5_000 {
            let before = self.shard.counts().clone();
            self.move_bytes(true);
            self.now.ms += 200;
            self.turn();
            let now = Counts { turns: before.turns, ring_enters: before.ring_enters, ..self.shard.counts().clone() };
            let busy =
                now != before || self.shard.io().has_events() || !self.feed.is_quiet() || !self.control.is_quiet();
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
        self.control.say(ControlToShard::Drain { over_ms: 50 });
        for _ in 0..4 {
            self.now.ms += 6_000;
            self.calm();
        }
        let counts = self.shard.counts();
        let left =
            (counts.connections, counts.authenticated, counts.pending_handshakes, counts.slots_used, counts.rooms);
        assert_eq!(left, (0, 0, 0, 0, 0), "connections, authenticated, pending, slots, rooms");
        assert_eq!((counts.queued_bytes, counts.partial_bytes), (0, 0), "bytes waiting, bytes half received");
        assert_eq!(counts.tls_buffered_bytes, 0, "bytes of sessions");
        check_totals(&self.clients, counts);
        assert_eq!(counts.closes.iter().sum::<u64>(), counts.accepted, "every connection ended for one reason");
        assert_eq!(self.shard.io().open_sockets(), 0);
        assert!(self.feed.registered.is_empty() && self.feed.logins.is_empty() && self.feed.rooms.is_empty());
        assert_eq!(self.feed.receipts_due, 0, "every receipt was answered");
        for payload in &self.feed.payloads {
            assert_eq!(Arc::strong_count(payload), 1, "a payload outlived its deliveries");
        }
    }

    /// Somebody's doing cannot be foreseen from here on.
    fn goes_wild(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.wild = true;
        client.may_end.allow_all_of_a_client();
        self.wild = true;
        for client in &mut self.clients {
            client.may_end.allow(CloseReason::KeyReplaced);
            client.slow = true;
        }
    }

    /// A new client of this number.
    fn new_client(&mut self, id: ClientId, websocket: bool) -> Client {
        let mut client = Client::new(id, self.clients.len(), websocket);
        client.slow = !self.patient || self.wild;
        client.deaf = !self.patient;
        client.since_ms = self.now.ms;
        for &number in &self.paced {
            client.note_push(number, Fate::Paced);
        }
        if self.closes_slow && !self.paced.is_empty() {
            client.may_end.allow(CloseReason::SlowConsumer);
        }
        if self.wild {
            client.may_end.allow(CloseReason::KeyReplaced);
        }
        client
    }
}

const SLOW_CONSUMERS: [SlowConsumer; 3] = [SlowConsumer::DropNewest, SlowConsumer::DropOldest, SlowConsumer::Close];
