//! The bound on what waits in a whole shard, by each policy, and when its drops can be seen.

use halley_gateway::close::CloseReason;
use halley_gateway::limits::{ShardSettings, SlowConsumer};
use halley_gateway::mesh::msg::{ConnRef, ControlToShard, ShardTarget};
use halley_protocol::goim::op;

use crate::rig::{Rig, TCP};

/// Bytes of the shard's bound, of one push on TCP, and how many fit.
const BOUND: u64 = 1_000;
const FILLER: usize = 100;
const PUSH_BYTES: u64 = 16 + 8 + FILLER as u64;
const FIT: u64 = BOUND / PUSH_BYTES;
const PUSHES: u64 = 20;

/// Two clients that read nothing, and one that reads; no queue of one connection is ever full.
fn rig(slow_consumer: SlowConsumer) -> Rig {
    let settings =
        ShardSettings { slow_consumer, shard_queue_bytes_max: BOUND, queue_bytes_max: 1 << 24, ..Default::default() };
    let mut rig = Rig::new(16, settings);
    for _ in 0..3 {
        rig.log_in(TCP);
    }
    rig.stop_reading(0);
    rig.stop_reading(1);
    rig
}

/// Push to everybody. What was dropped in the turn of a push must be published when the turn is over: the shard may
/// sleep long.
fn push_to_all(rig: &mut Rig) {
    for _ in 0..PUSHES {
        rig.push(ShardTarget::All { per_second: 0 }, FILLER);
        for _ in 0..3 {
            rig.turn();
            assert_eq!(rig.stats.read(), *rig.counts(), "published in the turn in which it happened");
            assert!(rig.counts().queued_bytes <= BOUND, "{} bytes wait", rig.counts().queued_bytes);
        }
    }
}

/// Numbers of pushes that a client has got, in order.
fn got(rig: &Rig, client: usize) -> Vec<u64> {
    let received = rig.clients[client].received.iter().enumerate();
    received.filter(|(_, got)| **got).map(|(number, _)| number as u64).collect()
}

/// Everybody reads: nothing is left waiting, and the bound is free again.
fn read_on(rig: &mut Rig, clients: &[usize]) {
    for &client in clients {
        rig.read_again(client);
    }
    rig.turns(10);
    assert_eq!(rig.counts().queued_bytes, 0);
    let before = rig.counts().deliveries;
    rig.push(ShardTarget::All { per_second: 0 }, FILLER);
    rig.turns(3);
    assert_eq!(rig.counts().deliveries - before, rig.counts().authenticated);
}

#[test]
fn drop_newest_drops_what_does_not_fit_the_shard() {
    let mut rig = rig(SlowConsumer::DropNewest);
    push_to_all(&mut rig);
    let counts = rig.counts();
    assert_eq!((counts.deliveries, counts.drops_shard_full), (PUSHES + FIT, 2 * PUSHES - FIT));
    assert_eq!((counts.drops_queue_full, counts.drops_oldest, counts.drops_closed), (0, 0, 0));
    read_on(&mut rig, &[0, 1]);
    let kept: Vec<u64> = (0..FIT / 2).chain([PUSHES]).collect();
    assert_eq!((got(&rig, 0), got(&rig, 1)), (kept.clone(), kept), "the first ones, and those after the jam");
    assert_eq!(got(&rig, 2), (0..=PUSHES).collect::<Vec<_>>(), "who reads misses nothing");
}

/// A connection makes room in the shard with its own pushes only: when it has none left, the new one is dropped as
/// `shard_full`.
#[test]
fn drop_oldest_makes_room_with_its_own_pushes() {
    let mut rig = rig(SlowConsumer::DropOldest);
    push_to_all(&mut rig);
    let counts = rig.counts();
    assert_eq!((counts.deliveries, counts.drops_oldest, counts.drops_shard_full), (3 * PUSHES, 2 * PUSHES - FIT, 0));
    let poor = rig.log_in(TCP);
    rig.stop_reading(poor);
    let conn = rig.feed.logins[&format!("key{poor}")];
    for _ in 0..2 {
        rig.push(ShardTarget::Conn(conn), FILLER);
        rig.turns(3);
    }
    let counts = rig.counts();
    assert_eq!((counts.drops_oldest, counts.drops_shard_full), (2 * PUSHES - FIT + 1, 1));
    read_on(&mut rig, &[0, 1, poor]);
    let kept: Vec<u64> = (PUSHES - FIT / 2..PUSHES).chain([PUSHES + 2]).collect();
    assert_eq!((got(&rig, 0), got(&rig, 1)), (kept.clone(), kept), "the last ones, and those after the jam");
    assert_eq!(got(&rig, 2), (0..PUSHES).chain([PUSHES + 2]).collect::<Vec<_>>(), "who reads misses nothing");
}

#[test]
fn close_ends_those_who_do_not_fit_the_shard() {
    let mut rig = rig(SlowConsumer::Close);
    push_to_all(&mut rig);
    let counts = rig.counts();
    assert_eq!(counts.closes[CloseReason::SlowConsumer as usize], 2);
    // The second may use what the first one's end made free.
    assert_eq!((counts.deliveries, counts.drops_closed), (PUSHES + FIT / 2 + FIT, FIT / 2 + FIT));
    assert_eq!((counts.drops_shard_full, counts.drops_oldest, counts.authenticated), (0, 0, 1));
    read_on(&mut rig, &[]);
    assert_eq!(got(&rig, 2), (0..=PUSHES).collect::<Vec<_>>(), "who reads misses nothing");
}

