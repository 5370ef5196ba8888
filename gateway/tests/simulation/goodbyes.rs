//! A client's goodbye inside TLS (RFC 8446 §6.1), wherever it stands: it ends the connection at once, but what was
//! asked for before it is answered first, however long that takes to decide.

use std::sync::Arc;

use halley_gateway::close::CloseReason;
use halley_gateway::io::sim::ServerEnd;
use halley_gateway::limits::{AuthMode, REPLY_BYTES_MAX, ShardSettings};
use halley_gateway::mesh::msg::{ConnRef, ControlToShard};
use halley_protocol::goim::{Decoded, decode_stream, op};
use halley_protocol::login::{AuthRefusal, Identity};
use rustls::ClientConfig;

use crate::client::KEY_OP;
use crate::rig::{Rig, UNLIMITED, WIDE};
use crate::secured::{NAME, Secured, rig, token};

/// What follows the goodbye on the socket.
#[derive(Clone, Copy, Debug)]
enum Behind {
    /// Nothing: the client waits for our end.
    Nothing,
    /// FIN.
    End,
    /// Bytes that are nobody's, at once and later, then FIN.
    Bytes,
}

const BEHIND: [Behind; 3] = [Behind::Nothing, Behind::End, Behind::Bytes];

/// The client's last flight: what it has to say, its goodbye, and what is behind. Returns the bytes up to its goodbye.
fn say_goodbye(rig: &mut Rig, client: &mut Secured, behind: Behind) -> u64 {
    client.session.send_close_notify();
    let mut flight = client.ciphertext();
    let said = flight.len() as u64;
    let id = rig.id(client.index);
    match behind {
        Behind::Nothing => rig.shard.io().write(id, &flight),
        Behind::End => {
            rig.shard.io().write(id, &flight);
            rig.shard.io().shutdown(id);
        }
        Behind::Bytes => {
            flight.extend([0x5a; 700]);
            rig.shard.io().write(id, &flight);
            rig.turns(2);
            rig.shard.io().write(id, &[0x5a; 700]);
            rig.shard.io().shutdown(id);
        }
    }
    rig.turns(6);
    said
}

/// The connection has ended by its client, who got these replies and was told of the end.
fn ended(rig: &mut Rig, client: &mut Secured, replies: &[(i32, i32)]) {
    for _ in 0..20 {
        client.hear(rig);
        rig.turn();
    }
    let mut rest = client.received.as_slice();
    let mut heard = Vec::new();
    while let Ok(Decoded::Frame { frame, consumed }) = decode_stream(rest) {
        heard.push((frame.op, frame.seq));
        rest = &rest[consumed..];
    }
    assert_eq!(heard, replies);
    let state = client.session.process_new_packets().expect("proper TLS");
    assert!(state.peer_has_closed(), "the end is said inside TLS");
    let id = rig.id(client.index);
    assert_eq!(rig.shard.io().server_end(id), ServerEnd::Closed, "nothing is destroyed by a reset");
    assert_eq!(rig.counts().closes[CloseReason::PeerClosed as usize], 1);
    assert_eq!((rig.counts().authenticated, rig.counts().pending_handshakes), (0, 0), "it is not online");
    rig.shard.io().shutdown(id);
    rig.turns(6);
    assert_eq!((rig.counts().connections, rig.counts().tls_buffered_bytes), (0, 0));
}

/// A client that has shaken hands, with nothing said inside.
fn shaken(rig: &mut Rig, config: &Arc<ClientConfig>) -> Secured {
    let mut client = Secured::connect_to(rig, config, NAME);
    for _ in 0..12 {
        client.talk(rig);
        rig.turn();
    }
    assert!(!client.session.is_handshaking());
    client
}

fn identity() -> Box<Identity> {
    Box::new(Identity { mid: 1, key: "key0".into(), ..Identity::default() })
}

fn answer(rig: &mut Rig, result: Result<Box<Identity>, AuthRefusal>) {
    let conn: ConnRef = rig.asked.pop().expect("control is asked");
    rig.say(ControlToShard::Authenticated { conn, result });
    rig.turns(6);
}

/// In the flight of a login that the shard decides, behind it and a heartbeat.
#[test]
fn a_goodbye_behind_an_open_login() {
    for behind in BEHIND {
        let (mut rig, config) = rig(ShardSettings::default());
        let mut client = shaken(&mut rig, &config);
        client.say(op::AUTH, 1, &token(0));
        client.say(op::HEARTBEAT, 2, b"");
        say_goodbye(&mut rig, &mut client, behind);
        ended(&mut rig, &mut client, &[(op::AUTH_REPLY, 1), (op::HEARTBEAT_REPLY, 2)]);
    }
}

