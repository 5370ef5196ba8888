//! One simulated goim client: what it sent, what it expects, and a strict reading of what comes back, in the clear or
//! inside TLS.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};

use halley_gateway::close::CloseReason;
use halley_gateway::io::sim::{ClientId, ServerEnd};
use halley_protocol::goim::{Frame, op};
use rustls::ClientConnection;

use crate::ends::MayEnd;

/// What the model knows of one push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Must not come.
    Forbidden,
    /// May come.
    Possible,
    /// May come, at any time, in the order of others like it.
    Paced,
    /// Must come, if the connection stays and the client reads.
    Due,
}

/// What a client inside TLS has between itself and its socket.
#[derive(Debug)]
pub struct Secure {
    pub session: ClientConnection,
    /// Ciphertext that is made and not written.
    pub wire: VecDeque<u8>,
}

#[derive(Debug)]
pub struct Client {
    pub id: ClientId,
    pub websocket: bool,
    pub number: usize,
    /// Bytes written in pieces: the rest of what the client wants to say.
    pub outgoing: VecDeque<u8>,
    pub tls: Option<Secure>,
    incoming: Vec<u8>,
    /// Replies in the order of the requests: op, seq, body (heartbeats: body not compared).
    pub expected: VecDeque<(i32, i32, Vec<u8>)>,
    next_seq: i32,
    pub authenticated: bool,
    pub auth_sent: bool,
    upgraded: bool,
    /// Room of the last confirmed change, and whether a change is under way.
    pub room: Option<String>,
    pub rooms_asked: VecDeque<String>,
    /// Confirmed accepted ops, and whether a change is under way.
    pub accepts: Vec<i32>,
    pub accept_changes: u32,
    /// The client said goodbye, broke a rule, or vanished: nothing is owed to it any more.
    pub finished: bool,
    /// It says what nobody can foresee the answer to: nothing is owed to it, and it may be ended for whatever a client
    /// does.
    pub wild: bool,
    /// Its window or the queue is small, or its key is shared: drops are allowed.
    pub slow: bool,
    pub reading: bool,
    /// Its window is small or it did not always read: a goodbye may not come through within its time.
    pub deaf: bool,
    /// Status of the close frame that came.
    pub closed: Option<u16>,
    pub may_end: MayEnd,
    /// It was logged in when everybody was to be shed.
    pub shed: bool,
    /// Pushes that the shard has seen before it took an order to shed this client.
    pub pushes_before_shed: usize,
    /// When it connected, in virtual time.
    pub since_ms: u64,
    /// When it said the last of its heartbeats that was answered, or its login.
    pub beat_ms: Option<u64>,
    /// When it said those that are not answered yet.
    pub beats_said: VecDeque<u64>,
    /// The number in its key; keys of different numbers are different.
    pub key_number: Option<usize>,
    /// At least one byte of it is on its way.
    pub wrote: bool,
    /// Fates of pushes by number.
    pub fates: Vec<Fate>,
    pub received: Vec<bool>,
    last_push: Option<usize>,
    last_paced: Option<usize>,
}

pub const KEY_OP: i32 = 1000;

impl Client {
    pub fn new(id: ClientId, number: usize, websocket: bool) -> Client {
        Client {
            id,
            websocket,
            number,
            outgoing: VecDeque::new(),
            tls: None,
            incoming: Vec::new(),
            expected: VecDeque::new(),
            next_seq: 1,
            authenticated: false,
            auth_sent: false,
            upgraded: false,
            room: None,
            rooms_asked: VecDeque::new(),
            accepts: Vec::new(),
            accept_changes: 0,
            finished: false,
            wild: false,
            slow: false,
            reading: true,
            deaf: false,
            closed: None,
            may_end: MayEnd::default(),
            shed: false,
            pushes_before_shed: 0,
            since_ms: 0,
            beat_ms: None,
            beats_said: VecDeque::new(),
            key_number: None,
            wrote: false,
            fates: Vec::new(),
            received: Vec::new(),
            last_push: None,
            last_paced: None,
        }
    }

    /// The sequence number of what it says next.
    pub fn next_seq(&self) -> i32 {
        self.next_seq
    }

