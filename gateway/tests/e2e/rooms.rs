//! Rooms: who is in which, and how many are there (goim §1.7, §1.8).

use crate::support::gateway::Start;
use crate::support::*;

/// Joining, changing and leaving: a room push reaches exactly the members, whatever they accept.
#[test]
fn a_room_push_reaches_the_members_and_nobody_else() {
    let gateway = Start::new().shards(2).run();
    for transport in Transport::BOTH {
        let mut clients: Vec<Client> = (0..6)
            .map(|n| transport.login(&gateway, 0, &format!("k{n}"), if n < 3 { "test://a" } else { "test://b" }, &[]))
            .collect();
        assert_eq!(gateway.push_room("test://a", 1000, "to a"), 3);
        assert_eq!(gateway.push_room("test://b", 1000, "to b"), 3);
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.receive().text(), if number < 3 { "to a" } else { "to b" });
        }
        clients[0].change_room("test://b");
        clients[1].change_room("");
        assert_eq!(gateway.push_room("test://a", 1000, "a again"), 1);
        assert_eq!(gateway.push_room("test://b", 1000, "b again"), 4);
        for (number, client) in clients.iter_mut().enumerate().filter(|(number, _)| *number != 1) {
            assert_eq!(client.receive().text(), if number == 2 { "a again" } else { "b again" });
        }
        clients[1].change_room("test://a");
        assert_eq!(gateway.push_room("test://a", 1000, "welcome"), 2);
        assert_eq!(clients[1].receive().text(), "welcome", "nothing came while it was in no room");
        drop(clients);
        gateway.wait_metric("halley_rooms", &[], 0.0);
    }
}

/// Room names are bytes of any kind; a push reaches them by the same bytes.
#[test]
fn room_names_are_taken_verbatim() {
    let gateway = Gateway::start();
    let mut client = Transport::Tcp.login(&gateway, 0, "", "", &[]);
    for room in ["live://1000", "直播://房间", "no scheme", "://", " spaced ", "a://b?c=d&e#f"] {
        client.change_room(room);
        assert_eq!(gateway.push_room(room, 1000, room), 1, "{room}");
        assert_eq!(client.receive().text(), room);
    }
}

/// Heartbeat replies count the members on all shards, soon after each change.
#[test]
fn heartbeats_count_the_members_of_all_shards() {
    let gateway = Start::new().shards(2).run();
    let mut clients: Vec<Client> =
        (0..20).map(|n| Transport::BOTH[n % 2].login(&gateway, 0, "", "test://counted", &[])).collect();
    for client in &mut clients {
        eventually("the count is 20", || (client.heartbeat() == 20).then_some(()));
    }
    clients.truncate(5);
    for client in &mut clients {
        eventually("the count is 5", || (client.heartbeat() == 5).then_some(()));
    }
    clients[0].change_room("test://other");
    assert_eq!(clients[0].heartbeat(), 1);
    eventually("the count is 4", || (clients[1].heartbeat() == 4).then_some(()));
}

/// Proves defect C8 is not there: changing to the room one is in already, as its only member, leaves everything as it
/// is.
#[test]
fn c08_changing_to_the_same_room_stays_in_it() {
    let gateway = Gateway::start();
    for transport in Transport::BOTH {
        let mut client = transport.login(&gateway, 0, "", "test://home", &[]);
        for _ in 0..3 {
            client.change_room("test://home");
            assert_eq!(client.heartbeat(), 1);
            assert_eq!(gateway.push_room("test://home", 1000, "still here"), 1);
            assert_eq!(client.receive().text(), "still here");
        }
        drop(client);
        gateway.wait_metric("halley_rooms", &[], 0.0);
    }
}

/// Proves defect C9 is not there: whatever a client changed to before it left, it is removed from one room once. The
/// other members stay reachable and counted.
#[test]
fn c09_leaving_never_empties_a_room_for_others() {
    let gateway = Gateway::start();
    let mut stays = Transport::Tcp.login(&gateway, 0, "stays", "test://shared", &[]);
    for number in 0..20 {
        let mut goes = Transport::BOTH[number % 2].login(&gateway, 0, "", "test://shared", &[]);
        goes.change_room("test://shared");
        goes.change_room("test://elsewhere");
        goes.change_room("test://shared");
        goes.change_room("");
        goes.change_room("");
        goes.change_room("test://shared");
        drop(goes);
        gateway.wait_metric("halley_connections_authenticated", &[], 1.0);
        assert_eq!(stays.heartbeat(), 1);
        assert_eq!(gateway.push_room("test://shared", 1000, "for you"), 1);
        assert_eq!(stays.receive().text(), "for you");
    }
}

