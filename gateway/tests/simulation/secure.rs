//! Connections inside TLS: a few handshakes a turn, a queue within its bound, drops that are counted, and an end that is said.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use halley_gateway::conn::close::CloseReason;
use halley_gateway::limits::{ShardSettings, TLS_HANDSHAKES_PER_TURN};
use halley_gateway::mesh::msg::{ControlToShard, ShardTarget};
use halley_protocol::goim::op;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

use crate::client::KEY_OP;
use crate::rig::{Rig, TCP, WIDE};

const NAME: &str = "gateway.example";
/// Filler of a push that takes several records.
const LARGE: usize = 60_000;
/// What else a push has on TCP: its frame's header and its number.
const PUSH_OVERHEAD: usize = 16 + 8;

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a configuration");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// A client inside TLS.
struct Secured {
    index: usize,
    session: ClientConnection,
    received: Vec<u8>,
}

impl Secured {
    /// Connected, with a login to send that accepts [`KEY_OP`]; nothing is said yet.
    fn connect(rig: &mut Rig, config: &Arc<ClientConfig>) -> Secured {
        let index = rig.connect(TCP);
        rig.clients[index].reading = false;
        let name = ServerName::try_from(NAME).expect("a name");
        let session = ClientConnection::new(Arc::clone(config), name).expect("a client");
        let mut client = Secured { index, session, received: Vec::new() };
        let token = format!("{{\"mid\":1,\"key\":\"key{index}\",\"accepts\":[{KEY_OP}]}}");
        rig.clients[index].say(op::AUTH, token.as_bytes(), [0; 4], 1);
        let login: Vec<u8> = rig.clients[index].outgoing.drain(..).collect();
        client.session.writer().write_all(&login).expect("kept until the handshake is over");
        client
    }

    /// Connected and logged in.
    fn log_in(rig: &mut Rig, config: &Arc<ClientConfig>) -> Secured {
        let mut client = Secured::connect(rig, config);
        for _ in 0..20 {
            client.talk(rig);
            rig.turn();
        }
        assert_eq!(std::mem::take(&mut client.received).len(), 16, "the auth reply");
        client
    }

    /// Carry ciphertext both ways.
    fn talk(&mut self, rig: &mut Rig) {
        let id = rig.id(self.index);
        let arrived = rig.shard.io().read(id);
        let mut arrived = arrived.as_slice();
        while !arrived.is_empty() {
            self.session.read_tls(&mut arrived).expect("a slice");
            self.session.process_new_packets().expect("proper TLS");
            // This interface calls it an error that nothing more has come.
            let _ = self.session.reader().read_to_end(&mut self.received);
        }
        let mut out = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut out).expect("a vector");
        }
        rig.shard.io().write(id, &out);
    }
}

fn rig() -> (Rig, Arc<ClientConfig>) {
    let (server, client) = configs();
    (Rig::new(256, ShardSettings { tls: Some(server), ..Default::default() }), client)
}

/// A client that reads gets everything, and never more waits for it than the turn's flush takes and one push beyond the half of
/// its bound: the rest stays in the inbox.
#[test]
fn a_queue_inside_tls_keeps_its_bound() {
    const PUSHES: usize = 60;
    let (mut rig, config) = rig();
    let mut client = Secured::log_in(&mut rig, &config);
    for _ in 0..PUSHES {
        rig.push(ShardTarget::All { per_second: 0 }, LARGE);
    }
    let bound = u64::from(ShardSettings::default().queue_bytes_max) / 2 + (PUSH_OVERHEAD + LARGE) as u64;
    for _ in 0..40 * PUSHES {
        rig.turn();
        assert!(rig.counts().queued_bytes <= bound, "{} bytes wait", rig.counts().queued_bytes);
        client.talk(&mut rig);
    }
    assert_eq!(client.received.len(), PUSHES * (PUSH_OVERHEAD + LARGE), "every push came whole");
    assert_eq!((rig.counts().queued_bytes, rig.counts().tls_buffered_bytes), (0, 0));
}

