//! Who is who: one key, several devices of one user, and what happens when there are too many (goim §1.12).

use std::net::Ipv4Addr;

use crate::support::client::End;
use crate::support::gateway::Start;
use crate::support::*;

/// Proves defect C3 is not there: logging in with a live key ends the old connection with a close code of its own, and
/// the new one stays reachable by key, by mid and in its room after the old one has left.
#[test]
fn c03_a_new_login_replaces_the_old_and_stays_reachable() {
    let gateway = Start::new().shards(2).run();
    let mut closes = 0;
    for old_transport in Transport::BOTH {
        for new_transport in Transport::BOTH {
            let mut old = old_transport.login(&gateway, 5, "device", "test://r", &[1000]);
            let mut new = new_transport.login(&gateway, 5, "device", "test://r", &[1000]);
            old.expect_close(4001);
            drop(old);
            closes += 1;
            gateway.wait_closes("key_replaced", closes);
            gateway.wait_metric("halley_connections", &[], 1.0);
            for round in 0..3 {
                assert_eq!(gateway.push_key("device", 1000, "key"), 1, "round {round}");
                assert_eq!(gateway.push_mid(5, 1000, "mid"), 1);
                assert_eq!(gateway.push_room("test://r", 1000, "room"), 1);
                for text in ["key", "mid", "room"] {
                    assert_eq!(new.receive().text(), text);
                }
            }
            drop(new);
            gateway.wait_metric("halley_connections", &[], 0.0);
        }
    }
}