/// In the flight of a login that control decides, while it decides.
#[test]
fn a_goodbye_behind_an_asked_login() {
    for behind in BEHIND {
        for allowed in [true, false] {
            let (mut rig, config) = rig(ShardSettings { auth: AuthMode::Ask, ..Default::default() });
            let mut client = shaken(&mut rig, &config);
            client.say(op::AUTH, 1, b"a token");
            client.say(op::HEARTBEAT, 2, b"");
            say_goodbye(&mut rig, &mut client, behind);
            rig.turns(50);
            assert_eq!(rig.counts().closes.iter().sum::<u64>(), 0, "the login is answered first");
            if allowed {
                answer(&mut rig, Ok(identity()));
                ended(&mut rig, &mut client, &[(op::AUTH_REPLY, 1), (op::HEARTBEAT_REPLY, 2)]);
            } else {
                answer(&mut rig, Err(AuthRefusal::Expired));
                assert_eq!(rig.counts().closes[CloseReason::AuthRefused as usize], 1);
            }
        }
    }
}

/// Behind a refresh, granted or not decided in time.
#[test]
fn a_goodbye_behind_a_refresh() {
    for behind in BEHIND {
        for decided in [true, false] {
            let (mut rig, config) = rig(ShardSettings { auth: AuthMode::Ask, ..Default::default() });
            let mut client = shaken(&mut rig, &config);
            client.say(op::AUTH, 1, b"a token");
            client.talk(&mut rig);
            rig.turns(6);
            answer(&mut rig, Ok(identity()));
            client.say(op::AUTH, 2, b"another token");
            say_goodbye(&mut rig, &mut client, behind);
            assert_eq!(rig.counts().closes.iter().sum::<u64>(), 0, "the refresh is answered first");
            answer(&mut rig, if decided { Ok(identity()) } else { Err(AuthRefusal::Unavailable) });
            let replies = [(op::AUTH_REPLY, 1), (op::AUTH_REPLY, 2)];
            ended(&mut rig, &mut client, if decided { &replies } else { &replies[..1] });
        }
    }
}

/// Behind a change into a room that feed has yet to hear of.
#[test]
fn a_goodbye_behind_a_room_change() {
    for behind in BEHIND {
        let (mut rig, config) = rig(ShardSettings::default());
        let mut client = Secured::log_in(&mut rig, &config);
        client.say(op::CHANGE_ROOM, 2, b"live://1");
        say_goodbye(&mut rig, &mut client, behind);
        ended(&mut rig, &mut client, &[(op::CHANGE_ROOM_REPLY, 2)]);
    }
}

/// Behind requests whose replies pile up, since the client does not read: none is dropped, and the end comes when they
/// are out. However the receives cut its flight, in one of these the goodbye comes with the request that is one too
/// many.
#[test]
fn a_goodbye_behind_throttled_replies() {
    const BODY: usize = 500;
    const NEARLY: i32 = 62;
    const MORE: i32 = 4;
    let replies = |count: i32| usize::try_from(count).expect("a few") * (16 + BODY);
    let throttled_at = REPLY_BYTES_MAX as usize / 2;
    assert!(replies(NEARLY) < throttled_at && replies(NEARLY + MORE) > throttled_at);
    let body = format!("{KEY_OP},").repeat(BODY / 5 - 1) + &KEY_OP.to_string() + "0";
    assert_eq!(body.len(), BODY);
    for behind in BEHIND {
        let mut read_to_its_end = 0;
        for padding in [0, 40, 80, 120, 160, 200] {
            let settings = ShardSettings { frames: UNLIMITED, bytes: UNLIMITED, ..Default::default() };
            let (mut rig, config) = rig(settings);
            let mut client = Secured::log_in(&mut rig, &config);
            rig.stop_reading(client.index);
            (0..NEARLY).for_each(|seq| client.say(op::SUBSCRIBE, seq, body.as_bytes()));
            client.talk(&mut rig);
            rig.turns(300);
            let padding = vec![b'x'; padding];
            let mut last: Vec<(i32, i32, &[u8])> =
                (NEARLY..NEARLY + MORE).map(|seq| (op::SUBSCRIBE, seq, body.as_bytes())).collect();
            last.push((op::UNSUBSCRIBE, NEARLY + MORE, &padding));
            client.say_all(&last);
            let read_before = rig.counts().bytes_in;
            let said = say_goodbye(&mut rig, &mut client, behind);
            rig.turns(100);
            read_to_its_end += u32::from(rig.counts().bytes_in - read_before >= said);
            let closes = rig.counts().closes[CloseReason::PeerClosed as usize];
            assert_eq!(closes, 0, "what was asked for is answered first");
            let id = rig.id(client.index);
            rig.shard.io().set_window(id, WIDE);
            for _ in 0..400 {
                client.hear(&mut rig);
                rig.turn();
            }
            let mut replies: Vec<(i32, i32)> = (0..NEARLY + MORE).map(|seq| (op::SUBSCRIBE_REPLY, seq)).collect();
            replies.push((op::UNSUBSCRIBE_REPLY, NEARLY + MORE));
            ended(&mut rig, &mut client, &replies);
        }
        assert!(read_to_its_end > 0, "the goodbye was read while replies were waiting");
    }
}
