//! A shard on a fake kernel on a good day, for tests that play one situation. Time passes as the test says, or as long
//! as the shard says it would sleep.

use std::sync::Arc;

use halley_gateway::io::Wait;
use halley_gateway::io::sim::{ClientId, Faults, SimIo};
use halley_gateway::limits::{Rate, SPARE_SLOTS, ShardSettings};
use halley_gateway::mesh::msg::{ConnRef, ControlToShard, ShardTarget, ShardToControl};
use halley_gateway::mesh::port::{self, Receiver, Sender};
use halley_gateway::mesh::wake::Doorbell;
use halley_gateway::shard::application::Goim;
use halley_gateway::shard::stats::{Counts, ShardStats};
use halley_gateway::shard::{Listener, Now, Shard, ShardLinks, ShardParts, Transport};
use halley_protocol::goim::op;

use crate::client::{Client, Fate, KEY_OP};
use crate::feed::Feed;

/// Listeners of a rig: the shard's own, and one of its neighbour.
pub const TCP: usize = 0;
pub const WEBSOCKET: usize = 1;
pub const NEIGHBOUR: usize = 2;

/// The neighbour's index.
pub const NEIGHBOUR_SHARD: u16 = 1;

/// Bytes of a client that always takes everything.
pub const WIDE: usize = 1 << 24;

pub const UNLIMITED: Rate = Rate { per_second: 0, burst: 0 };

pub struct Rig {
    pub shard: Shard<SimIo>,
    pub feed: Feed,
    pub stats: Arc<ShardStats>,
    pub clients: Vec<Client>,
    pub ms: u64,
    /// Connections whose token is to be decided, or was.
    pub asked: Vec<ConnRef>,
    to_shard: Sender<ControlToShard>,
    from_shard: Receiver<ShardToControl>,
    pushes: usize,
}

impl Rig {
    /// Listeners speak TLS if the settings have a certificate.
    pub fn new(capacity: u32, settings: ShardSettings) -> Rig {
        Rig::started(capacity, settings, true)
    }

    /// As [`Rig::new`], with listeners that may not listen yet.
    pub fn started(capacity: u32, settings: ShardSettings, open: bool) -> Rig {
        let io = SimIo::new(1, Faults::NONE, capacity + SPARE_SLOTS, 3);
        let doorbell = Arc::new(Doorbell::new().expect("an eventfd"));
        let (feed_to, from_feed) = port::channel(1024, doorbell.clone());
        let (to_feed, feed_from) = port::channel(1024, doorbell.clone());
        let (to_shard, from_control) = port::channel(64, doorbell.clone());
        let (to_control, from_shard) = port::channel(64, doorbell.clone());
        let tls = settings.tls.is_some();
        let listener = |owner, transport| Listener { owner, transport, tls };
        let stats = Arc::new(ShardStats::default());
        let parts = ShardParts {
            index: 0,
            listeners: vec![
                listener(0, Transport::Tcp),
                listener(0, Transport::WebSocket),
                listener(NEIGHBOUR_SHARD, Transport::Tcp),
            ],
            open,
            capacity,
            settings: Arc::new(settings),
            quota: Arc::default(),
            stats: stats.clone(),
            seed: [7; 32],
            application: Goim,
        };
        let links = ShardLinks { from_feed, to_feed, from_control, to_control, doorbell };
        Rig {
            shard: Shard::new(io, links, parts),
            feed: Feed::new(feed_to, feed_from),
            stats,
            clients: Vec::new(),
            ms: 0,
            asked: Vec::new(),
            to_shard,
            from_shard,
            pushes: 0,
        }
    }

    pub fn counts(&self) -> &Counts {
        self.shard.counts()
    }

