//! Signed tokens: who gets in, when a login ends, and what a token allows afterwards.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::End;
use crate::support::gateway::Start;
use crate::support::*;

const SECRET: &str = "a secret of at least thirty-two bytes";

fn start(more: &str) -> Gateway {
    let jwt = format!(
        "[jwt]\nsecret = \"{SECRET}\"\nissuers = [\"app\"]\naudiences = [\"push\"]\nleeway_seconds = 0\n{more}"
    );
    Start::new().config(&format!("auth = \"jwt\"\n{jwt}")).run()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A token with the usual claims, and these in addition or instead.
fn claims(more: &Value) -> Value {
    let mut claims =
        json!({ "iss": "app", "aud": "push", "exp": now_s() + 600, "mid": 7, "key": "k", "accepts": [1000] });
    for (name, value) in more.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

fn signed(more: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), &claims(more), &EncodingKey::from_secret(SECRET.as_bytes()))
        .expect("a token")
}

/// Claims become the identity: mid, key, room and accepted ops.
#[test]
fn claims_say_who_a_client_is() {
    let gateway = start("");
    for transport in Transport::BOTH {
        let mut client = transport.connect(&gateway);
        client.login(&signed(&json!({ "room_id": "live://1" })));
        assert_eq!(gateway.push_key("k", 1000, "key"), 1);
        assert_eq!(gateway.push_mid(7, 1000, "mid"), 1);
        assert_eq!(gateway.push_room("live://1", 1, "room"), 1);
        for text in ["key", "mid", "room"] {
            assert_eq!(client.receive().text(), text);
        }
        drop(client);
        gateway.wait_metric("halley_connections", &[], 0.0);
    }
}

/// Everything that is not a valid token for us is refused, told by close code and counted by cause.
#[test]
fn other_tokens_are_refused_and_counted() {
    let gateway = start("");
    let other_key = EncodingKey::from_secret(b"another secret of thirty-two bytes!!");
    let forged = encode(&Header::new(Algorithm::HS256), &claims(&json!({})), &other_key).expect("a token");
    let good = signed(&json!({}));
    let mut parts: Vec<&str> = good.split('.').collect();
    parts[0] = "eyJhbGciOiJub25lIn0"; // {"alg":"none"}
    let none = format!("{}.{}.", parts[0], parts[1]);
    let cases = [
        ("{\"mid\":7}".to_owned(), "malformed"),
        ("a.b.c".to_owned(), "malformed"),
        (forged, "signature"),
        (none, "signature"),
        (signed(&json!({ "exp": now_s() - 10 })), "expired"),
        (signed(&json!({ "nbf": now_s() + 600 })), "not_yet"),
        (signed(&json!({ "aud": "other" })), "audience"),
        (signed(&json!({ "iss": "other" })), "audience"),
        (signed(&json!({ "mid": [] })), "claims"),
        (signed(&json!({ "room_id": "vip", "rooms": ["live://*"] })), "authority"),
        (signed(&json!({ "ops": [1001] })), "authority"),
    ];
    for (token, cause) in &cases {
        let before = gateway.metrics().sum("halley_auth_refusals_total", &[("cause", cause)]);
        let mut client = Transport::WebSocket.connect(&gateway);
        client.send(&Frame::new(op::AUTH, 1, token.as_str()));
        assert_eq!(client.expect_end(), End::Frame(1008), "{cause}: {token}");
        gateway.wait_metric("halley_auth_refusals_total", &[("cause", cause)], before + 1.0);
    }
    gateway.wait_closes("auth_refused", u32::try_from(cases.len()).expect("few"));
}

/// A login ends when its token does, unless a second op 7 brings a fresh one, which is answered by op 8.
#[test]
fn a_login_ends_with_its_token_unless_refreshed() {
    let gateway = start("");
    let mut pairs = Transport::BOTH.map(|transport| {
        let short = |name: &str| signed(&json!({ "exp": now_s() + 5, "key": format!("{name} {transport:?}") }));
        let mut lets_go = transport.connect(&gateway);
        lets_go.login(&short("lets go"));
        // One whose token ended before it could be refreshed proves nothing: it gets a successor.
        let refreshes = eventually("a login is refreshed in time", || {
            let ends = now_s() + 5;
            let mut refreshes = transport.connect(&gateway);
            refreshes.login(&short("refreshes"));
            refreshes.send(&Frame::new(op::AUTH, 5, signed(&json!({ "key": "refreshes" }))));
            match refreshes.next() {
                Ok(reply) => {
                    assert_eq!(reply, Frame::new(op::AUTH_REPLY, 5, ""));
                    Some(refreshes)
                }
                Err(end) => {
                    assert!(now_s() >= ends, "refused: {end:?}");
                    None
                }
            }
        });
        (transport, lets_go, refreshes)
    });
    for (transport, lets_go, refreshes) in &mut pairs {
        lets_go.expect_close(4003);
        assert_eq!(gateway.push_key(&format!("refreshes {transport:?}"), 1000, "still here"), 1);
        assert_eq!(refreshes.receive().text(), "still here");
    }
    eventually("the ends are counted", || {
        (gateway.metrics().sum("halley_closes_total", &[("reason", "token_expired")]) >= 2.0).then_some(())
    });
}

/// A refresh must name the same user, or the connection ends.
#[test]
fn a_refresh_may_not_change_the_user() {
    let gateway = start("");
    for transport in Transport::BOTH {
        let mut client = transport.connect(&gateway);
        client.login(&signed(&json!({})));
        client.send(&Frame::new(op::AUTH, 2, signed(&json!({ "mid": 8 }))));
        client.expect_close(1008);
    }
    gateway.wait_metric("halley_auth_refusals_total", &[("cause", "other_user")], 2.0);
}

