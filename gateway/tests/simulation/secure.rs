//! Connections inside TLS: a few handshakes a turn, a queue within its bound, drops that are counted, an end that is
//! said, and failures that are nobody else's.

use halley_gateway::close::CloseReason;
use halley_gateway::io::sim::ServerEnd;
use halley_gateway::limits::{ShardSettings, TLS_HANDSHAKES_PER_TURN};
use halley_gateway::mesh::msg::{ControlToShard, ShardTarget};

use crate::rig::{Rig, TCP, WIDE};
use crate::secured::{NAME, PLANTED, Secured, configs, rig};

/// Filler of a push that takes several records.
const LARGE: usize = 60_000;
/// What else a push has on TCP: its frame's header and its number.
const PUSH_OVERHEAD: usize = 16 + 8;

/// A client that reads gets everything, and never more waits for it than the turn's flush takes and one push beyond the
/// half of its bound: the rest stays in the inbox.
#[test]
fn a_queue_inside_tls_keeps_its_bound() {
    const PUSHES: usize = 60;
    let (mut rig, config) = rig(ShardSettings::default());
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

/// Pushes that were encrypted and did not leave are lost with their connection, and counted like those that still
/// waited.
#[test]
fn pushes_lost_inside_a_record_are_counted() {
    const PUSHES: usize = 50;
    let (mut rig, config) = rig(ShardSettings::default());
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

/// The end of a connection is said inside TLS (RFC 8446, section 6.1), after what was queued, so that a client can tell
/// it from an attacker's.
#[test]
fn the_end_is_said_inside_tls() {
    for queued in [0, 1, LARGE] {
        let (mut rig, config) = rig(ShardSettings::default());
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

/// However many TLS handshakes have something to read, a few go on in one turn, each gets its turn, and those that
/// leave meanwhile cost nobody's.
#[test]
fn tls_handshakes_of_a_turn_are_bounded() {
    const CROWD: usize = 10 * TLS_HANDSHAKES_PER_TURN;
    let (mut rig, _) = rig(ShardSettings::default());
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

/// A crowd larger than what can be read in a handshake's time lets as many in as its half, not nobody; and when it is
/// over, who comes then finds the door free.
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

/// What a stranger makes the TLS library do is nobody else's business: a panic in it ends that connection, by a name of
/// its own and without a word; a message that it refuses ends its own. Neighbours are served on.
#[test]
fn a_failure_of_the_library_ends_its_connection_only() {
    let (mut rig, config) = rig(ShardSettings::default());
    let mut neighbour = Secured::log_in(&mut rig, &config);
    let contained = halley_service::panics::contained_total();
    for stranger in 1..=3 {
        let mut victim = Secured::connect_to(&mut rig, &config, PLANTED);
        let hello = victim.ciphertext();
        let id = rig.id(victim.index);
        rig.shard.io().write(id, &hello);
        rig.turns(10);
        assert_eq!(rig.counts().closes[CloseReason::InternalError as usize], stranger);
        assert!(halley_service::panics::contained_total() >= contained + stranger);
        assert!(rig.shard.io().read(id).is_empty(), "nothing can be said");
        assert_ne!(rig.shard.io().server_end(id), ServerEnd::Open);
    }
    // A handshake message that is longer than any may be, at once and cut.
    let too_long = [0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
    for cut in 1..=too_long.len() {
        let victim = Secured::connect_to(&mut rig, &config, NAME);
        let id = rig.id(victim.index);
        for part in [&too_long[..cut], &too_long[cut..], b"and more"] {
            rig.shard.io().write(id, part);
            rig.turns(5);
        }
        rig.shard.io().shutdown(id);
    }
    assert_eq!(rig.counts().closes[CloseReason::TlsFailed as usize], too_long.len() as u64);
    assert_eq!(rig.counts().closes[CloseReason::InternalError as usize], 3);
    for _ in 0..3 {
        neighbour.talk(&mut rig);
        rig.push(ShardTarget::All { per_second: 0 }, 10);
        rig.turns(5);
    }
    neighbour.talk(&mut rig);
    assert_eq!(neighbour.received.len(), 3 * (PUSH_OVERHEAD + 10), "the neighbour is served");
    assert_eq!((rig.counts().connections, rig.counts().tls_buffered_bytes), (1, 0));
    Secured::log_in(&mut rig, &config);
}
