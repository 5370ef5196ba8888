//! Which ops a connection wants (goim §1.6, §1.8).

use crate::support::*;

/// Key, mid and broadcast pushes come only with an accepted op; room pushes always come.
#[test]
fn accepts_decide_for_key_mid_and_all_but_not_for_rooms() {
    let gateway = Gateway::start();
    for transport in Transport::BOTH {
        let mut client = transport.login(&gateway, 7, "k", "test://r", &[1000]);
        assert_eq!(gateway.push_key("k", 1001, "no"), 0);
        assert_eq!(gateway.push_mid(7, 1001, "no"), 0);
        assert_eq!(gateway.push_all(1001, "no"), 0);
        assert_eq!(gateway.push_room("test://r", 1001, "room"), 1);
        assert_eq!(gateway.push_key("k", 1000, "key"), 1);
        assert_eq!(gateway.push_mid(7, 1000, "mid"), 1);
        assert_eq!(gateway.push_all(1000, "all"), 1);
        for (op, text) in [(1001, "room"), (1000, "key"), (1000, "mid"), (1000, "all")] {
            assert_eq!(client.receive(), Frame::new(op, 0, text));
        }
        drop(client);
        gateway.wait_metric("halley_connections_authenticated", &[], 0.0);
    }
}

/// Without accepts a connection gets no such push at all.
#[test]
fn without_accepts_only_rooms_arrive() {
    let gateway = Gateway::start();
    let mut client = Transport::Tcp.connect(&gateway);
    client.login(r#"{"mid":7,"key":"k","room_id":"test://r"}"#);
    assert_eq!(gateway.push_key("k", 1000, "no"), 0);
    assert_eq!(gateway.push_all(0x7fff_ffff, "no"), 0);
    assert_eq!(gateway.push_room("test://r", 1000, "yes"), 1);
    assert_eq!(client.receive().text(), "yes");
}

/// Ops 14 and 16 add and remove; a list with a bad part changes nothing, and the reply is the same (goim §1.8).
#[test]
fn subscriptions_change_the_accepted_ops() {
    let gateway = Gateway::start();
    let accepted = |ops: &[i32]| ops.iter().map(|op| gateway.push_key("k", *op, "?") == 1).collect::<Vec<_>>();
    for transport in Transport::BOTH {
        let mut client = transport.login(&gateway, 0, "k", "", &[1]);
        let steps: [(i32, &str, [bool; 4]); 9] = [
            (op::SUBSCRIBE, "2,3", [true, true, true, false]),
            (op::UNSUBSCRIBE, "1", [false, true, true, false]),
            (op::UNSUBSCRIBE, "99", [false, true, true, false]),
            (op::SUBSCRIBE, "1,x", [false, true, true, false]),
            (op::SUBSCRIBE, "1, 4", [false, true, true, false]),
            (op::SUBSCRIBE, "", [false, true, true, false]),
            (op::SUBSCRIBE, "1,,4", [false, true, true, false]),
            (op::SUBSCRIBE, "2147483648", [false, true, true, false]),
            (op::SUBSCRIBE, "1,-2147483648,4,4", [true, true, true, true]),
        ];
        for (op, body, after) in steps {
            client.send(&Frame::new(op, 4, body));
            let reply = std::iter::repeat_with(|| client.receive()).find(|frame| frame.seq == 4).expect("a reply");
            assert_eq!(reply, Frame::new(op + 1, 4, body), "the reply echoes");
            assert_eq!(accepted(&[1, 2, 3, 4]), after, "{transport:?} after op {op} {body:?}");
        }
        drop(client);
        gateway.wait_metric("halley_connections_authenticated", &[], 0.0);
    }
}
