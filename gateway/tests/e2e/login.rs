//! Logging in: what the token may be, what happens before and after (goim §1.3, §1.6).

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::gateway::Start;
use crate::support::*;

/// Proves goim §1.6: which tokens log in.
#[test]
fn valid_tokens_log_in() {
    let gateway = Gateway::start();
    let tokens = [
        "{}",
        "null",
        r#"{"mid":123}"#,
        r#"{"MID":123,"Key":"K","Room_ID":"a://b","ACCEPTS":[1]}"#,
        r#"{"mid":null,"key":null,"room_id":null,"accepts":null,"platform":null}"#,
        r#"{"unknown":{"deep":[1,2,{"x":"y"}]},"mid":1}"#,
        r#"{"mid":-5,"key":"negative"}"#,
        r#"{"accepts":[-2147483648,2147483647]}"#,
        " {\"mid\" : 7 }\n",
    ];
    for transport in Transport::BOTH {
        for token in tokens {
            transport.connect(&gateway).login(token);
        }
    }
}

/// Proves goim §1.11: tokens that are refused end the connection without op 8, and the WebSocket client is told why.
#[test]
fn refused_tokens_end_the_connection() {
    let gateway = Gateway::start();
    let tokens = [
        "",
        "x",
        "{",
        r#"{"mid":"123"}"#,
        r#"{"mid":1.5}"#,
        r#"{"mid":9223372036854775808}"#,
        r#"{"key":5}"#,
        r#"{"accepts":"1000"}"#,
        r#"{"accepts":[2147483648]}"#,
        r#"{"mid":1} trailing"#,
        "[]",
        "5",
    ];
    for transport in Transport::BOTH {
        for token in tokens {
            let mut client = transport.connect(&gateway);
            client.send(&Frame::new(op::AUTH, 1, token));
            let end = client.expect_end();
            let told = if transport == Transport::Tcp { client::End::Socket } else { client::End::Frame(1008) };
            assert_eq!(end, told, "{transport:?} {token:?}");
        }
    }
    gateway.wait_closes("auth_refused", 2 * u32::try_from(tokens.len()).expect("few"));
}

/// Proves goim §1.3: before the login every frame but op 7 is read and ignored without an answer.
#[test]
fn frames_before_login_are_ignored() {
    let gateway = Gateway::start();
    for transport in Transport::BOTH {
        let mut client = transport.connect(&gateway);
        for op in [op::HEARTBEAT, op::SEND_MESSAGE, op::CHANGE_ROOM, op::SUBSCRIBE, op::RAW, 1000, -4] {
            client.send(&Frame::new(op, 5, "test://early"));
        }
        client.login("{}");
        assert_eq!(client.heartbeat(), 0, "the room asked for before the login was not joined");
    }
}

/// Proves that a client may send everything at once: upgrade, token and further requests in one segment.
#[test]
fn a_client_need_not_wait_for_the_upgrade_or_the_auth_reply() {
    let gateway = Gateway::start();
    let mut tcp = TcpClient::connect(gateway.tcp());
    let together =
        [Frame::new(op::AUTH, 1, token(0, "", "test://fast", &[])).encode(), Frame::new(op::HEARTBEAT, 2, "").encode()];
    tcp.send_bytes(&together.concat());
    assert_eq!(tcp.next().map(|f| f.op), Ok(op::AUTH_REPLY));
    assert_eq!(tcp.next().map(|f| f.online()), Ok(1));

    let mut ws = TcpClient::connect(gateway.ws());
    let mut bytes = b"GET /sub HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    bytes.extend(websocket_frame(&Frame::new(op::AUTH, 1, "{}").encode()));
    bytes.extend(hex(frame::golden::W1));
    ws.send_bytes(&bytes);
    assert!(client::read_head(&mut ws).starts_with("HTTP/1.1 101 "));
    assert_eq!(ws.exact(18), hex(frame::golden::W2));
    assert_eq!(ws.exact(22)[..6], hex(frame::golden::W3_ONE)[..6]);
}

/// One unfragmented masked binary message of a client, mask 0.
fn websocket_frame(payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short message");
    assert!(length < 126);
    [&[0x82, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// Proves defect C11 is not there: a push accepted after the auth reply was read always arrives, and nothing arrives
/// before the reply. The push names the key in the instant the reply is there.
#[test]
fn c11_pushes_right_after_the_auth_reply_arrive() {
    let gateway = Start::new().shards(2).run();
    for number in 0..50 {
        let transport = Transport::BOTH[number % 2];
        let key = format!("key-{number}");
        let room = format!("test://{number}");
        let mut client = transport.login(&gateway, i64::try_from(number + 1).expect("small"), &key, &room, &[1000]);
        assert_eq!(gateway.push_key(&key, 1000, "by key"), 1);
        assert_eq!(gateway.push_room(&room, 1001, "by room"), 1);
        let pushes = [client.receive(), client.receive()];
        assert_eq!(
            pushes.map(|push| (push.op, push.seq, push.body)),
            [(1000, 0, b"by key".to_vec()), (1001, 0, b"by room".to_vec()),]
        );
    }
}

/// Says that it is done when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Proves that pushes to a key that is logging in all the time never come before op 8: the fence is inside
/// [`Client::login`], which refuses any other first frame.
#[test]
fn nothing_is_pushed_before_the_auth_reply() {
    let gateway = Gateway::start();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (gateway, done) = (&gateway, &done);
        let pusher = scope.spawn(move || {
            let mut pushes = 0;
            while !done.load(Ordering::Relaxed) {
                gateway.push_room("test://busy", 1000, "early");
                gateway.push_all(1000, "early");
                pushes += 1;
            }
            pushes
        });
        // Also when a login fails: the pusher would never end.
        let stop = Stop(done);
        for number in 0..200 {
            drop(Transport::BOTH[number % 2].login(gateway, 1, &format!("key-{number}"), "test://busy", &[1000]));
        }
        drop(stop);
        assert!(pusher.join().expect("the pusher ends") > 0);
    });
}

/// Proves goim §1.6: who gives no key gets one that is unique, and is not told; the mid still reaches every connection.
#[test]
fn connections_without_a_key_live_side_by_side() {
    let gateway = Gateway::start();
    let mut clients: Vec<Client> = (0..10)
        .map(|number| {
            let mut client = Transport::BOTH[number % 2].connect(&gateway);
            client.login(r#"{"mid":42,"accepts":[1000]}"#);
            client
        })
        .collect();
    assert_eq!(gateway.push_mid(42, 1000, "hello"), 10);
    for client in &mut clients {
        assert_eq!(client.receive().text(), "hello");
    }
}
