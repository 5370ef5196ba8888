//! What a client may send: floods of fragments end by name and in bounded memory, and reading goes on where it had to
//! stop.

use halley_gateway::close::CloseReason;
use halley_gateway::limits::{REPLY_BYTES_MAX, Rate, ShardSettings};
use halley_protocol::goim::op;

use crate::client::KEY_OP;
use crate::rig::{Rig, TCP, UNLIMITED, WEBSOCKET};

/// Continuations of one message that never ends, until the connection does; by which reason it did.
fn flood(logged_in: bool, piece: &[u8], settings: ShardSettings) -> CloseReason {
    let message_bytes_max = u64::from(settings.message_bytes_max);
    let mut rig = Rig::new(16, settings);
    let neighbour = rig.log_in(TCP);
    let index = if logged_in { rig.log_in(WEBSOCKET) } else { rig.connect(WEBSOCKET) };
    let mut opcode = 2;
    while rig.counts().closes.iter().sum::<u64>() == 0 {
        for _ in 0..20 {
            rig.clients[index].say_raw(opcode, false, piece, [0; 4]);
            opcode = 0;
        }
        rig.turn();
        rig.ms += 1;
        let held = rig.counts().partial_bytes;
        // A message grows by doubling, and one receive may lie behind it.
        assert!(
            held <= 2 * message_bytes_max + 512,
            "{held} bytes are held for a message of {message_bytes_max} at most"
        );
        assert!(rig.ms < 60_000, "the flood goes on for ever");
    }
    rig.turns(20);
    assert!(rig.clients[index].closed.is_some(), "the client is told");
    assert_eq!(rig.counts().partial_bytes, 0);
    let heartbeat = rig.clients[neighbour].say(op::HEARTBEAT, b"", [0; 4], 1);
    rig.clients[neighbour].expected.push_back((op::HEARTBEAT_REPLY, heartbeat, Vec::new()));
    rig.turns(5);
    assert!(rig.clients[neighbour].expected.is_empty(), "a neighbour is served");
    *CloseReason::ALL.iter().find(|reason| rig.counts().closes[**reason as usize] > 0).expect("one has ended")
}

#[test]
fn a_flood_of_tiny_fragments_ends_by_its_rate_or_by_its_size() {
    let settings = ShardSettings::default;
    let unpaced = || ShardSettings { frames: UNLIMITED, bytes: UNLIMITED, ..settings() };
    assert_eq!(flood(true, b"x", settings()), CloseReason::FrameRate);
    assert_eq!(flood(true, b"", settings()), CloseReason::FrameRate);
    assert_eq!(flood(true, b"x", unpaced()), CloseReason::MessageTooBig);
    assert_eq!(flood(false, b"x", settings()), CloseReason::MessageTooBig);
    assert_eq!(flood(false, b"", settings()), CloseReason::HandshakeTimeout);
}

/// A client that asks without reading is read until the replies reach their bound, and no further; when it reads, all
/// that it asked is answered, in order, and nothing but its reading is needed for that.
#[test]
fn a_throttled_receive_resumes() {
    const ASKED: usize = 2_000;
    for listener in [TCP, WEBSOCKET] {
        let settings = ShardSettings { frames: UNLIMITED, bytes: UNLIMITED, ..Default::default() };
        let mut rig = Rig::new(16, settings);
        let index = rig.log_in(listener);
        rig.stop_reading(index);
        let read_before = rig.counts().bytes_in;
        let body = format!("{KEY_OP},").repeat(100) + &KEY_OP.to_string();
        let client = &mut rig.clients[index];
        for _ in 0..ASKED {
            let seq = client.say(op::SUBSCRIBE, body.as_bytes(), [0; 4], 1);
            client.expected.push_back((op::SUBSCRIBE_REPLY, seq, body.clone().into_bytes()));
            client.accept_changes += 1;
        }
        let sent = client.outgoing.len() as u64;
        let mut read = u64::MAX;
        while read != rig.counts().bytes_in {
            read = rig.counts().bytes_in;
            rig.turns(5);
            assert!(rig.counts().queued_bytes <= u64::from(REPLY_BYTES_MAX));
        }
        assert!(read - read_before < sent / 2, "it is read no further while its replies wait");
        assert!(rig.counts().queued_bytes > u64::from(REPLY_BYTES_MAX) / 4, "replies wait");
        rig.read_again(index);
        for _ in 0..20_000 {
            if !rig.clients[index].expected.is_empty() {
                rig.turn();
            }
        }
        assert!(rig.clients[index].expected.is_empty(), "{} are not answered", rig.clients[index].expected.len());
        assert_eq!(rig.counts().bytes_in - read_before, sent);
        assert_eq!((rig.counts().queued_bytes, rig.counts().partial_bytes), (0, 0));
    }
}

/// How fast a client talks does not depend on how the network cuts what it says: a message counts as the goim frames in
/// it, a fragment as one, however many pieces it comes in. Empty fragments count too, or they could be sent without
/// end.
#[test]
fn frames_are_counted_and_not_the_pieces_they_come_in() {
    let frames = Rate { per_second: 1, burst: 7 };
    let mut rig = Rig::new(16, ShardSettings { frames, ..Default::default() });
    let index = rig.log_in(WEBSOCKET);
    let id = rig.id(index);
    for fragments in [1, 3] {
        let client = &mut rig.clients[index];
        let seq = client.say(op::HEARTBEAT, b"", [1, 2, 3, 4], fragments);
        client.expected.push_back((op::HEARTBEAT_REPLY, seq, Vec::new()));
        let bytes: Vec<u8> = client.outgoing.drain(..).collect();
        for byte in bytes {
            rig.shard.io().write(id, &[byte]);
            rig.turns(3);
        }
        assert!(rig.clients[index].expected.is_empty(), "{fragments} fragments are answered");
    }
    // One message in one frame and one in three: four of seven. The login is not counted.
    for empty in 0..4 {
        assert_eq!(rig.clients[index].closed, None, "after {empty} empty fragments");
        rig.clients[index].say_raw(if empty == 0 { 2 } else { 0 }, false, b"", [0; 4]);
        rig.turns(6);
    }
    assert_eq!(rig.clients[index].closed, Some(1008));
    assert_eq!(rig.counts().closes[CloseReason::FrameRate as usize], 1);
}