/// A refresh replaces what the connection may reach and when it ends. Its key, room and ops stay, whatever the new
/// token says of them, less what that does not allow any more.
#[test]
fn a_refresh_changes_bounds_and_nothing_else() {
    let gateway = start("");
    for transport in Transport::BOTH {
        let mut client = transport.connect(&gateway);
        client.login(&signed(&json!({ "room_id": "live://1", "accepts": [1000, 1001] })));
        let others = json!({ "key": "other", "room_id": "live://2", "accepts": [1000, 1002], "rooms": "live://*" });
        client.ask(op::AUTH, 2, signed(&others));
        assert_eq!((gateway.push_key("other", 1000, "x"), gateway.push_key("k", 1002, "x")), (0, 0));
        assert_eq!((gateway.push_room("live://2", 1, "x"), gateway.push_room("live://1", 1, "room")), (0, 1));
        assert_eq!(gateway.push_key("k", 1001, "key"), 1);
        assert_eq!((client.receive().text(), client.receive().text()), ("room", "key"));
        assert_eq!(client.ask(op::CHANGE_ROOM, 3, "vip"), Frame::new(op::CHANGE_ROOM_REPLY, 3, "live://1"));
        client.ask(op::AUTH, 4, signed(&json!({ "rooms": [], "ops": [1000] })));
        assert_eq!((gateway.push_room("live://1", 1, "x"), gateway.push_key("k", 1001, "x")), (0, 0));
        assert_eq!(gateway.push_key("k", 1000, "still"), 1);
        assert_eq!(client.receive().text(), "still");
        drop(client);
        gateway.wait_metric("halley_connections", &[], 0.0);
    }
}

/// A token without `mid` is nobody's: pushes to users do not reach it, pushes to its key do.
#[test]
fn a_token_without_user_is_reached_by_its_key_alone() {
    let gateway = start("");
    let mut client = Transport::Tcp.connect(&gateway);
    client.login(&signed(&json!({ "mid": null })));
    assert_eq!((gateway.push_mid(7, 1000, "user"), gateway.push_key("k", 1000, "key")), (0, 1));
    assert_eq!(client.receive().text(), "key");
}

/// The claims `rooms` and `ops` bound what ops 12 and 14 reach: a refusal is answered with what holds, and counted.
#[test]
fn a_token_bounds_rooms_and_ops() {
    let gateway = start("");
    let token = signed(&json!({ "rooms": ["live://*", "chat://7"], "ops": [1000, 1001], "room_id": "live://1" }));
    for transport in Transport::BOTH {
        let mut client = transport.connect(&gateway);
        client.login(&token);
        client.change_room("live://2");
        client.change_room("chat://7");
        let refused = client.ask(op::CHANGE_ROOM, 4, "chat://8");
        assert_eq!(refused, Frame::new(op::CHANGE_ROOM_REPLY, 4, "chat://7"), "the room it stays in");
        assert_eq!(gateway.push_room("chat://8", 1, "x"), 0);
        assert_eq!(gateway.push_room("chat://7", 1, "here"), 1);
        assert_eq!(client.receive().text(), "here");
        client.change_room("");
        let reply = client.ask(op::SUBSCRIBE, 5, "1001,1002");
        assert_eq!(reply, Frame::new(op::SUBSCRIBE_REPLY, 5, "1001"), "the ops that were granted");
        assert_eq!((gateway.push_key("k", 1001, "yes"), gateway.push_key("k", 1002, "no")), (1, 0));
        assert_eq!(client.receive().text(), "yes");
        drop(client);
        gateway.wait_metric("halley_connections", &[], 0.0);
    }
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("halley_denied_total", &[]), 4.0);
}

/// Keys in files: PEM and JWKS, read again on SIGHUP, each good for its own algorithm only.
#[test]
fn key_files_are_read_again_on_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key.pem");
    let pairs = [rcgen::KeyPair::generate().expect("a key"), rcgen::KeyPair::generate().expect("a key")];
    std::fs::write(&path, pairs[0].public_key_pem()).expect("written");
    let gateway = Start::new().config(&jwt_files(&path)).run();
    let token = |pair: &rcgen::KeyPair| {
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a P-256 key");
        encode(&Header::new(Algorithm::ES256), &claims(&json!({})), &key).expect("a token")
    };
    let admitted = |token: String| {
        let mut client = Transport::WebSocket.connect(&gateway);
        client.send(&Frame::new(op::AUTH, 1, token));
        client.next().is_ok_and(|frame| frame.op == op::AUTH_REPLY)
    };
    assert!(admitted(token(&pairs[0])));
    assert!(!admitted(token(&pairs[1])));
    let confused = EncodingKey::from_secret(pairs[0].public_key_pem().as_bytes());
    let confused = encode(&Header::new(Algorithm::HS256), &claims(&json!({})), &confused).expect("a token");
    assert!(!admitted(confused), "a public key is no HS256 secret");
    std::fs::write(&path, pairs[1].public_key_pem()).expect("written");
    gateway.signal(Signal::HUP);
    eventually("the new key is in force", || admitted(token(&pairs[1])).then_some(()));
    assert!(!admitted(token(&pairs[0])), "the old key is not");
}

fn jwt_files(path: &Path) -> String {
    format!("auth = \"jwt\"\n[jwt]\nkey_files = [{:?}]\naudiences = [\"push\"]", path.display().to_string())
}
