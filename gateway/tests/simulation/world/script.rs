//! What happens in a run: clients come, ask, misbehave and go, somebody pushes, and the operator has wishes. Owns the
//! acts; each tells the model what it makes due, and whom it gives a reason to be ended.

use std::sync::Arc;

use halley_gateway::close::CloseReason;
use halley_gateway::limits::{AuthMode, SlowConsumer};
use halley_gateway::mesh::msg::{ConnRef, ControlToShard, ShardTarget, Shed, ShedWho};
use halley_protocol::goim::op;

use super::{CAPACITY, QUEUE_BYTES, QUEUE_SHORT_BYTES, SLOW_CONSUMERS, WIDE, World};
use crate::choices::Choices;
use crate::client::{Client, Fate, KEY_OP, Secure};

const ROOMS: [&str; 3] = ["live://1", "live://2", "room with spaces"];
/// Op of pushes at a pace, which keep no order against others.
const PACED_OP: i32 = KEY_OP + 1;
/// Milliseconds in which nothing happens, and turns between two such times.
const LEAP_MS_MAX: usize = 2_000;
const LEAP_TURNS_MIN: usize = 40;
/// Milliseconds that a shed takes at most.
const SHED_MS_MAX: usize = 3_000;
/// Bytes of what nobody can foresee, at once.
const WILD_BYTES_MAX: usize = 200;

/// What a push is to a client.
type Judge = Box<dyn Fn(&Client) -> Fate>;

impl<C: Choices> World<C> {
    pub(super) fn act(&mut self) {
        match self.choices.below(100) {
            0..15 => self.connect(),
            15..38 => self.push(),
            38..42 => self.operate(),
            _ if self.clients.is_empty() => self.connect(),
            roll => {
                let index = self.choices.below(self.clients.len());
                if !self.clients[index].finished {
                    self.client_act(index, roll);
                }
            }
        }
    }

    fn connect(&mut self) {
        // The shard may be full of those who are leaving, but not of those who stay: everybody is served in the end.
        let staying = self.clients.iter().filter(|client| !client.finished).count();
        if staying >= CAPACITY as usize || self.drained {
            return;
        }
        let listener = self.choices.below(4);
        let window = if self.patient { WIDE } else { self.choices.between(20, 2000) };
        let id = self.shard.io().connect(listener, window);
        let mut client = self.new_client(id, listener % 2 == 1);
        if client.websocket {
            client.say_upgrade();
        }
        if listener >= 2 {
            let session = self.choices.pick(&self.sides).connect();
            client.tls = Some(Secure { session, wire: Default::default() });
        }
        self.clients.push(client);
    }

    fn client_act(&mut self, index: usize, roll: usize) {
        if self.clients[index].wild {
            return self.be_wild(index);
        }
        if !self.clients[index].auth_sent && roll < 97 {
            return self.say_login(index);
        }
        let mask = [1, 2, 3, 4].map(|byte: u8| byte.wrapping_mul(37));
        let mask = if self.choices.chance(30) { [0; 4] } else { mask };
        let fragments = self.choices.between(1, 4);
        let room = *self.choices.pick(&ROOMS);
        let leave = self.choices.chance(30);
        let client = &mut self.clients[index];
        match roll {
            42..55 => {
                let seq = client.say(op::HEARTBEAT, b"", mask, fragments);
                client.expected.push_back((op::HEARTBEAT_REPLY, seq, Vec::new()));
                client.beats_said.push_back(self.now.ms);
            }
            55..68 => {
                let room = if leave { "" } else { room };
                self.unsettle_pushes(index, room);
                let client = &mut self.clients[index];
                let seq = client.say(op::CHANGE_ROOM, room.as_bytes(), mask, fragments);
                client.expected.push_back((op::CHANGE_ROOM_REPLY, seq, room.as_bytes().to_vec()));
                client.rooms_asked.push_back(room.to_owned());
            }
            68..74 => {
                let (op, reply) =
                    if leave { (op::UNSUBSCRIBE, op::UNSUBSCRIBE_REPLY) } else { (op::SUBSCRIBE, op::SUBSCRIBE_REPLY) };
                let body = PACED_OP.to_string();
                let seq = client.say(op, body.as_bytes(), mask, fragments);
                client.expected.push_back((reply, seq, body.into_bytes()));
                client.accept_changes += 1;
            }
            74..80 => {
                let body = vec![b'u'; self.choices.below(600)];
                let seq = client.say(op::SEND_MESSAGE, &body, mask, fragments);
                client.expected.push_back((op::SEND_MESSAGE, seq, Vec::new()));
            }
            80..82 => self.say_login_again(index),
            82..86 if client.websocket => {
                client.say_raw(9, true, b"ping", mask);
                client.expected.push_back((-10, 0, b"ping".to_vec()));
            }
            86..88 => {
                client.reading = !client.reading;
                client.deaf = true;
            }
            88..89 => self.narrow(index),
            89..91 if client.websocket => {
                client.say_raw(8, true, &1000u16.to_be_bytes(), mask);
                client.finished = true;
                client.may_end.allow(CloseReason::PeerClosed);
            }
            91..93 => {
                client.outgoing.extend([0xff; 40]);
                client.finished = true;
                client.may_end.allow(if client.websocket {
                    CloseReason::WebSocketProtocol
                } else {
                    CloseReason::BadFrame
                });
            }
            93..94 => self.be_wild(index),
            94..97 => self.shutdown(index),
            97..99 => self.reset(index),
            _ => {}
        }
    }