/// Pushes that were encrypted and did not leave are lost with their connection, and counted like those that still waited.
#[test]
fn pushes_lost_inside_a_record_are_counted() {
    const PUSHES: usize = 50;
    let (mut rig, config) = rig();
    let client = Secured::log_in(&mut rig, &config);
    rig.stop_reading(client.index);
    for _ in 0..PUSHES {
        rig.push(ShardTarget::All { per_second: 0 }, 100);
        rig.turns(3);
    }
    assert!(rig.counts().tls_buffered_bytes > 0, "a record waits");
    let id = rig.id(client.index);
    rig.shard.io().reset(id);
    rig.turns(10);
    assert_eq!(rig.counts().connections, 0);
    assert_eq!(rig.counts().drops_closed, PUSHES as u64);
    assert_eq!((rig.counts().queued_bytes, rig.counts().tls_buffered_bytes), (0, 0));
}

/// The end of a connection is said inside TLS (RFC 8446, section 6.1), after what was queued, so that a client can tell it from an
/// attacker's.
#[test]
fn the_end_is_said_inside_tls() {
    for queued in [0, 1, LARGE] {
        let (mut rig, config) = rig();
        let mut client = Secured::log_in(&mut rig, &config);
        rig.stop_reading(client.index);
        if queued > 0 {
            rig.push(ShardTarget::All { per_second: 0 }, queued);
            rig.turns(3);
        }
        let conn = *rig.feed.registered.keys().next().expect("the login");
        rig.say(ControlToShard::Close { conn, reason: CloseReason::ClosedByOperator });
        rig.turns(3);
        let id = rig.id(client.index);
        rig.shard.io().set_window(id, WIDE);
        for _ in 0..20 {
            client.talk(&mut rig);
            rig.turn();
        }
        let expected = if queued > 0 { PUSH_OVERHEAD + queued } else { 0 };
        assert_eq!(client.received.len(), expected, "what was queued comes first");
        let state = client.session.process_new_packets().expect("proper TLS");
        assert!(state.peer_has_closed(), "the end was said behind {queued} bytes");
    }
}

/// However many TLS handshakes have something to read, a few go on in one turn, each gets its turn, and those that leave meanwhile
/// cost nobody's.
#[test]
fn tls_handshakes_of_a_turn_are_bounded() {
    const CROWD: usize = 10 * TLS_HANDSHAKES_PER_TURN;
    let (mut rig, _) = rig();
    let crowd: Vec<usize> = (0..CROWD).map(|_| rig.connect(TCP)).collect();
    for &index in &crowd {
        let id = rig.id(index);
        rig.shard.io().write(id, b"this is no handshake");
    }
    // Some are gone before their turn comes.
    for &index in crowd.iter().skip(TLS_HANDSHAKES_PER_TURN).step_by(5) {
        let id = rig.id(index);
        rig.shard.io().reset(id);
    }
    let ended = |rig: &Rig| rig.counts().closes[CloseReason::TlsFailed as usize];
    let mut turns = 0;
    while rig.counts().closes.iter().sum::<u64>() < CROWD as u64 {
        let before = ended(&rig);
        rig.turn();
        assert!(ended(&rig) - before <= TLS_HANDSHAKES_PER_TURN as u64);
        turns += 1;
        assert!(turns < 100, "{} of {CROWD} have ended", ended(&rig));
    }
    assert!(ended(&rig) >= CROWD as u64 * 7 / 10, "most had their turn");
}

/// A crowd larger than what can be read in a handshake's time lets as many in as its half, not nobody; and when it is over, who
/// comes then finds the door free.
#[test]
fn a_crowd_of_tls_handshakes_still_lets_clients_in() {
    const TURN_MS: u64 = 4;
    const TURNS: usize = 100;
    const READS: usize = TURNS * TLS_HANDSHAKES_PER_TURN;
    let (server, config) = configs();
    let handshake_timeout_ms = TURNS as u64 * TURN_MS;
    let mut rig = Rig::new(1024, ShardSettings { tls: Some(server), handshake_timeout_ms, ..Default::default() });
    let mut crowd: Vec<Secured> = (0..READS * 3 / 2).map(|_| Secured::connect(&mut rig, &config)).collect();
    let until = rig.ms + handshake_timeout_ms + 2_000;
    while rig.ms < until {
        for client in &mut crowd {
            client.talk(&mut rig);
        }
        rig.turn();
        rig.ms += TURN_MS;
    }
    let logins = rig.counts().logins;
    assert!(logins >= READS as u64 / 3, "{logins} of {} got in, with time for {READS} reads", crowd.len());
    assert!(rig.counts().closes[CloseReason::HandshakeTimeout as usize] > 0, "the crowd was too large for all");
    Secured::log_in(&mut rig, &config);
}
