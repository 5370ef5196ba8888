//! A second op 7 on a live connection, when control decides and when it has no time.

use halley_gateway::conn::close::CloseReason;
use halley_gateway::limits::{AuthMode, ShardSettings};
use halley_gateway::mesh::msg::ControlToShard;
use halley_gateway::session::{AuthRefusal, Identity};
use halley_protocol::goim::op;

use crate::rig::{Rig, TCP};

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

/// A crowd at the door must not end those who are inside: a refresh that nobody decides leaves the login as it is, and may be tried
/// again; one that is refused ends the connection.
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
