//! Pushes: to whom, in which order, and what full rings do to them.

use super::*;

#[test]
fn each_shard_is_asked_once_and_only_if_it_has_somebody() {
    let mut bench = Bench::new(3, 64);
    for (shard, slot, key, mid) in [(0, 1, "a", 1), (0, 2, "b", 1), (2, 3, "c", 1), (2, 4, "d", 2)] {
        bench.log_in(shard, slot, key, mid);
    }
    bench.forget_heard();
    bench.delivered(to_keys(&["c", "a", "nobody", "b", "a"], "keys"));
    bench.delivered(message(Target::Mids(vec![2, 1, 0, -7, 2]), "mids"));
    bench.delivered(to_room("nowhere", "room"));
    assert_eq!(bench.heard(0), ["push conns 1,2: keys", "push conns 1,2: mids"], "a key named twice is one connection");
    assert_eq!(bench.heard(1), [""; 0]);
    assert_eq!(bench.heard(2), ["push conn 3: keys", "push conns 3,4: mids"]);
}

#[test]
fn one_frame_serves_all_shards() {
    let mut bench = Bench::new(2, 64);
    bench.log_in(0, 1, "a", 0);
    bench.log_in(1, 2, "b", 0);
    bench.forget_heard();
    bench.delivered(to_keys(&["a", "b"], "x"));
    let payload = |bench: &mut Bench, shard: usize| match bench.shards[shard].from_feed.pop() {
        Some(FeedToShard::Push(ShardPush { payload: Some(payload), .. })) => payload,
        other => panic!("a push, not {other:?}"),
    };
    let (first, second) = (payload(&mut bench, 0), payload(&mut bench, 1));
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(Arc::strong_count(&first), 2, "feed keeps none");
}

#[test]
fn bodies_are_framed_as_they_are_meant() {
    let mut bench = Bench::new(1, 64);
    bench.log_in(0, 1, "a", 0);
    bench.forget_heard();
    let frame = b"\0\0\0\x11\0\x10\0\x01\0\0\x03\xe8\0\0\0\0x";
    let plain = Body::Plain { version: -1, op: 1000, seq: -1, body: Bytes::from_static(b"x") };
    let message = Body::Message(Bytes::from_static(b"x"));
    let mut sent = |body| {
        bench.delivered(Delivery { body: Some(body), ..to_keys(&["a"], "") });
        match bench.shards[0].from_feed.pop() {
            Some(FeedToShard::Push(ShardPush { payload: Some(payload), op: 1000, .. })) => {
                (payload.bytes(false).to_vec(), payload.bytes(true).len())
            }
            other => panic!("a push, not {other:?}"),
        }
    };
    assert_eq!(sent(Body::Raw(Bytes::copy_from_slice(frame))), (frame.to_vec(), 2 + 16 + 17));
    assert_eq!(sent(message), (frame.to_vec(), 2 + 16 + 17));
    let plain = sent(plain);
    assert_eq!(plain.0, b"\0\0\0\x11\0\x10\xff\xff\0\0\x03\xe8\xff\xff\xff\xffx");
    assert_eq!(plain.1, 2 + 17, "a plain frame is not wrapped");
}

#[test]
fn receipts_sum_over_the_shards_asked() {
    let mut bench = Bench::new(3, 64);
    bench.log_in(0, 1, "a", 9);
    bench.log_in(2, 2, "b", 9);
    bench.forget_heard();
    let counted = |push| Delivery { count: true, ..push };
    let mut matched = bench.delivered(counted(message(Target::Mids(vec![9]), "x"))).expect("was asked for");
    for (shard, number) in [(0, 1), (2, 40)] {
        let message = bench.shards[shard].from_feed.pop().expect("a push");
        assert!(matched.try_recv().is_err(), "not every shard has answered");
        bench.say(shard, ShardToFeed::Receipt { id: receipt_of(&message), matched: number });
        bench.node.turn();
    }
    assert_eq!(matched.try_recv(), Ok(41));

    let mut nobody = bench.delivered(counted(to_keys(&["nobody"], "x"))).expect("was asked for");
    assert_eq!(nobody.try_recv(), Ok(0), "no shard is asked");
    assert!(bench.delivered(to_keys(&["a"], "x")).is_none());
    bench.forget_heard();

    bench.delivered(Delivery { body: None, ..counted(to_keys(&["a"], "")) });
    bench.delivered(Delivery { body: None, ..to_keys(&["a"], "") });
    assert_eq!(bench.heard(0), ["count conn 1"], "a dry run asks; one that nobody counts does not");
    assert_eq!(bench.stats.read().receipts_open, 1);
}

#[test]
fn c14_a_full_ring_delays_a_push_and_skips_nobody() {
    let mut bench = Bench::new(2, 2);
    bench.log_in(0, 1, "slow", 0);
    bench.log_in(1, 2, "quick", 0);
    bench.forget_heard();
    let mut answers: Vec<_> =
        (0..5).map(|n| bench.deliver(vec![to_keys(&["slow", "quick"], &n.to_string())])).collect();
    for _ in 0..3 {
        bench.node.turn();
    }
    assert!(answers[1].try_recv().is_ok() && answers[2].try_recv().is_err());
    let mut quick = bench.heard(1);
    assert_eq!(quick, ["push conn 2: 0", "push conn 2: 1"], "a push goes to all of its shards or waits");
    let mut slow = Vec::new();
    for _ in 0..5 {
        slow.extend(bench.heard(0));
        bench.node.turn();
        quick.extend(bench.heard(1));
    }
    assert_eq!(slow, (0..5).map(|n| format!("push conn 1: {n}")).collect::<Vec<_>>());
    assert_eq!(quick, (0..5).map(|n| format!("push conn 2: {n}")).collect::<Vec<_>>());
    assert!(answers[4].try_recv().is_ok(), "answered without an error once it is in the rings");
    assert!(bench.stats.read().requests_deferred > 0);
}