    /// From now on the client's window takes little.
    fn narrow(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.deaf = true;
        client.slow = true;
        let (id, window) = (client.id, self.choices.below(3000));
        self.shard.io().set_window(id, window);
        self.narrowed.push(id);
    }

    /// A client is about to change to `room`: a push that still waits for the shard's attention may come before the
    /// change or behind it. One that was made before the client came is none of its business: its login is behind it in
    /// the ring.
    fn unsettle_pushes(&mut self, index: usize, room: &str) {
        let client = &mut self.clients[index];
        for (&number, target) in &self.feed.unseen {
            let Some(fate) = client.fates.get_mut(number) else { continue };
            if *fate == Fate::Due || target == room {
                *fate = Fate::Possible;
            }
        }
    }

    fn say_login(&mut self, index: usize) {
        let key_number = if self.choices.chance(10) { 0 } else { index };
        let room = *self.choices.pick(&ROOMS);
        let fragments = self.choices.between(1, 4);
        let client = &mut self.clients[index];
        client.auth_sent = true;
        client.room = Some(room.to_owned());
        client.accepts = vec![KEY_OP, PACED_OP];
        client.key_number = Some(key_number);
        client.beat_ms = Some(self.now.ms);
        let seq = client.say(op::AUTH, &token(client, key_number, room), [9; 4], fragments);
        client.expected.push_back((op::AUTH_REPLY, seq, Vec::new()));
        if key_number == 0 {
            self.share_key();
        }
    }