    /// One turn; afterwards clients write what they want to say, and those that read do.
    pub fn turn(&mut self) -> Wait {
        let us = u32::try_from((self.ms * 1000) & u64::from(u32::MAX)).expect("cut to 32 bits");
        let wait = self.shard.turn(Now { ms: self.ms, us, unix_s: self.ms / 1000 });
        self.feed.step(usize::MAX);
        while let Some(report) = self.from_shard.pop() {
            if let ShardToControl::Authenticate { conn, .. } = report {
                self.asked.push(conn);
            }
        }
        for client in &mut self.clients {
            let bytes: Vec<u8> = client.outgoing.drain(..).collect();
            if !bytes.is_empty() {
                self.shard.io().write(client.id, &bytes);
            }
            if client.reading {
                client.hear(&self.shard.io().read(client.id));
            }
        }
        wait
    }

    pub fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    /// One turn, and the time that the shard sleeps after it if nothing wakes it.
    pub fn turn_and_sleep(&mut self) {
        if let Wait::AtMost(most) = self.turn() {
            self.ms += u64::try_from(most.as_millis()).expect("ticks are short");
        }
    }

    pub fn say(&mut self, message: ControlToShard) {
        self.to_shard.push(message).expect("room in the ring");
        self.to_shard.flush();
    }

    /// A client at a listener, upgraded if it must be; returns its index.
    pub fn connect(&mut self, listener: usize) -> usize {
        let id = self.shard.io().connect(listener, WIDE);
        let mut client = Client::new(id, self.clients.len(), listener == WEBSOCKET);
        if client.websocket {
            client.say_upgrade();
        }
        self.clients.push(client);
        self.turns(5);
        self.clients.len() - 1
    }

    /// A client that is logged in and accepts [`KEY_OP`].
    pub fn log_in(&mut self, listener: usize) -> usize {
        let index = self.connect(listener);
        let client = &mut self.clients[index];
        let token = format!("{{\"mid\":1,\"key\":\"key{index}\",\"accepts\":[{KEY_OP}]}}");
        let seq = client.say(op::AUTH, token.as_bytes(), [0; 4], 1);
        client.expected.push_back((op::AUTH_REPLY, seq, Vec::new()));
        self.turns(8);
        assert!(self.clients[index].authenticated);
        index
    }

    /// Many clients at once, logged in and accepting [`KEY_OP`].
    pub fn log_in_crowd(&mut self, listener: usize, count: usize) {
        let begin = self.clients.len();
        for index in begin..begin + count {
            let id = self.shard.io().connect(listener, WIDE);
            let mut client = Client::new(id, index, false);
            let token = format!("{{\"mid\":1,\"key\":\"key{index}\",\"accepts\":[{KEY_OP}]}}");
            let seq = client.say(op::AUTH, token.as_bytes(), [0; 4], 1);
            client.expected.push_back((op::AUTH_REPLY, seq, Vec::new()));
            self.clients.push(client);
            if index % 50 == 49 {
                self.turns(10);
            }
        }
        self.turns(10);
        assert!(self.clients[begin..].iter().all(|client| client.authenticated));
    }

    /// From now on the client reads nothing, and its socket takes nothing.
    pub fn stop_reading(&mut self, index: usize) {
        self.clients[index].reading = false;
        let id = self.id(index);
        self.shard.io().set_window(id, 0);
    }

    pub fn read_again(&mut self, index: usize) {
        self.clients[index].reading = true;
        let id = self.id(index);
        self.shard.io().set_window(id, WIDE);
    }

    pub fn id(&self, index: usize) -> ClientId {
        self.clients[index].id
    }

    /// As [`Rig::push`], to everybody and slowly: it keeps no order against others.
    pub fn push_slowly(&mut self, filler: usize) -> usize {
        let number = self.pushes;
        self.pushes += 1;
        for client in &mut self.clients {
            client.note_push(number, Fate::Paced);
        }
        self.feed.push(number, ShardTarget::All { per_second: 1 }, KEY_OP, filler);
        number
    }

    /// Put a push in the shard's inbox; anybody may get it.
    pub fn push(&mut self, target: ShardTarget, filler: usize) -> usize {
        let number = self.pushes;
        self.pushes += 1;
        for client in &mut self.clients {
            client.note_push(number, Fate::Possible);
        }
        self.feed.push(number, target, KEY_OP, filler);
        number
    }
}
