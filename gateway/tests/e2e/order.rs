//! Order per key and per room under load, with several pushers at once (goim C16): nothing is lost, doubled or swapped.

use std::collections::BTreeMap;

use crate::support::gateway::Start;
use crate::support::*;

const PUSHES: usize = 300;

/// Four pushers push numbered messages to one room, to two keys and to everybody; every client sees each pusher's
/// numbers to each target ascending, none missing, none twice.
#[test]
fn order_is_kept_per_pusher_and_target() {
    let gateway = Start::new().shards(2).run();
    let mut clients: Vec<Client> =
        (0..8).map(|n| Transport::BOTH[n % 2].login(&gateway, 0, &format!("k{n}"), "test://load", &[1000])).collect();
    std::thread::scope(|scope| {
        for pusher in 0..4 {
            let gateway = &gateway;
            scope.spawn(move || {
                for number in 0..PUSHES {
                    match number % 3 {
                        0 => gateway.push_room("test://load", 1000, &format!("room {pusher} {number}")),
                        1 => gateway.push_key(&format!("k{pusher}"), 1000, &format!("key {pusher} {number}")),
                        _ => gateway.push_all(1000, &format!("all {pusher} {number}")),
                    };
                }
            });
        }
        for (index, client) in clients.iter_mut().enumerate() {
            scope.spawn(move || {
                let own = if index < 4 { PUSHES / 3 } else { 0 };
                let total = 4 * (PUSHES / 3) * 2 + own;
                let mut last: BTreeMap<(String, String), usize> = BTreeMap::new();
                for _ in 0..total {
                    let frame = client.receive();
                    let words: Vec<&str> = frame.text().split(' ').collect();
                    let number: usize = words[2].parse().expect("a number");
                    let before = last.insert((words[0].into(), words[1].into()), number);
                    let expected =
                        before.map_or(["room", "key", "all"].iter().position(|w| *w == words[0]), |n| Some(n + 3));
                    assert_eq!(Some(number), expected, "client {index}: {}", frame.text());
                }
            });
        }
    });
}