    /// A refresh, where control decides; else a request as any other.
    fn say_login_again(&mut self, index: usize) {
        let asks = self.settings.auth == AuthMode::Ask;
        let client = &mut self.clients[index];
        let seq = client.say(op::AUTH, &token(client, client.key_number.unwrap_or(index), ""), [9; 4], 1);
        client.expected.push_back((if asks { op::AUTH_REPLY } else { op::AUTH }, seq, Vec::new()));
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

    /// Says what nobody can foresee the answer to: bytes of no meaning, or changed ones, inside TLS or around it.
    fn be_wild(&mut self, index: usize) {
        self.goes_wild(index);
        let around = self.choices.chance(50);
        let count = self.choices.below(WILD_BYTES_MAX);
        let change = self.choices.chance(50);
        let client = &mut self.clients[index];
        let outgoing = match &mut client.tls {
            Some(tls) if around => &mut tls.wire,
            _ => &mut client.outgoing,
        };
        if change && !outgoing.is_empty() {
            let at = count % outgoing.len();
            outgoing[at] ^= u8::try_from(self.choices.between(1, 256)).expect("a byte");
            return;
        }
        for _ in 0..count {
            outgoing.push_back(u8::try_from(self.choices.below(256)).expect("a byte"));
        }
    }

    /// Says everything, then FIN; inside TLS, its goodbye first, or nothing but that.
    fn shutdown(&mut self, index: usize) {
        let goodbye = self.choices.below(3);
        let client = &mut self.clients[index];
        client.finished = true;
        client.take_outgoing(usize::MAX);
        if let Some(tls) = client.tls.as_mut().filter(|tls| goodbye > 0 && !tls.session.is_handshaking()) {
            tls.session.send_close_notify();
        }
        let stays = client.tls.as_ref().is_some_and(|tls| goodbye > 1 && !tls.session.is_handshaking());
        let rest: Vec<u8> = client.take_outgoing(0).drain(..).collect();
        client.wrote |= !rest.is_empty();
        client.may_end.allow(if client.wrote { CloseReason::PeerClosed } else { CloseReason::Probe });
        self.shard.io().write(client.id, &rest);
        if !stays {
            self.shard.io().shutdown(client.id);
        }
    }

    /// Vanishes; what it wrote may be lost with it.
    pub(super) fn reset(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.finished = true;
        client.outgoing.clear();
        // Nobody is there any more to make sense of what comes.
        client.wild |= client.tls.take().is_some();
        if client.wrote {
            client.may_end.allow(CloseReason::PeerReset);
        }
        if !client.authenticated {
            client.may_end.allow(CloseReason::Probe);
        }
        self.shard.io().reset(client.id);
    }

    fn operate(&mut self) {
        if self.choices.chance(4) {
            return self.shed();
        }
        match self.choices.below(12) {
            0..3 => {
                if let Some((index, conn)) = self.somebody() {
                    let key = self.clients[index].key_number;
                    for client in self.clients.iter_mut().filter(|client| client.key_number == key || client.wild) {
                        client.may_end.allow(CloseReason::ClosedByOperator);
                    }
                    self.control.say(ControlToShard::Close { conn, reason: CloseReason::ClosedByOperator });
                }
            }
            3..5 => {
                if let Some((_, conn)) = self.somebody() {
                    let on = self.choices.chance(70);
                    self.control.say(ControlToShard::Trace { conn, on });
                    self.control.say(ControlToShard::Describe { request: 1, conn });
                }
            }
            5 => {
                if let Some(&room) = self.feed.rooms.get(*self.choices.pick(&ROOMS)) {
                    self.control.say(ControlToShard::Members { request: 1, room, limit: 5 });
                }
            }
            6..9 => self.change_settings(),
            // Not so often that a goodbye has no turns left within its time.
            9..11 if self.turns_since_leap >= LEAP_TURNS_MIN => {
                self.turns_since_leap = 0;
                self.now.ms += self.choices.below(LEAP_MS_MAX) as u64;
            }
            _ if self.choices.chance(10) => {
                self.drained = true;
                for client in &mut self.clients {
                    client.may_end.allow(CloseReason::Drain);
                }
                let over_ms = self.choices.below(1_000) as u64;
                self.control.say(ControlToShard::Drain { over_ms });
            }
            _ => {}
        }
    }

    /// Everybody who is logged in goes bit by bit: by an order among the pushes, or by control's.
    fn shed(&mut self) {
        let over_ms = self.choices.below(SHED_MS_MAX) as u64;
        let order = Shed { who: ShedWho::Everybody, over_ms, reason: CloseReason::FeedGap };
        if self.choices.chance(20) {
            // Logins that are answered before the shard looks are meant too.
            for client in self.clients.iter_mut().filter(|client| client.auth_sent) {
                client.may_end.allow(CloseReason::FeedGap);
                client.shed |= client.authenticated;
            }
            return self.control.say(ControlToShard::Shed(order));
        }
        self.feed.shed(order);
        let logged_in: Vec<i64> = self.feed.registered.values().map(|(_, mid)| *mid).collect();
        for client in &mut self.clients {
            if logged_in.contains(&i64::try_from(client.number).expect("small")) {
                client.may_end.allow(CloseReason::FeedGap);
                client.shed = true;
                client.pushes_before_shed = client.pushes_before_shed.max(self.pushes);
            }
        }
    }

    /// A client that is logged in under its own key, or under the shared one.
    fn somebody(&mut self) -> Option<(usize, ConnRef)> {
        let index = self.choices.below(self.clients.len().max(1));
        let key = self.clients.get(index)?.key_number?;
        Some((index, *self.feed.logins.get(&format!("key{key}"))?))
    }

    fn change_settings(&mut self) {
        self.settings.slow_consumer = *self.choices.pick(&SLOW_CONSUMERS);
        let short = !self.patient || self.choices.chance(30);
        self.settings.queue_bytes_max = if short { QUEUE_SHORT_BYTES } else { QUEUE_BYTES };
        self.patient &= !short;
        self.closes_slow |= short && self.settings.slow_consumer == SlowConsumer::Close;
        for client in &mut self.clients {
            client.slow |= short;
            // Pushes that were made before may meet these settings.
            if self.closes_slow && client.fates.iter().any(|fate| *fate != Fate::Forbidden) {
                client.may_end.allow(CloseReason::SlowConsumer);
            }
        }
        self.control.say(ControlToShard::Settings(Arc::new(self.settings.clone())));
    }

    fn push(&mut self) {
        self.feed.step(usize::MAX);
        // Long ones do not fit one coalesced send, or are sent alone.
        let filler =
            if self.patient && self.choices.chance(20) { self.choices.below(90_000) } else { self.choices.below(60) };
        let (target, op, chosen): (ShardTarget, i32, Judge) = match self.choices.below(8) {
            0..3 => {
                let room = *self.choices.pick(&ROOMS);
                let Some(reference) = self.feed.rooms.get(room) else { return };
                let fate = move |client: &Client| match &client.room {
                    _ if client.rooms_asked.iter().any(|asked| asked == room) => Fate::Possible,
                    Some(now) if now == room && client.authenticated && client.rooms_asked.is_empty() => Fate::Due,
                    Some(now) if now == room => Fate::Possible,
                    _ => Fate::Forbidden,
                };
                (ShardTarget::Room(*reference), KEY_OP + 2, Box::new(fate))
            }
            3..6 => match self.targets() {
                Some((target, fate)) => (target, KEY_OP, fate),
                None => return,
            },
            6 => {
                let fate = |client: &Client| if client.authenticated { Fate::Due } else { Fate::Possible };
                (ShardTarget::All { per_second: 0 }, KEY_OP, Box::new(fate))
            }
            _ => {
                let per_second = u32::try_from(self.choices.between(1, 200)).expect("small");
                self.paced.push(self.pushes);
                (ShardTarget::All { per_second }, PACED_OP, Box::new(|_: &Client| Fate::Paced))
            }
        };
        if self.choices.chance(5) && !matches!(target, ShardTarget::All { per_second: 1.. }) {
            return self.feed.count(target, op);
        }
        let number = self.pushes;
        self.pushes += 1;
        if let ShardTarget::Room(reference) = &target {
            let room = self.feed.rooms.iter().find(|(_, other)| *other == reference);
            self.feed.unseen.extend(room.map(|(room, _)| (number, room.clone())));
        }
        for client in &mut self.clients {
            let fate = chosen(client);
            client.note_push(number, fate);
            if self.closes_slow && fate != Fate::Forbidden {
                client.may_end.allow(CloseReason::SlowConsumer);
            }
        }
        self.feed.push(number, target, op, filler);
    }

    /// One key that is logged in, or several.
    fn targets(&mut self) -> Option<(ShardTarget, Judge)> {
        let several = self.choices.chance(30);
        let first = self.choices.below(self.clients.len().max(1));
        let numbers = if several { vec![first, first + 1, first + 3] } else { vec![first] };
        let login = |number: &usize| self.feed.logins.get(&format!("key{number}")).copied();
        let found: Vec<(usize, ConnRef)> =
            numbers.iter().filter_map(|number| Some((*number, login(number)?))).collect();
        let (numbers, conns): (Vec<usize>, Vec<ConnRef>) = found.into_iter().unzip();
        let target = match conns.as_slice() {
            [] => return None,
            [conn] if !several => ShardTarget::Conn(*conn),
            _ => ShardTarget::Conns(conns.into()),
        };
        let fate = move |client: &Client| {
            if !numbers.contains(&client.number) {
                // A client may hold the key of client 0.
                return if numbers.contains(&0) { Fate::Possible } else { Fate::Forbidden };
            }
            if client.authenticated { Fate::Due } else { Fate::Possible }
        };
        Some((target, Box::new(fate)))
    }
}

/// goim's token; it says in `platform` who has sent it, and under which sequence number.
fn token(client: &Client, key_number: usize, room: &str) -> Vec<u8> {
    let (number, seq) = (client.number, client.next_seq());
    format!(
        "{{\"mid\":{number},\"key\":\"key{key_number}\",\"room_id\":\"{room}\",\"accepts\":[{KEY_OP},{PACED_OP}],\
         \"platform\":\"{number} {seq}\"}}"
    )
    .into_bytes()
}