#[test]
fn a_push_that_waits_meets_the_directory_of_its_delivery() {
    let mut bench = Bench::new(2, 2);
    let old = bench.log_in(0, 1, "k", 0);
    bench.log_in(0, 2, "full", 0);
    let mut answer = bench.deliver(vec![to_keys(&["k"], "x")]);
    bench.node.turn();
    assert!(answer.try_recv().is_err(), "the ring is full");
    bench.say(0, ShardToFeed::Gone { conn: old });
    bench.node.turn();
    bench.log_in(1, 3, "k", 0);
    bench.forget_heard();
    bench.node.turn();
    assert!(answer.try_recv().is_ok());
    assert_eq!(bench.heard(1), ["push conn 3: x"], "the key is there now");
}

#[test]
fn c16_pushes_to_a_room_keep_their_order_through_full_rings() {
    let mut bench = Bench::new(2, 4);
    bench.open_room(0, 1, "live://1", 1);
    bench.open_room(1, 2, "live://1", 1);
    bench.node.turn();
    bench.forget_heard();
    // Two calls of many pushes each, and single ones behind them.
    let bodies: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    for chunk in bodies[..200].chunks(100) {
        drop(bench.deliver(chunk.iter().map(|body| to_room("live://1", body)).collect()));
    }
    for body in &bodies[200..] {
        drop(bench.deliver(vec![to_room("live://1", body)]));
    }
    let mut heard = [Vec::new(), Vec::new()];
    for turn in 0..1_000 {
        bench.node.turn();
        // One shard reads rarely.
        heard[0].extend(bench.heard(0));
        if turn % 5 == 0 {
            heard[1].extend(bench.heard(1));
        }
    }
    for (heard, room) in heard.iter().zip([1, 2]) {
        let expected: Vec<String> = bodies.iter().map(|body| format!("push room {room}: {body}")).collect();
        assert_eq!(*heard, expected);
    }
}

#[test]
fn c17_a_broadcast_is_one_message_per_shard_with_its_share_of_the_speed() {
    let mut bench = Bench::new(3, 64);
    for slot in 0..3 {
        bench.log_in(0, slot, &format!("a{slot}"), 0);
    }
    bench.log_in(2, 9, "b", 0);
    bench.forget_heard();
    bench.delivered(message(Target::All { speed: 8 }, "paced"));
    bench.delivered(message(Target::All { speed: 1 }, "slow"));
    bench.delivered(message(Target::All { speed: 0 }, "at once"));
    assert_eq!(bench.heard(0), ["push all 6/s: paced", "push all 1/s: slow", "push all 0/s: at once"]);
    assert_eq!(bench.heard(1), [""; 0], "nobody is there");
    assert_eq!(bench.heard(2), ["push all 2/s: paced", "push all 1/s: slow", "push all 0/s: at once"]);
    assert_eq!(bench.stats.read().pushes_all, 3);
}

#[test]
fn one_large_call_leaves_turns_to_others() {
    let mut bench = Bench::new(1, 64);
    bench.log_in(0, 1, "k", 0);
    bench.forget_heard();
    let keys: Vec<&str> = vec!["nobody"; 3_000];
    let mut large = bench.deliver((0..4).map(|_| to_keys(&keys, "x")).collect());
    let mut small = bench.deliver(vec![to_keys(&["k"], "y")]);
    bench.node.turn();
    assert!(large.try_recv().is_err() && bench.node.feed.more, "its budget ends before the call does");
    bench.say(0, register(conn(2), "new", 0));
    bench.node.turn();
    assert_eq!(bench.heard(0), ["registered 2"], "news is taken in between");
    bench.node.turn();
    assert!(large.try_recv().is_ok() && small.try_recv().is_ok());
    assert_eq!(bench.heard(0), ["push conn 1: y"]);
}

/// An order to shed stands in every shard's ring between the push before it and the push behind it; when one ring has
/// no room no shard gets it, and nothing passes it.
#[test]
fn an_order_to_shed_keeps_its_place_among_pushes() {
    let mut bench = Bench::new(2, 4);
    for (shard, slot, key) in [(0, 1, "a"), (1, 2, "b")] {
        bench.log_in(shard, slot, key, 0);
    }
    bench.forget_heard();
    let order = Shed { who: ShedWho::Everybody, over_ms: 1_000, reason: CloseReason::FeedGap };
    let all = |body| message(Target::All { speed: 0 }, body);
    let mut first = bench.deliver(vec![all("1"), to_keys(&["b"], "2"), to_keys(&["b"], "3"), to_keys(&["b"], "4")]);
    let mut shed = bench.ask(|reply| Request::Shed { order, reply });
    let mut last = bench.deliver(vec![all("5")]);
    bench.node.turn();
    assert_eq!(first.try_recv().map(|matched| matched.len()), Ok(4));
    assert!(shed.try_recv().is_err() && last.try_recv().is_err(), "the second shard's ring is full");
    assert_eq!(bench.heard(0), ["push all 0/s: 1"]);
    assert_eq!(bench.heard(1).len(), 4);
    bench.node.turn();
    assert_eq!(shed.try_recv().map(|matched| matched.len()), Ok(0));
    assert!(last.try_recv().is_ok());
    for shard in 0..2 {
        assert_eq!(bench.heard(shard), ["shed as feed_gap", "push all 0/s: 5"]);
    }
    assert_eq!(bench.stats.read().sheds, 1);
}