    pub fn say_upgrade(&mut self) {
        self.outgoing.extend(
            b"GET /sub HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
    }

    pub fn say_raw(&mut self, opcode: u8, fin: bool, payload: &[u8], mask: [u8; 4]) {
        self.outgoing.push_back(opcode | if fin { 0x80 } else { 0 });
        match payload.len() {
            bytes @ 0..=125 => self.outgoing.push_back(0x80 | u8::try_from(bytes).expect("a short frame")),
            bytes => {
                self.outgoing.push_back(0x80 | 126);
                self.outgoing.extend(u16::try_from(bytes).expect("no frame is longer").to_be_bytes());
            }
        }
        self.outgoing.extend(mask);
        self.outgoing.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    }

    /// Send a request; returns its sequence number.
    pub fn say(&mut self, op: i32, body: &[u8], mask: [u8; 4], fragments: usize) -> i32 {
        let seq = self.next_seq;
        self.next_seq += 1;
        let mut bytes = Vec::new();
        Frame { version: 1, op, seq, body }.encode(&mut bytes);
        if !self.websocket {
            self.outgoing.extend(bytes);
            return seq;
        }
        let pieces: Vec<&[u8]> = bytes.chunks(bytes.len().div_ceil(fragments.max(1))).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let opcode = if index == 0 { 2 } else { 0 };
            self.say_raw(opcode, index + 1 == pieces.len(), piece, mask);
        }
        seq
    }

    pub fn note_push(&mut self, number: usize, fate: Fate) {
        while self.fates.len() < number {
            self.fates.push(Fate::Forbidden);
            self.received.push(false);
        }
        self.fates.push(fate);
        self.received.push(false);
    }

    /// Move up to so many of the bytes that it wants to say closer to its socket; returns what may be written there
    /// now.
    pub fn take_outgoing(&mut self, most: usize) -> &mut VecDeque<u8> {
        let Some(tls) = &mut self.tls else { return &mut self.outgoing };
        let most = most.min(self.outgoing.len());
        let bytes: Vec<u8> = self.outgoing.drain(..most).collect();
        // After its own goodbye it says no more, and of an end that it was told of it takes note.
        let _ = tls.session.writer().write(&bytes);
        while tls.session.wants_write() {
            tls.session.write_tls(&mut tls.wire).expect("memory");
        }
        &mut tls.wire
    }

    /// Bytes arrived at its socket.
    pub fn hear_socket(&mut self, mut bytes: &[u8]) {
        if self.wild {
            return;
        }
        let Some(mut tls) = self.tls.take() else { return self.hear(bytes) };
        let mut plaintext = Vec::new();
        while !bytes.is_empty() && tls.session.read_tls(&mut bytes).expect("a slice") > 0 {
            tls.session.process_new_packets().expect("a shard speaks proper TLS");
            // This interface calls it an error that nothing more has come.
            let _ = tls.session.reader().read_to_end(&mut plaintext);
        }
        self.tls = Some(tls);
        self.hear(&plaintext);
    }

    /// Bytes arrived: every one of them must make sense.
    pub fn hear(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut taken = 0;
        loop {
            let rest = &incoming[taken..];
            let step = if self.websocket { self.hear_websocket(rest) } else { self.hear_frame(rest) };
            match step {
                Some(bytes) => taken += bytes,
                None => break,
            }
        }
        incoming.drain(..taken);
        self.incoming = incoming;
    }

    fn hear_websocket(&mut self, input: &[u8]) -> Option<usize> {
        if !self.upgraded {
            let end = input.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
            let sent_away = self.may_end.allows(CloseReason::Drain) && input.starts_with(b"HTTP/1.1 503 ");
            assert!(sent_away || input.starts_with(b"HTTP/1.1 101 "), "the upgrade is accepted");
            self.upgraded = !sent_away;
            return Some(end);
        }
        let (&first, &second) = (input.first()?, input.get(1)?);
        assert!(first & 0x70 == 0 && first & 0x80 != 0 && second & 0x80 == 0, "server frames are whole and unmasked");
        let (bytes, header) = match second {
            126 => (usize::from(u16::from_be_bytes([*input.get(2)?, *input.get(3)?])), 4),
            127 => {
                let long: [u8; 8] = input.get(2..10)?.try_into().expect("eight bytes");
                (usize::try_from(u64::from_be_bytes(long)).expect("a length"), 10)
            }
            short => (usize::from(short), 2),
        };
        let payload = input.get(header..header + bytes)?;
        match first & 15 {
            2 => {
                let op = i32::from_be_bytes(payload[8..12].try_into().expect("a header"));
                let mut rest = if op == op::RAW && bytes > 16 { &payload[16..] } else { payload };
                while !rest.is_empty() {
                    let taken = self.hear_frame(rest).expect("a message holds whole frames");
                    rest = &rest[taken..];
                }
            }
            10 => {
                let (op, _, body) = self.expected.pop_front().expect("a pong only after a ping");
                assert_eq!((op, &body[..]), (-10, payload), "pongs keep the order of requests");
            }
            8 => {
                assert!(input.len() == header + bytes, "nothing follows a close frame");
                let code: [u8; 2] =
                    payload.get(..2).expect("a close frame has a status").try_into().expect("two bytes");
                self.closed = Some(u16::from_be_bytes(code));
            }
            other => panic!("opcode {other}"),
        }
        Some(header + bytes)
    }

