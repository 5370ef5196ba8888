//! A TLS session and rustls' client, with a stranger on the line: what the client makes is carried whole, cut, changed,
//! left out, put in twice or in another order, and what was never sent is put in, before the handshake, in it and
//! behind it. The session is used meanwhile as a shard uses it.

use std::io::{Read as _, Write as _};

use halley_gateway::conn::tls::{INCOMING_BYTES_MAX, TlsError, TlsProgress, TlsSession};
use rustls::ClientConnection;

use crate::choices::{Choices as _, Tape};
use crate::cleartext::{Sides, TAG};

/// Bytes that a shard receives or sends at once.
const PIECE_BYTES_MAX: usize = 4096;
/// Renewals of keys that rustls takes from one peer.
const RENEWALS_MAX: u32 = 32;
/// Bytes that may wait to be sent: one send's, or a handshake's, and what is said of one's own accord.
const OUTGOING_BYTES_MAX: usize = PIECE_BYTES_MAX + 8192;

/// One byte of settings (version, cipher suites, length of records), then acts.
pub fn tls_receive(data: &[u8]) {
    let mut tape = Tape::new(data);
    let mut line = Line::new(tape.byte());
    while !tape.is_over() {
        line.act(&mut tape);
        line.check();
    }
    line.end();
}

/// Client and session, and what is between them.
struct Line {
    sides: Sides,
    tls13: bool,
    cleartext: bool,
    client: ClientConnection,
    session: TlsSession,
    /// What the client has made and the session has not been given.
    pending: Vec<u8>,
    /// Nobody has touched what was carried so far.
    honest: bool,
    /// What was put in at each end, and what came out at the other.
    said: Vec<u8>,
    received: Vec<u8>,
    sent: Vec<u8>,
    heard: Vec<u8>,
    client_closed: bool,
    session_closed: bool,
    renewals: u32,
    failed: Option<TlsError>,
}

impl Line {
    fn new(settings: u8) -> Line {
        let tls13 = settings & 1 != 0;
        let version = if tls13 { &rustls::version::TLS13 } else { &rustls::version::TLS12 };
        let record_bytes_max = [None, Some(32), Some(77), Some(300)][usize::from(settings >> 1 & 3)];
        // Real ciphers are slow, and let nothing through that was changed.
        let cleartext = settings >> 3 & 7 != 7;
        let sides = if cleartext { Sides::cleartext } else { Sides::encrypted };
        Line::between(sides(version, record_bytes_max), tls13, cleartext)
    }

    fn between(sides: Sides, tls13: bool, cleartext: bool) -> Line {
        Line {
            client: sides.connect(),
            session: TlsSession::new(sides.server.clone()).expect("a session"),
            sides,
            tls13,
            cleartext,
            pending: Vec::new(),
            honest: true,
            said: Vec::new(),
            received: Vec::new(),
            sent: Vec::new(),
            heard: Vec::new(),
            client_closed: false,
            session_closed: false,
            renewals: 0,
            failed: None,
        }
    }

