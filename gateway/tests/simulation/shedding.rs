//! Orders to shed: who is meant, when each one goes, and what they get until then.

use halley_gateway::close::CloseReason;
use halley_gateway::io::sim::ServerEnd;
use halley_gateway::limits::{SHEDS_PER_TURN, ShardSettings};
use halley_gateway::mesh::msg::{ControlToShard, ShardTarget, Shed, ShedWho};

use crate::rig::{Rig, TCP, WEBSOCKET};

const OVER_MS: u64 = 10_000;
const EVERYBODY: Shed = Shed { who: ShedWho::Everybody, over_ms: OVER_MS, reason: CloseReason::FeedGap };

fn rig(clients: usize) -> Rig {
    let settings = ShardSettings { handshake_timeout_ms: 10 * OVER_MS, ..ShardSettings::default() };
    let mut rig = Rig::new(64, settings);
    for client in 0..clients {
        rig.log_in(if client % 2 == 0 { TCP } else { WEBSOCKET });
    }
    rig
}

fn ended(rig: &Rig, reason: CloseReason) -> u64 {
    rig.counts().closes[reason as usize]
}

/// Turns until so much time has passed.
fn pass(rig: &mut Rig, ms: u64) {
    let end_ms = rig.ms + ms;
    while rig.ms < end_ms {
        rig.ms = (rig.ms + 10).min(end_ms);
        rig.turn();
    }
    rig.turns(3);
}

fn is_open(rig: &mut Rig, client: usize) -> bool {
    let id = rig.id(client);
    rig.shard.io().server_end(id) == ServerEnd::Open
}

/// S4: those who are logged in when the order is taken end evenly over its time; who waits for his login then, or comes
/// later, stays, though he has the slot of one who was meant.
#[test]
fn s4_those_who_are_logged_in_end_and_nobody_else() {
    let mut rig = rig(10);
    let half_way = rig.connect(TCP);
    rig.feed.shed(EVERYBODY);
    rig.turn();
    assert_eq!((ended(&rig, CloseReason::FeedGap), rig.counts().sheds_waiting), (0, 10));
    for tenth in 1..=10 {
        pass(&mut rig, OVER_MS / 10);
        assert_eq!((ended(&rig, CloseReason::FeedGap), rig.counts().sheds_waiting), (tenth, 10 - tenth));
        if tenth == 4 {
            rig.log_in(WEBSOCKET);
        }
    }
    pass(&mut rig, OVER_MS);
    assert_eq!(ended(&rig, CloseReason::FeedGap), 10);
    assert!(is_open(&mut rig, half_way) && is_open(&mut rig, 11));
    for client in (0..10).filter(|client| client % 2 == 1) {
        assert_eq!(rig.clients[client].closed, Some(1012), "a browser is told");
    }
}

/// S4: until its turn a connection gets every push; the order stands between the pushes of its ring.
#[test]
fn s4_pushes_come_until_ones_turn() {
    let mut rig = rig(8);
    rig.push(ShardTarget::All { per_second: 0 }, 0);
    rig.feed.shed(EVERYBODY);
    rig.turn();
    for _ in 0..10 {
        rig.push(ShardTarget::All { per_second: 0 }, 0);
        pass(&mut rig, OVER_MS / 10);
    }
    for client in &rig.clients {
        let got = client.received.iter().filter(|got| **got).count();
        assert!(client.received[..got].iter().all(|got| *got), "none is missing before the last");
        assert!(got >= 2, "the one before the order, and the one behind it");
    }
    let received = rig.clients.iter().map(|client| client.received.iter().filter(|got| **got).count() as u64);
    assert_eq!(received.sum::<u64>(), rig.counts().deliveries, "and what was delivered has arrived");
    assert_eq!(ended(&rig, CloseReason::FeedGap), 8);
}

/// S4: a second order during the first: who waits already keeps his turn, the others are spread over the second one's
/// time, and nobody is counted twice.
#[test]
fn s4_an_order_during_another_joins_it() {
    let mut rig = rig(10);
    rig.feed.shed(EVERYBODY);
    rig.turn();
    pass(&mut rig, OVER_MS / 2);
    assert_eq!(ended(&rig, CloseReason::FeedGap), 5);
    for _ in 0..10 {
        rig.log_in(TCP);
    }
    rig.feed.shed(EVERYBODY);
    rig.turn();
    assert_eq!(rig.counts().sheds_waiting, 15);
    pass(&mut rig, OVER_MS / 2);
    assert_eq!((ended(&rig, CloseReason::FeedGap), rig.counts().sheds_waiting), (15, 5), "the first five are gone");
    pass(&mut rig, OVER_MS / 2);
    assert_eq!((ended(&rig, CloseReason::FeedGap), rig.counts().authenticated), (20, 0));
}

/// S4: who leaves by himself makes no room for anybody else to go early, and his slot's next owner is left alone.
#[test]
fn s4_who_leaves_meanwhile_changes_nothing_for_the_others() {
    let mut rig = rig(10);
    rig.feed.shed(EVERYBODY);
    rig.turn();
    for client in 0..10 {
        let id = rig.id(client);
        rig.shard.io().reset(id);
    }
    rig.turns(10);
    assert_eq!(rig.counts().connections, 0);
    for _ in 0..10 {
        rig.log_in(TCP);
    }
    pass(&mut rig, 2 * OVER_MS);
    assert_eq!((ended(&rig, CloseReason::FeedGap), rig.counts().authenticated), (0, 10));
    rig.feed.shed(EVERYBODY);
    pass(&mut rig, 2 * OVER_MS);
    assert_eq!((ended(&rig, CloseReason::FeedGap), rig.counts().authenticated), (10, 0));
}

/// A drain takes everybody, under its own name; an order that comes behind it means nobody.
#[test]
fn a_drain_ends_a_shed() {
    let mut rig = rig(6);
    rig.feed.shed(EVERYBODY);
    rig.turn();
    rig.say(ControlToShard::Drain { over_ms: OVER_MS });
    rig.turns(3);
    assert_eq!(rig.counts().sheds_waiting, 0);
    rig.feed.shed(Shed { over_ms: 0, ..EVERYBODY });
    pass(&mut rig, 2 * OVER_MS);
    assert_eq!((ended(&rig, CloseReason::FeedGap), ended(&rig, CloseReason::Drain)), (0, 6));
}

/// Control may have some of them end, for a reason of its own, at once.
#[test]
fn control_sheds_so_many() {
    let mut rig = rig(10);
    let order = Shed { who: ShedWho::AtMost(3), over_ms: 0, reason: CloseReason::ClosedByOperator };
    rig.say(ControlToShard::Shed(order));
    rig.turns(5);
    assert_eq!((ended(&rig, CloseReason::ClosedByOperator), rig.counts().authenticated), (3, 7));
    rig.say(ControlToShard::Shed(Shed { who: ShedWho::AtMost(300), ..order }));
    rig.turns(5);
    assert_eq!((ended(&rig, CloseReason::ClosedByOperator), rig.counts().authenticated), (10, 0));
}

/// A crowd that is due at once goes in several turns.
#[test]
fn a_turn_sheds_so_many_and_no_more() {
    let crowd = SHEDS_PER_TURN + 10;
    let mut rig = Rig::new(2_048, ShardSettings::default());
    rig.log_in_crowd(TCP, crowd);
    rig.feed.shed(Shed { over_ms: 0, ..EVERYBODY });
    rig.turn();
    assert_eq!(ended(&rig, CloseReason::FeedGap), SHEDS_PER_TURN as u64);
    rig.turn();
    assert_eq!(ended(&rig, CloseReason::FeedGap), crowd as u64);
}