    fn hear_frame(&mut self, input: &[u8]) -> Option<usize> {
        let header = input.get(..16)?;
        let field = |at: usize| i32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let (bytes, op, seq) = (usize::try_from(field(0)).expect("positive"), field(8), field(12));
        assert_eq!(header[4..8], [0, 16, 0, 1], "header length and version");
        let body = input.get(16..bytes)?;
        if op >= KEY_OP {
            self.hear_push(body);
        } else {
            self.hear_reply(op, seq, body);
        }
        Some(bytes)
    }

    fn hear_push(&mut self, body: &[u8]) {
        assert!(self.authenticated, "no push before the auth reply");
        let number: usize = std::str::from_utf8(&body[..8]).expect("digits").parse().expect("a number");
        let fate = self.fates.get(number).copied().unwrap_or(Fate::Forbidden);
        assert_ne!(fate, Fate::Forbidden, "client {} must not get push {number}", self.number);
        assert!(!self.received[number], "client {} got push {number} twice", self.number);
        self.received[number] = true;
        let last = if fate == Fate::Paced { &mut self.last_paced } else { &mut self.last_push };
        assert!(last.is_none_or(|last| last < number), "push {number} after {last:?}");
        *last = Some(number);
    }

    fn hear_reply(&mut self, op: i32, seq: i32, body: &[u8]) {
        let (expected_op, expected_seq, expected_body) =
            self.expected.pop_front().unwrap_or_else(|| panic!("reply {op} seq {seq} to no request"));
        assert_eq!((op, seq), (expected_op, expected_seq), "replies keep the order of requests");
        match op {
            op::AUTH_REPLY => self.authenticated = true,
            op::HEARTBEAT_REPLY => {
                assert_eq!(body.len(), 4);
                self.beat_ms = self.beats_said.pop_front();
            }
            op::CHANGE_ROOM_REPLY => {
                let room = self.rooms_asked.pop_front().expect("a room was asked for");
                assert_eq!(body, room.as_bytes());
                self.room = Some(room).filter(|room| !room.is_empty());
            }
            op::SUBSCRIBE_REPLY | op::UNSUBSCRIBE_REPLY => self.accept_changes -= 1,
            _ => {}
        }
        if op != op::HEARTBEAT_REPLY {
            assert_eq!(body, expected_body);
        }
    }

    /// At the end of a run, when everything that could happen has happened: who is still connected has what it is owed,
    /// and who has ended was told so, if there was a way to tell.
    pub fn settle(&mut self, end: ServerEnd) {
        let number = self.number;
        if self.finished || self.wild {
            return;
        }
        if end != ServerEnd::Open {
            let listens = !self.deaf && end == ServerEnd::Closed;
            let untold = listens && self.websocket && self.upgraded && self.closed.is_none();
            assert!(!untold, "client {number} was not told why it was ended");
            if listens && self.may_end.only(CloseReason::FeedGap) && !self.slow {
                self.check_shed();
            }
            // Whoever was answered inside TLS is told of the end there too.
            let answered = self.authenticated || self.upgraded;
            if let Some(tls) = self.tls.as_mut().filter(|_| listens && answered) {
                let state = tls.session.process_new_packets().expect("nothing more");
                assert!(state.peer_has_closed(), "client {number} cannot tell its end from an attacker's");
            }
            return;
        }
        assert!(!self.shed, "client {number} was to be shed and is still there");
        assert!(!self.websocket || self.upgraded, "client {number} waits for its upgrade");
        assert!(self.expected.is_empty(), "client {number} waits for {:?}", self.expected.front());
        assert!(self.incoming.is_empty(), "client {number} is left with half a frame: {:?}", self.incoming);
        for (push, fate) in self.fates.iter().enumerate() {
            if *fate == Fate::Due && !self.slow {
                assert!(self.received[push], "client {number} lost push {push}");
            }
        }
    }

    /// Who was shed got every push up to its turn, which came behind those that were there before the order.
    fn check_shed(&self) {
        let due = self.fates.iter().zip(&self.received).enumerate().filter(|(_, (fate, _))| **fate == Fate::Due);
        let mut missed = None;
        for (push, (_, &received)) in due {
            let number = self.number;
            assert!(received || push >= self.pushes_before_shed, "client {number} was shed before push {push}");
            assert!(!received || missed.is_none(), "client {number} got push {push} and not {missed:?}");
            missed = missed.or((!received).then_some(push));
        }
    }
}