/// Proves defect C10 is not there: joining a room while its last members leave always ends in the room. Two clients
/// swap places over and over; after each swap the one that joined is reached.
#[test]
fn c10_joining_while_the_last_member_leaves_ends_in_the_room() {
    let gateway = Start::new().shards(2).run();
    let mut pair = [
        Transport::Tcp.login(&gateway, 0, "one", "test://door", &[]),
        Transport::WebSocket.login(&gateway, 0, "two", "", &[]),
    ];
    for turn in 0..200 {
        let (inside, outside) = (turn % 2, 1 - turn % 2);
        pair[inside].send(&Frame::new(op::CHANGE_ROOM, 1, ""));
        pair[outside].send(&Frame::new(op::CHANGE_ROOM, 1, "test://door"));
        for client in &mut pair {
            assert_eq!(client.receive().op, op::CHANGE_ROOM_REPLY);
        }
        assert_eq!(gateway.push_room("test://door", 1000, "in"), 1, "turn {turn}");
        assert_eq!(pair[outside].receive().text(), "in", "turn {turn}");
    }
    // Logins into a room that empties at the same time.
    for turn in 0..100 {
        let key = format!("login-{turn}");
        let first = Transport::Tcp.login(&gateway, 0, "", "test://login", &[]);
        drop(first);
        let mut second = Transport::Tcp.login(&gateway, 0, &key, "test://login", &[1]);
        assert!(gateway.push_room("test://login", 1000, "in") >= 1);
        assert_eq!(second.receive().text(), "in");
        assert_eq!(gateway.push_key(&key, 1, "by key"), 1);
        assert_eq!(second.receive().text(), "by key");
    }
}

/// Proves defect C23 is not there: after many clients joined, changed and left from several threads at once, rooms and
/// counts are exact again.
#[test]
fn c23_counts_are_exact_after_concurrent_changes() {
    let gateway = Start::new().shards(2).run();
    let mut stays: Vec<Client> =
        (0..4).map(|n| Transport::Tcp.login(&gateway, 0, &format!("s{n}"), "test://0", &[])).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let gateway = &gateway;
            scope.spawn(move || {
                for round in 0..40 {
                    let mut client =
                        Transport::BOTH[round % 2].login(gateway, 1, &format!("t{thread}"), "test://0", &[]);
                    for change in 0..5 {
                        client.change_room(&format!("test://{}", (round + change) % 3));
                    }
                }
            });
        }
    });
    gateway.wait_metric("halley_connections_authenticated", &[], 4.0);
    gateway.wait_metric("halley_rooms", &[], gateway_rooms(&gateway));
    for client in &mut stays {
        eventually("the count is 4 again", || (client.heartbeat() == 4).then_some(()));
    }
    assert_eq!(gateway.push_room("test://0", 1, "x"), 4);
    assert_eq!(gateway.push_room("test://1", 1, "x"), 0);
    let total = gateway.get("/goim/online/total").json();
    assert_eq!(total["data"]["conn_count"], 4);
    drop(stays);
    gateway.wait_metric("halley_rooms", &[], 0.0);
}

/// The room of those who stay is open on one shard or on both, as the kernel spread them.
fn gateway_rooms(gateway: &Gateway) -> f64 {
    let metrics = gateway.metrics();
    let shards = ["0", "1"]
        .iter()
        .filter(|shard| metrics.sum("halley_connections_authenticated", &[("shard", shard)]) > 0.0)
        .count();
    if shards == 2 { 2.0 } else { 1.0 }
}

/// Proves defect C26 is not there: the heartbeat reply counts the current room, and 0 after leaving it.
#[test]
fn c26_the_heartbeat_counts_the_current_room() {
    let gateway = Gateway::start();
    for transport in Transport::BOTH {
        let mut other = transport.login(&gateway, 0, "other", "test://full", &[]);
        let mut client = transport.login(&gateway, 0, "client", "", &[]);
        assert_eq!(client.heartbeat(), 0);
        client.change_room("test://full");
        assert_eq!(client.heartbeat(), 2);
        client.change_room("");
        assert_eq!(client.heartbeat(), 0);
        client.change_room("test://alone");
        assert_eq!(client.heartbeat(), 1);
        assert_eq!(other.heartbeat(), 1);
        drop((client, other));
        gateway.wait_metric("halley_connections_authenticated", &[], 0.0);
    }
}