    fn act(&mut self, tape: &mut Tape<'_>) {
        self.collect();
        let length = self.pending.len();
        match tape.byte() % 24 {
            0..3 => self.carry(usize::MAX),
            3..5 => self.carry(1 + usize::from(tape.byte())),
            5 => self.carry(1),
            6..8 => self.deliver(usize::MAX),
            8 => self.deliver(1 + usize::from(tape.byte())),
            9 => self.say(tape.below(PIECE_BYTES_MAX)),
            10 => self.say(usize::from(tape.byte())),
            11 => self.send(tape.below(PIECE_BYTES_MAX)),
            12 => self.close(),
            13 => {
                // Nobody promises anything to who leaves in the middle of the handshake.
                self.honest &= !self.client.is_handshaking();
                self.client.send_close_notify();
                self.client_closed = true;
            }
            14 => {
                // One that does nothing else is taken for an attacker.
                self.renewals += u32::from(self.client.refresh_traffic_keys().is_ok());
                self.honest &= self.renewals <= RENEWALS_MAX;
            }
            15 => self.again(),
            16 if length > 0 => {
                // The stranger: from here on all that is promised is that nobody is harmed.
                self.honest = false;
                let (at, change) = (tape.below(length), tape.byte());
                self.pending[at] ^= change;
            }
            17 if length > 0 => {
                self.honest = false;
                let record = self.record(tape.below(8));
                let at = (record.0 + usize::from(tape.byte() % 5)).min(length - 1);
                self.pending[at] = tape.byte();
            }
            18 if length > 0 => {
                self.honest = false;
                let start = tape.below(length);
                let end = (start + 1 + usize::from(tape.byte())).min(length);
                self.pending.drain(start..end);
            }
            19 if length > 0 && length < PIECE_BYTES_MAX => {
                self.honest = false;
                let start = tape.below(length);
                let end = (start + 1 + usize::from(tape.byte())).min(length);
                self.pending.extend_from_within(start..end);
            }
            20 if length > 0 => {
                self.honest = false;
                let (start, end) = self.record(tape.below(8));
                self.pending[..end].rotate_left(start);
            }
            21 => {
                self.honest = false;
                let count = usize::from(tape.byte());
                self.pending.extend_from_slice(tape.bytes(count));
            }
            22..24 => self.forge(tape),
            _ => {}
        }
    }

