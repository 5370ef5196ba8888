//! A second op 7 on a live connection, when control decides and when it has no time.

use halley_gateway::close::CloseReason;
use halley_gateway::limits::{AuthMode, REPORTS_WAITING_MAX, ShardSettings};
use halley_gateway::mesh::msg::{ConnRef, ControlToShard};
use halley_gateway::shard::Now;
use halley_protocol::goim::{Frame, op};
use halley_protocol::login::{AuthRefusal, Identity};

use crate::rig::{Rig, TCP, WEBSOCKET};

/// Asks with op 7; control answers as given.
fn ask(rig: &mut Rig, index: usize, answer: Result<Box<Identity>, AuthRefusal>) -> i32 {
    let asked = rig.asked.len();
    let seq = rig.clients[index].say(op::AUTH, b"a token", [0; 4], 1);
    rig.turns(5);
    assert_eq!(rig.asked.len(), asked + 1, "control is asked");
    let conn = *rig.asked.last().expect("just asked");
    rig.say(ControlToShard::Authenticated { conn, result: answer });
    rig.turns(5);
    seq
}

fn expect_reply(rig: &mut Rig, index: usize, reply: i32, seq: i32) {
    rig.clients[index].expected.push_back((reply, seq, Vec::new()));
}

/// A crowd at the door must not end those who are inside: a refresh that nobody decides leaves the login as it is, and
/// may be tried again; one that is refused ends the connection.
#[test]
fn an_undecided_refresh_leaves_the_login_as_it_is() {
    let mut rig = Rig::new(16, ShardSettings { auth: AuthMode::Ask, ..Default::default() });
    let identity = || Box::new(Identity { mid: 1, key: "key0".into(), ..Default::default() });
    let index = rig.connect(TCP);
    expect_reply(&mut rig, index, op::AUTH_REPLY, 1);
    let seq = ask(&mut rig, index, Ok(identity()));
    assert_eq!(seq, 1);
    assert!(rig.clients[index].authenticated);
    ask(&mut rig, index, Err(AuthRefusal::Unavailable));
    let seq = rig.clients[index].say(op::HEARTBEAT, b"", [0; 4], 1);
    expect_reply(&mut rig, index, op::HEARTBEAT_REPLY, seq);
    rig.turns(5);
    assert!(rig.clients[index].expected.is_empty(), "it goes on");
    assert_eq!(rig.counts().refusals[AuthRefusal::Unavailable as usize], 1);
    let seq = seq + 1;
    expect_reply(&mut rig, index, op::AUTH_REPLY, seq);
    assert_eq!(ask(&mut rig, index, Ok(identity())), seq);
    assert!(rig.clients[index].expected.is_empty(), "the next one is decided");
    assert_eq!(rig.counts().closes.iter().sum::<u64>(), 0);
    ask(&mut rig, index, Err(AuthRefusal::Expired));
    assert_eq!(rig.counts().closes[CloseReason::AuthRefused as usize], 1);
}

/// A token on which a library panicked ends its connection as our fault, at the login and at a refresh, and the client
/// is told to come again.
#[test]
fn a_token_that_breaks_its_reader_ends_its_connection() {
    for refresh in [false, true] {
        let mut rig = Rig::new(16, ShardSettings { auth: AuthMode::Ask, ..Default::default() });
        let index = rig.connect(WEBSOCKET);
        if refresh {
            expect_reply(&mut rig, index, op::AUTH_REPLY, 1);
            ask(&mut rig, index, Ok(Box::new(Identity { mid: 1, key: "key0".into(), ..Default::default() })));
        }
        ask(&mut rig, index, Err(AuthRefusal::Internal));
        assert_eq!(rig.clients[index].closed, Some(1011));
        assert_eq!(rig.counts().closes[CloseReason::InternalError as usize], 1);
        assert_eq!(rig.counts().refusals[AuthRefusal::Internal as usize], 1);
    }
}

/// A refresh for which there is not even room to ask stays without an answer, and what comes behind it is handled in
/// its order.
#[test]
fn a_refresh_without_room_to_ask_swaps_nothing() {
    let mut rig = Rig::new(16, ShardSettings { auth: AuthMode::Ask, ..Default::default() });
    let index = rig.connect(WEBSOCKET);
    expect_reply(&mut rig, index, op::AUTH_REPLY, 1);
    ask(&mut rig, index, Ok(Box::new(Identity { mid: 1, key: "key0".into(), ..Default::default() })));
    let id = rig.id(index);
    let now = Now { ms: rig.ms, us: 0, unix_s: 0 };
    // Control asks much and hears nothing.
    while rig.counts().reports_waiting < REPORTS_WAITING_MAX as u64 {
        for _ in 0..64 {
            rig.say(ControlToShard::Describe { request: 1, conn: ConnRef { slot: 0, generation: 99 } });
        }
        rig.shard.turn(now);
    }
    let frame = |op, seq, body: &'static [u8]| [&Frame { version: 1, op, seq, body }.header()[..], body].concat();
    let first = [frame(op::CHANGE_ROOM, 101, b"a"), frame(op::AUTH, 102, b"t"), frame(op::HEARTBEAT, 103, b"")];
    let second = [frame(op::CHANGE_ROOM, 201, b"b"), frame(op::HEARTBEAT, 202, b"")];
    rig.clients[index].say_raw(2, true, &first.concat(), [0; 4]);
    rig.clients[index].say_raw(2, true, &second.concat(), [0; 4]);
    let said: Vec<u8> = rig.clients[index].outgoing.drain(..).collect();
    rig.shard.io().write(id, &said);
    let mut heard = Vec::new();
    for _ in 0..20 {
        rig.shard.turn(now);
        rig.feed.step(usize::MAX);
        heard.extend(rig.shard.io().read(id));
    }
    let mut replies = Vec::new();
    let mut rest = heard.as_slice();
    while let [_, length, message @ ..] = rest {
        let (message, behind) = message.split_at(usize::from(*length));
        replies.push(i32::from_be_bytes(message[12..16].try_into().expect("four bytes")));
        rest = behind;
    }
    assert_eq!(replies, [101, 103, 201, 202]);
    assert_eq!(rig.counts().refusals[AuthRefusal::Unavailable as usize], 1);
}