/// Re-logins of one key from many threads at once leave exactly one connection, and it is the reachable one.
#[test]
fn racing_logins_of_one_key_leave_one_reachable() {
    let gateway = Start::new().shards(2).run();
    let clients: Vec<Client> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|n| {
                let gateway = &gateway;
                scope.spawn(move || {
                    let mut client = Transport::BOTH[n % 2].connect(gateway);
                    client.send(&Frame::new(op::AUTH, 1, token(0, "one", "", &[1000])));
                    client
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a login")).collect()
    });
    gateway.wait_closes("key_replaced", 15);
    gateway.wait_metric("halley_connections", &[], 1.0);
    assert_eq!(gateway.push_key("one", 1000, "survivor"), 1);
    let reached = clients.into_iter().filter_map(|mut client| {
        loop {
            match client.next() {
                Ok(frame) if frame.op == op::AUTH_REPLY => {}
                Ok(frame) => break Some(frame),
                Err(_) => break None,
            }
        }
    });
    assert_eq!(reached.map(|frame| frame.body).collect::<Vec<_>>(), [b"survivor".to_vec()]);
}

/// With room for several, a key's connections live side by side and all get its pushes; one too many ends the oldest.
#[test]
fn a_key_may_have_several_connections() {
    let gateway = Start::new().shards(2).config("[limits]\nmax_connections_per_key = 3").run();
    let mut clients: Vec<Client> =
        (0..3).map(|n| Transport::BOTH[n % 2].login(&gateway, 0, "k", "", &[1000])).collect();
    assert_eq!(gateway.push_key("k", 1000, "three"), 3);
    clients.push(Transport::WebSocket.login(&gateway, 0, "k", "", &[1000]));
    assert_eq!(gateway.push_key("k", 1000, "newest three"), 3);
    assert_eq!(clients[0].receive().text(), "three");
    clients[0].expect_close(4001);
    assert_eq!(clients[1].receive().text(), "three");
    for client in &mut clients[1..] {
        let texts = client.receive();
        let text = if texts.text() == "three" { client.receive() } else { texts };
        assert_eq!(text.text(), "newest three");
    }
}

/// The same with `reject_new`: the newcomer is refused with a code of its own, nobody else notices.
#[test]
fn a_full_key_may_reject_the_new_connection() {
    let gateway = Gateway::with("[limits]\nwhen_key_full = \"reject_new\"");
    for transport in Transport::BOTH {
        let mut first = transport.login(&gateway, 0, "k", "", &[1000]);
        let mut second = transport.connect(&gateway);
        second.send(&Frame::new(op::AUTH, 1, token(0, "k", "", &[1000])));
        let told = if transport == Transport::Tcp { End::Socket } else { End::Frame(4005) };
        assert_eq!(second.expect_end(), told);
        assert_eq!(gateway.push_key("k", 1000, "first"), 1);
        assert_eq!(first.receive().text(), "first");
        drop(first);
        gateway.wait_metric("halley_connections", &[], 0.0);
    }
}

/// `max_connections_per_mid` ends the oldest device of a user, or refuses the new one.
#[test]
fn a_user_has_so_many_devices_and_no_more() {
    let gateway = Start::new().shards(2).config("[limits]\nmax_connections_per_mid = 2").run();
    let mut devices: Vec<Client> =
        (0..3).map(|n| Transport::WebSocket.login(&gateway, 7, &format!("d{n}"), "", &[1000])).collect();
    assert_eq!(devices[0].expect_end(), End::Frame(4002));
    assert_eq!(gateway.push_mid(7, 1000, "two"), 2);
    assert_eq!(gateway.push_key("d0", 1000, "gone"), 0);
    for device in &mut devices[1..] {
        assert_eq!(device.receive().text(), "two");
    }
    // Other users and those without a mid are not counted.
    let _other = Transport::Tcp.login(&gateway, 8, "o", "", &[]);
    let _nobody: Vec<Client> = (0..4).map(|n| Transport::Tcp.login(&gateway, 0, &format!("n{n}"), "", &[])).collect();
    assert_eq!(devices[1].heartbeat(), 0);

    let strict = Gateway::with("[limits]\nmax_connections_per_mid = 1\nwhen_mid_full = \"reject_new\"");
    let mut first = Transport::WebSocket.login(&strict, 7, "d0", "", &[]);
    let mut second = Transport::WebSocket.connect(&strict);
    second.send(&Frame::new(op::AUTH, 1, token(7, "d1", "", &[])));
    assert_eq!(second.expect_end(), End::Frame(4002));
    assert_eq!(first.heartbeat(), 0);
}

/// A push to a user reaches every device that accepts its op, and no device of another user.
#[test]
fn a_push_to_a_user_reaches_all_devices() {
    let gateway = Start::new().shards(2).run();
    let mut own: Vec<Client> =
        (0..6).map(|n| Transport::BOTH[n % 2].login(&gateway, 7, &format!("d{n}"), "", &[1000])).collect();
    let mut deaf = Transport::Tcp.login(&gateway, 7, "deaf", "test://d", &[]);
    let mut other = Transport::Tcp.login(&gateway, 8, "other", "", &[1000]);
    assert_eq!(gateway.push_mid(7, 1000, "mine"), 6);
    for client in &mut own {
        assert_eq!(client.receive().text(), "mine");
    }
    gateway.push_mid(8, 1000, "other's");
    assert_eq!(other.receive().text(), "other's");
    gateway.push_room("test://d", 1, "end");
    assert_eq!(deaf.receive().text(), "end");
}

/// Proves defect C24 is not there: the number of addresses stays right when a key logs in again from another address.
#[test]
fn c24_addresses_are_counted_right_after_a_relogin() {
    let gateway = Start::new().shards(2).run();
    let login = |last: u8, key: &str| {
        let mut client = Client::Tcp(TcpClient::connect_from(Ipv4Addr::new(127, 0, 0, last), gateway.tcp()));
        client.login(&token(0, key, "", &[]));
        client
    };
    let expect = |connections: u64, addresses: u64| {
        eventually("the totals are right", || {
            let total = gateway.get("/goim/online/total").json();
            let data = &total["data"];
            (data["conn_count"] == connections && data["ip_count"] == addresses).then_some(())
        });
    };
    let _stays = login(2, "stays");
    let first = login(3, "moves");
    expect(2, 2);
    let second = login(4, "moves");
    expect(2, 2);
    drop(first);
    let third = login(2, "moves");
    expect(2, 1);
    drop((second, third));
    expect(1, 1);
}

/// Ended logins are forgotten: after a crowd has left, keys, users, rooms and addresses are all gone.
#[test]
fn nothing_is_remembered_of_those_who_left() {
    let gateway = Start::new().shards(2).run();
    for round in 0..3 {
        let clients: Vec<Client> = (0..100)
            .map(|n| {
                let room = format!("test://{}", n % 10);
                Transport::BOTH[n % 2].login(
                    &gateway,
                    i64::try_from(n).expect("small"),
                    &format!("k{n}"),
                    &room,
                    &[1000],
                )
            })
            .collect();
        assert_eq!(gateway.push_all(1000, "x"), 100, "round {round}");
        drop(clients);
        gateway.wait_metric("halley_connections", &[], 0.0);
        gateway.wait_metric("halley_rooms", &[], 0.0);
        eventually("totals are 0", || {
            let total = gateway.get("/goim/online/total").json();
            (total["data"] == serde_json::json!({"conn_count": 0, "ip_count": 0})).then_some(())
        });
        assert_eq!(gateway.push_key("k1", 1000, "x"), 0);
        assert_eq!(gateway.push_mid(1, 1000, "x"), 0);
        assert_eq!(gateway.push_room("test://1", 1000, "x"), 0);
    }
}
