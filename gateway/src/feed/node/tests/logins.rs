//! Logins and departures: who is answered what, and who is closed for whom.

use super::*;

#[test]
fn a_login_is_answered_before_any_push_to_its_key() {
    let mut bench = Bench::new(2, 64);
    let room = RoomRef { slot: 4, generation: 0 };
    bench.say(1, ShardToFeed::Room { room, name: Some("r".into()), online: 0, closed: false });
    bench.say(1, register(conn(7), "k", 5));
    let _keys = bench.deliver(vec![to_keys(&["k"], "first")]);
    let _room = bench.deliver(vec![to_room("r", "second")]);
    bench.node.turn();
    let heard = ["room 4 others 0", "registered 7", "push conn 7: first", "push room 4: second"];
    assert_eq!(bench.heard(1), heard, "the room is known before the login that wants it is answered");
    assert_eq!(bench.heard(0), [""; 0]);
}

#[test]
fn c03_a_relogin_closes_the_old_connection_and_its_late_departure_leaves_the_new_one_reachable() {
    let mut bench = Bench::new(2, 64);
    let old = bench.log_in(0, 1, "k", 5);
    let new = bench.log_in(1, 2, "k", 5);
    assert_eq!(bench.heard(0), ["registered 1", "close 1 key_replaced"]);
    assert_eq!(bench.heard(1), ["registered 2"]);
    bench.delivered(to_keys(&["k"], "to the new one only"));
    bench.say(0, ShardToFeed::Gone { conn: old });
    bench.node.turn();
    bench.delivered(to_keys(&["k"], "still"));
    bench.delivered(message(Target::Mids(vec![5]), "by mid"));
    assert_eq!(bench.heard(0), [""; 0]);
    assert_eq!(bench.heard(1), ["push conn 2: to the new one only", "push conn 2: still", "push conn 2: by mid"]);
    bench.say(1, ShardToFeed::Gone { conn: new });
    bench.node.turn();
    bench.delivered(to_keys(&["k"], "to nobody"));
    assert_eq!(bench.heard(1), [""; 0]);
    let counts = bench.stats.read();
    assert_eq!((counts.logins, counts.keys, counts.mids, counts.kicked_key), (0, 0, 0, 1));
    assert_eq!((counts.pushes_keys, counts.pushes_mids, counts.pushes_unmatched), (3, 1, 1));
}

#[test]
fn a_slot_that_passed_on_forgets_its_last_login() {
    let mut bench = Bench::new(1, 64);
    bench.log_in(0, 1, "first", 1);
    let next = ConnRef { slot: 1, generation: 999 };
    bench.say(0, register(next, "second", 2));
    bench.say(0, ShardToFeed::Gone { conn: conn(1) });
    bench.node.turn();
    bench.delivered(to_keys(&["first", "second"], "x"));
    assert_eq!(bench.heard(0), ["registered 1", "registered 1", "push conn 1: x"]);
    assert_eq!(bench.stats.read().logins, 1);
}

#[test]
fn limits_close_the_oldest_or_refuse_the_newest_and_can_change() {
    let mut bench = Bench::new(1, 64);
    let limits = |policy, per_key_max, per_mid_max| DirectoryLimits {
        per_key_max,
        per_key_policy: policy,
        per_mid_max,
        per_mid_policy: policy,
    };
    let set = |bench: &mut Bench, limits| {
        assert!(bench.requests.try_send(Request::SetLimits { limits }).is_ok());
        bench.node.turn();
    };

    set(&mut bench, limits(LimitPolicy::RejectNew, 2, 3));
    for (slot, key, mid) in [(0, "a", 1), (1, "a", 1), (2, "a", 1), (3, "b", 1), (4, "c", 1), (5, "c", 2)] {
        bench.log_in(0, slot, key, mid);
    }
    let heard =
        ["registered 0", "registered 1", "close 2 key_limit", "registered 3", "close 4 user_limit", "registered 5"];
    assert_eq!(bench.heard(0), heard);
    bench.delivered(to_keys(&["a"], "to both"));
    bench.delivered(message(Target::Mids(vec![1]), "to three"));
    assert_eq!(bench.heard(0), ["push conns 0,1: to both", "push conns 0,1,3: to three"]);

    set(&mut bench, limits(LimitPolicy::CloseOldest, 1, 2));
    bench.log_in(0, 6, "a", 1);
    let heard = ["close 0 key_replaced", "close 1 key_replaced", "registered 6"];
    assert_eq!(bench.heard(0), heard, "a lower limit holds for those who are there");
    bench.log_in(0, 7, "d", 1);
    assert_eq!(bench.heard(0), ["close 3 user_limit", "registered 7"]);
    let counts = bench.stats.read();
    assert_eq!((counts.refused_key, counts.refused_user, counts.kicked_key, counts.kicked_user), (1, 1, 2, 1));
}

#[test]
fn a_kick_waits_for_room_in_the_ring_of_the_one_who_goes() {
    let mut bench = Bench::new(2, 2);
    bench.log_in(0, 1, "k", 0);
    bench.log_in(0, 2, "other", 0);
    // Shard 0 has not read its two answers: its ring is full.
    bench.log_in(1, 3, "k", 0);
    bench.say(1, register(conn(4), "behind", 0));
    bench.node.turn();
    assert_eq!(bench.heard(1), [""; 0], "the new login must not be answered before the old one is told");
    assert_eq!(bench.heard(0), ["registered 1", "registered 2"]);
    bench.node.turn();
    assert_eq!(bench.heard(0), ["close 1 key_replaced"]);
    assert_eq!(bench.heard(1), ["registered 3", "registered 4"]);
    assert!(bench.stats.read().news_deferred > 0);
}

#[test]
fn room_counts_go_to_the_other_shards_once_per_turn() {
    let mut bench = Bench::new(3, 64);
    let room = bench.open_room(0, 1, "live://1", 2);
    bench.open_room(1, 2, "live://1", 0);
    bench.node.turn();
    assert_eq!(bench.heard(0), ["room 1 others 0"]);
    assert_eq!(bench.heard(1), ["room 2 others 2"], "told when it opens the room");
    for online in 3..20 {
        bench.count_room(0, room, online);
    }
    bench.node.turn();
    bench.node.turn();
    assert_eq!(bench.heard(1), ["room 2 others 19"]);
    assert_eq!(bench.heard(0), [""; 0], "its own members are not news");
    assert_eq!(bench.heard(2), [""; 0], "it does not have the room");
    bench.say(0, ShardToFeed::Room { room, name: None, online: 0, closed: true });
    bench.node.turn();
    bench.node.turn();
    assert_eq!(bench.heard(1), ["room 2 others 0"]);
    bench.delivered(to_room("live://1", "x"));
    assert_eq!(bench.heard(0), [""; 0], "it closed the room");
    assert_eq!(bench.heard(1), ["push room 2: x"], "a room without members yet is reachable");
    let counts = bench.stats.read();
    assert_eq!((counts.rooms, counts.rooms_peopled, counts.room_counts_waiting), (1, 0, 0));
}
