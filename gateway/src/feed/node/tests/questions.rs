//! What the admin side asks: who is where, what there is, close these, tell me when.

use super::*;

fn slots(entries: &[DirectoryEntry]) -> Vec<(u16, u32, &str, i64)> {
    entries.iter().map(|entry| (entry.shard, entry.conn.slot, &*entry.key, entry.mid)).collect()
}

#[test]
fn logins_are_found_by_key_mid_and_connection() {
    let mut bench = Bench::new(2, 64);
    let first = bench.log_in(0, 1, "a", 7);
    bench.log_in(1, 2, "b", 7);
    let find = |bench: &mut Bench, select| bench.answered(|reply| Request::Find { select, reply });
    assert_eq!(slots(&find(&mut bench, Select::Key("b".into()))), [(1, 2, "b", 7)]);
    assert_eq!(slots(&find(&mut bench, Select::Mid(7))), [(0, 1, "a", 7), (1, 2, "b", 7)]);
    assert_eq!(slots(&find(&mut bench, Select::Mid(0))), []);
    let stale = ConnRef { slot: 2, generation: 0 };
    let named = bench.answered(|reply| Request::Name { conns: vec![(1, stale), (0, first)], reply });
    assert_eq!(slots(&named), [(0, 1, "a", 7)], "an old generation is nobody");
}

#[test]
fn rooms_are_found_counted_and_listed_over_many_turns() {
    let mut bench = Bench::new(2, 8_192);
    for slot in 0..6_000 {
        let room = RoomRef { slot, generation: 0 };
        let name = Some(format!("test://{slot}").into());
        // Every third is open but empty.
        bench.say(0, ShardToFeed::Room { room, name, online: slot % 3, closed: false });
    }
    bench.open_room(1, 5, "test://1", 10);
    while bench.node.feed.more {
        bench.node.turn();
    }
    let found = bench.answered(|reply| Request::FindRoom { room: "test://1".into(), reply });
    let mut found: Vec<_> = found.into_iter().map(|(shard, room, members)| (shard, room.slot, members)).collect();
    found.sort_unstable();
    assert_eq!(found, [(0, 1, 1), (1, 5, 10)]);
    let totals = bench.answered(|reply| Request::Totals { reply });
    assert_eq!(totals, Totals { connections: 0, addresses: 0, rooms: 4_000 });

    let mut lists: Vec<_> = (0..200).map(|_| bench.ask(|reply| Request::Rooms { reply })).collect();
    let mut behind = bench.ask(|reply| Request::Totals { reply });
    bench.node.turn();
    assert!(lists[0].try_recv().is_err(), "one turn is not enough for so many rooms");
    assert!(behind.try_recv().is_ok(), "nobody waits behind those who want lists");
    while bench.node.feed.more {
        bench.node.turn();
    }
    for list in &mut lists {
        let mut rooms = Arc::unwrap_or_clone(list.try_recv().expect("made by now"));
        rooms.sort();
        assert_eq!(rooms.len(), 4_000);
        assert_eq!(rooms[0], ("test://1".to_owned(), 11));
    }
}

#[test]
fn closing_a_user_closes_all_its_logins_through_full_rings() {
    let mut bench = Bench::new(2, 2);
    for slot in 0..6 {
        bench.log_in(slot as usize % 2, slot, &format!("k{slot}"), 7);
        bench.forget_heard();
    }
    let mut closed =
        bench.ask(|reply| Request::Close { select: Select::Mid(7), reason: CloseReason::ClosedByOperator, reply });
    bench.node.turn();
    assert!(closed.try_recv().is_err(), "three do not fit a ring of two");
    let mut heard = bench.heard(0);
    heard.extend(bench.heard(1));
    bench.node.turn();
    assert_eq!(closed.try_recv(), Ok(6));
    heard.extend(bench.heard(0));
    heard.extend(bench.heard(1));
    heard.sort();
    assert_eq!(heard, (0..6).map(|slot| format!("close {slot} closed_by_operator")).collect::<Vec<_>>());
    assert_eq!(bench.answered(|reply| Request::Find { select: Select::Mid(7), reply }).len(), 0);
}

#[test]
fn a_watch_tells_who_is_there_who_comes_and_who_goes() {
    let mut bench = Bench::new(2, 64);
    let watch = |bench: &mut Bench, select, room| {
        let (news, heard) = WatchSink::new(room);
        assert!(bench.requests.try_send(Request::Watch { select, news }).is_ok());
        bench.node.turn();
        heard
    };
    fn told(heard: &mut WatchSource) -> Vec<String> {
        std::iter::from_fn(|| heard.news.try_recv().ok())
            .map(|news| match news {
                WatchNews::There(entry) => format!("there {}.{} {}", entry.shard, entry.conn.slot, entry.key),
                WatchNews::Opened(entry) => format!("opened {}.{} {}", entry.shard, entry.conn.slot, entry.key),
                WatchNews::Gone { shard, conn } => format!("gone {shard}.{}", conn.slot),
            })
            .collect()
    }
    let first = bench.log_in(0, 1, "a", 7);
    let mut user = watch(&mut bench, Select::Mid(7), 16);
    let mut key = watch(&mut bench, Select::Key("b".into()), 16);
    let mut slow = watch(&mut bench, Select::Mid(7), 1);
    bench.log_in(1, 2, "b", 7);
    bench.log_in(1, 3, "c", 8);
    bench.log_in(0, 4, "b", 9);
    bench.say(0, ShardToFeed::Gone { conn: first });
    bench.node.turn();
    assert_eq!(told(&mut user), ["there 0.1 a", "opened 1.2 b", "gone 1.2", "gone 0.1"], "a kicked login is gone too");
    assert_eq!(told(&mut key), ["opened 1.2 b", "gone 1.2", "opened 0.4 b"]);
    assert_eq!(told(&mut slow), ["there 0.1 a"], "what does not fit is dropped");
    assert_eq!((slow.take_lost(), slow.take_lost(), user.take_lost()), (3, 0, 0), "and counted for who missed it");
    let counts = bench.stats.read();
    assert_eq!((counts.watches, counts.watch_news_dropped), (3, 3));

    drop((user, key, slow));
    let mut many: Vec<_> = (0..crate::feed::watch::WATCHES_MAX).map(|_| watch(&mut bench, Select::Mid(1), 1)).collect();
    let mut refused = watch(&mut bench, Select::Mid(1), 1);
    assert_eq!(refused.news.try_recv().err(), Some(mpsc::error::TryRecvError::Disconnected), "one too many");
    assert_eq!(bench.stats.read().watches_refused, 1);
    many.pop();
    let mut admitted = watch(&mut bench, Select::Mid(1), 1);
    assert_eq!(admitted.news.try_recv().err(), Some(mpsc::error::TryRecvError::Empty), "a place was free again");
}
