//! What happens in a run, at random: clients come, ask, misbehave and go, and somebody pushes. Owns the acts; each tells the model what
//! it makes due, and whom it gives a reason to be ended.

use halley_gateway::conn::close::CloseReason;
use halley_gateway::mesh::msg::ShardTarget;
use halley_protocol::goim::op;
use rand::Rng;

use super::{CAPACITY, World};
use crate::client::{Client, Fate, KEY_OP};

const ROOMS: [&str; 3] = ["live://1", "live://2", "room with spaces"];

/// What a push is to a client.
type Judge = Box<dyn Fn(&Client) -> Fate>;

impl World {
    pub(super) fn act(&mut self) {
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
    pub(super) fn reset(&mut self, index: usize) {
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
}