    /// What the client has made.
    fn collect(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.pending).expect("a vector");
        }
    }

    /// Where one of the records that wait begins and ends, as their headers have it.
    fn record(&self, number: usize) -> (usize, usize) {
        let (mut start, mut end) = (0, 0);
        for _ in 0..=number {
            let Some(&[_, _, _, high, low]) = self.pending.get(end..end + 5) else { break };
            start = end;
            end = (start + 5 + usize::from(u16::from_be_bytes([high, low]))).min(self.pending.len());
        }
        (start, end)
    }

    /// A record that the client has not made: a kind and a body, protected as the handshake has it, or not at all.
    fn forge(&mut self, tape: &mut Tape<'_>) {
        self.honest = false;
        let (kind, count) = (tape.byte(), usize::from(tape.byte()));
        let mut body = tape.bytes(count).to_vec();
        let mut outer = 20 + kind % 6;
        if self.cleartext && kind < 0xc0 && self.session.progress() != TlsProgress::Handshaking {
            if self.tls13 {
                body.push(std::mem::replace(&mut outer, 23));
            }
            body.extend(TAG);
        }
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        self.pending.extend([outer, 3, 3]);
        self.pending.extend(length);
        self.pending.extend(body);
    }

    /// Give the session so many bytes of what waits.
    fn carry(&mut self, bytes: usize) {
        let mut rest: Vec<u8> = self.pending.drain(..bytes.min(self.pending.len())).collect();
        for piece in rest.chunks_mut(PIECE_BYTES_MAX) {
            self.receive(piece);
        }
    }

    fn receive(&mut self, piece: &mut [u8]) {
        let before = self.session.progress();
        let outgoing = self.session.outgoing().len();
        let mut plaintext = Vec::new();
        let result = self.session.receive(piece, &mut plaintext);
        assert!(plaintext.len() <= INCOMING_BYTES_MAX + piece.len(), "plaintext out of nothing");
        let start = self.received.len();
        self.received.append(&mut plaintext);
        let said = self.said.get(start..self.received.len());
        assert!(!self.honest || said == Some(&self.received[start..]), "what came is what was said");
        match (&self.failed, result) {
            (Some(failed), result) => {
                assert_eq!(result.as_ref(), Err(failed), "after an error nothing goes on");
                assert_eq!(self.session.outgoing().len(), outgoing, "after an error nothing is said");
            }
            (None, Ok(progress)) => {
                assert_eq!(progress, self.session.progress());
                let ahead = |progress| match progress {
                    TlsProgress::Handshaking => 0,
                    TlsProgress::Open => 1,
                    TlsProgress::PeerClosed => 2,
                };
                assert!(ahead(progress) >= ahead(before), "{progress:?} after {before:?}");
            }
            (None, Err(error)) => {
                assert!(!self.honest, "an honest client is refused: {error}");
                assert_ne!(error, TlsError::Internal, "nothing panics");
                self.failed = Some(error);
            }
        }
    }

    /// Give the client so many bytes of what the session has made.
    fn deliver(&mut self, bytes: usize) {
        let bytes = bytes.min(self.session.outgoing().len());
        let start = self.heard.len();
        let mut piece = &self.session.outgoing()[..bytes];
        // A client that has said goodbye asserts that it will hear no nonsense.
        while !piece.is_empty() && (self.honest || !self.client_closed) {
            if self.client.read_tls(&mut piece).is_err() {
                break;
            }
            let read = self.client.process_new_packets();
            assert!(read.is_ok() || !self.honest, "an honest session says what it may: {read:?}");
            // This interface calls it an error that nothing more has come.
            let _ = self.client.reader().read_to_end(&mut self.heard);
            if read.is_err() || read.is_ok_and(|state| state.peer_has_closed()) {
                break;
            }
        }
        let sent = self.sent.get(start..self.heard.len());
        assert!(!self.honest || sent == Some(&self.heard[start..]), "what is heard is what was sent");
        self.session.sent(bytes);
    }

    fn say(&mut self, bytes: usize) {
        if self.client_closed {
            return;
        }
        let start = self.said.len();
        self.said.extend((start..start + bytes).map(|at| at.to_le_bytes()[0] ^ 0x55));
        // A client that was told of an error takes no more.
        let taken = self.client.writer().write(&self.said[start..]).unwrap_or(0);
        self.said.truncate(start + taken);
    }

    /// As a shard does: only when nothing waits to be sent.
    fn send(&mut self, bytes: usize) {
        if !self.session.outgoing().is_empty() {
            return;
        }
        let start = self.sent.len();
        self.sent.extend((start..start + bytes).map(|at| at.to_le_bytes()[0] ^ 0xaa));
        let result = self.session.send(&self.sent[start..], 1);
        let open = self.session.progress() != TlsProgress::Handshaking && !self.session_closed && self.failed.is_none();
        assert_eq!(result, if open { Ok(()) } else { Err(TlsError::NotOpen) });
        if !open {
            self.sent.truncate(start);
            assert!(self.session.outgoing().is_empty(), "nothing is sent that may not be");
        }
    }

    fn close(&mut self) {
        let outgoing = self.session.outgoing().len();
        let open = self.session.progress() != TlsProgress::Handshaking && !self.session_closed && self.failed.is_none();
        self.session.close_notify();
        assert_eq!(self.session.outgoing().len() > outgoing, open, "a goodbye is said once, where it can be");
        self.session_closed |= open;
    }

    /// Another connection between the same two, which may resume the session of this one.
    fn again(&mut self) {
        *self = Line::between(self.sides.clone(), self.tls13, self.cleartext);
    }

    fn check(&self) {
        let outgoing = self.session.outgoing().len();
        assert!(outgoing <= OUTGOING_BYTES_MAX, "{outgoing} bytes wait to be sent");
        let held = self.session.buffered_bytes();
        // What is being sent may have been made by doubling.
        assert!(held <= INCOMING_BYTES_MAX + 2 * OUTGOING_BYTES_MAX, "{held} bytes are held");
    }

    /// Carry everything that is still on its way, and end as a shard does.
    fn end(&mut self) {
        for _ in 0..64 {
            self.collect();
            if self.pending.is_empty() && self.session.outgoing().is_empty() {
                break;
            }
            self.carry(usize::MAX);
            self.check();
            self.deliver(usize::MAX);
        }
        if self.honest {
            assert!(self.pending.is_empty() && self.session.outgoing().is_empty(), "they come to an end");
            assert!(self.session_closed || self.received.len() == self.said.len(), "all that was said has come");
            assert_eq!(self.heard.len(), self.sent.len(), "all that was sent is heard");
            assert!(self.failed.is_none());
        }
        self.close();
        self.session.close_notify();
        self.send(1);
        self.receive(&mut [0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]);
        self.check();
    }
}
