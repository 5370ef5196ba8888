//! A crowd: 15,000 live connections on one gateway with two shards.

use serde_json::json;

use crate::support::fleet::Fleet;
use crate::support::gateway::Start;
use crate::support::{Gateway, token};

const CROWD: usize = 15_000;
const KEYS: usize = 1_000;
const ROOM_PUSHES: usize = 3;

/// One room push reaches all 15,000, 1,000 keys get exactly theirs, a user push and a broadcast reach whom they name;
/// nothing is lost, nothing comes twice, and the order is that of pushing.
#[test]
fn fifteen_thousand_connections_get_exactly_their_pushes() {
    Fleet::make_room(CROWD as u64);
    let gateway = Start::new().shards(2).config(&format!("max_connections = {CROWD}")).run();
    let mut fleet = Fleet::new();
    for number in 0..CROWD {
        let mid = i64::try_from(number + 1).expect("small");
        fleet.join(gateway.tcp(), &token(mid, &key(number), "live://crowd", &[1000]));
        if number % 500 == 499 {
            fleet.wait_logged_in();
        }
    }
    fleet.wait_logged_in();
    gateway.wait_metric("halley_connections_authenticated", &[], CROWD as f64);

    for number in 0..ROOM_PUSHES {
        assert_eq!(gateway.push_room("live://crowd", 1001, &format!("room {number}")), CROWD as u64);
    }
    // Every fifteenth member is named by its key, in ten requests of 100 keys, then each alone with a body of its own.
    let named: Vec<usize> = (0..KEYS).map(|n| n * (CROWD / KEYS)).collect();
    for some in named.chunks(100) {
        let keys: Vec<String> = some.iter().map(|number| key(*number)).collect();
        assert_eq!(matched(&gateway, &json!({ "keys": keys }), "all of you"), some.len() as u64);
    }
    for number in &named {
        assert_eq!(gateway.push_key(&key(*number), 1000, &format!("for {number}")), 1);
    }
    assert_eq!(gateway.push_mid(i64::try_from(CROWD).expect("small"), 1000, "the last"), 1);
    assert_eq!(gateway.push_all(1000, "everybody"), CROWD as u64);

    let is_named = |number: usize| number.is_multiple_of(CROWD / KEYS);
    let expected = |number: usize| {
        let mut bodies: Vec<String> = (0..ROOM_PUSHES).map(|push| format!("room {push}")).collect();
        if is_named(number) {
            bodies.extend(["all of you".to_owned(), format!("for {number}")]);
        }
        if number == CROWD - 1 {
            bodies.push("the last".to_owned());
        }
        bodies.push("everybody".to_owned());
        bodies
    };
    fleet.wait_pushes(|number| expected(number).len());
    for number in 0..fleet.len() {
        let bodies: Vec<String> =
            fleet.take(number).into_iter().map(|body| String::from_utf8(body).expect("text")).collect();
        assert_eq!(bodies, expected(number), "client {number}");
    }
    // What came twice would come behind the last of everybody: one more push, and nothing but it.
    assert_eq!(gateway.push_all(1000, "end"), CROWD as u64);
    fleet.wait_pushes(|_| 1);
    for number in 0..fleet.len() {
        assert_eq!(fleet.take(number), [b"end".to_vec()], "client {number}");
    }
    assert_eq!(gateway.metrics().sum("halley_drops_total", &[]), 0.0);
    drop(fleet);
    gateway.wait_metric("halley_connections", &[], 0.0);
}

/// A key as apps have them: 36 bytes.
fn key(number: usize) -> String {
    format!("3d7c6d1e-8a1b-4f7e-9b0a-{number:012}")
}

fn matched(gateway: &Gateway, target: &serde_json::Value, text: &str) -> u64 {
    let answer = gateway.push(&json!({ "target": target, "op": 1000, "text": text }));
    answer["matched"].as_u64().expect("a count")
}