/// A push is in the queue of every receiver when the turn that took it is over, whoever reads: those who are
/// named, a room's members and everybody.
#[test]
fn a_push_is_in_every_queue_after_one_turn() {
    const CLIENTS: usize = 40;
    const ROOM: &str = "live://1";
    let mut rig = Rig::new(64, ShardSettings::default());
    for _ in 0..CLIENTS {
        let client = rig.log_in(TCP);
        let client = &mut rig.clients[client];
        let seq = client.say(op::CHANGE_ROOM, ROOM.as_bytes(), [0; 4], 1);
        client.expected.push_back((op::CHANGE_ROOM_REPLY, seq, ROOM.into()));
        client.rooms_asked.push_back(ROOM.to_owned());
    }
    rig.turns(4);
    for client in 0..CLIENTS {
        rig.stop_reading(client);
    }
    let conns: Box<[ConnRef]> = rig.feed.logins.values().copied().collect();
    let room = rig.feed.rooms[ROOM];
    let targets = [ShardTarget::Conns(conns), ShardTarget::Room(room), ShardTarget::All { per_second: 0 }];
    for (number, target) in (1..).zip(targets) {
        rig.push(target, FILLER);
        rig.turn();
        assert_eq!(rig.counts().deliveries, number * CLIENTS as u64, "whoever reads, and nobody does");
    }
    read_on(&mut rig, &(0..CLIENTS).collect::<Vec<_>>());
    for client in 0..CLIENTS {
        assert_eq!(got(&rig, client), [0, 1, 2, 3]);
    }
}

/// Pushes that were in the ring before the order to drain are delivered before anybody is sent away, even where the
/// shard takes them in several turns because queues fill.
#[test]
fn a_drain_waits_for_the_pushes_before_it() {
    let settings = ShardSettings { queue_bytes_max: 1_000, ..Default::default() };
    let mut rig = Rig::new(16, settings);
    let client = rig.log_in(TCP);
    for _ in 0..50 {
        rig.push(ShardTarget::All { per_second: 0 }, FILLER);
    }
    rig.say(ControlToShard::Drain { over_ms: 0 });
    rig.turns(60);
    assert_eq!(got(&rig, client), (0..50).collect::<Vec<_>>());
    let counts = rig.counts();
    assert_eq!((counts.closes[CloseReason::Drain as usize], counts.drops_closed), (1, 0));
}

/// Paced broadcasts that a drain hurries all arrive, in their order, and do not fill memory meanwhile: as many as fit
/// the queues leave before the next are taken.
#[test]
fn hurried_broadcasts_keep_to_the_queues() {
    const LONG: usize = 20_000;
    let mut rig = Rig::new(16, ShardSettings::default());
    for _ in 0..3 {
        rig.log_in(TCP);
    }
    for _ in 0..60 {
        rig.push(ShardTarget::All { per_second: 1 }, LONG);
    }
    rig.turns(3);
    assert_eq!((rig.counts().broadcasts_paced, rig.counts().broadcasts_hurried), (60, 0));
    rig.say(ControlToShard::Drain { over_ms: 0 });
    let bound = 3 * u64::from(ShardSettings::default().queue_bytes_max);
    for _ in 0..200 {
        rig.turn();
        assert!(rig.counts().queued_bytes <= bound, "{} bytes wait", rig.counts().queued_bytes);
    }
    for client in 0..3 {
        assert_eq!(got(&rig, client), (0..60).collect::<Vec<_>>());
    }
    let counts = rig.counts();
    assert_eq!((counts.broadcasts_paced, counts.broadcasts_hurried), (0, 60));
    assert_eq!(counts.closes[CloseReason::Drain as usize], 3);
}

/// What comes behind an order to drain does not put it off: the shard goes on taking messages, whoever is still there
/// gets them, and broadcasts from before the order still reach everybody.
#[test]
fn pushes_go_on_during_a_drain_and_do_not_hold_it_up() {
    const OVER_MS: u64 = 2_000;
    let mut rig = Rig::new(16, ShardSettings::default());
    for _ in 0..4 {
        rig.log_in(TCP);
    }
    let conns: Box<[ConnRef]> = rig.feed.logins.values().copied().collect();
    for _ in 0..10 {
        rig.push_slowly(20_000);
    }
    rig.turns(2);
    rig.say(ControlToShard::Drain { over_ms: OVER_MS });
    let (mut named, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        rig.push_slowly(0);
        named.push(rig.push(ShardTarget::Conns(conns.clone()), 0));
        rig.ms += 10;
        rig.turn();
        assert_eq!(rig.counts().inbox_depth, 2, "the ring is emptied in every turn");
        gone.push(rig.counts().closes[CloseReason::Drain as usize]);
    }
    assert!(gone.contains(&2) && gone.last() == Some(&4), "they go one by one: {gone:?}");
    rig.turns(3);
    for client in 0..4 {
        let got = got(&rig, client);
        assert!((0..10).all(|number| got.contains(&number)), "what was there before the order: {got:?}");
        let mut missed = named.iter().map(|number| *number as u64).skip_while(|number| got.contains(number));
        assert!(missed.all(|number| !got.contains(&number)), "everything up to its turn, and nothing behind: {got:?}");
    }
    let first_gone = gone.iter().position(|gone| *gone > 0).expect("somebody went");
    assert!(got(&rig, 0).len().min(got(&rig, 3).len()) > 10, "pushes came meanwhile");
    assert!(first_gone < 200, "the drain began though broadcasts kept coming");
}
