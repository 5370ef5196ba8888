//! The routes of goim (goim §5): parameters, envelopes, content types, codes and texts, through the whole router.

mod support;

use std::sync::atomic::Ordering;

use halley_dispatcher::assemble::Settings;
use halley_dispatcher::bus::embedded::BusLimits;
use halley_dispatcher::gateways::Totals;
use halley_dispatcher::ingress::access::PUSH;
use halley_dispatcher::ingress::admit::Limits;
use halley_protocol::push::{Delivery, Target};
use support::{FakeGateway, Stand, call, framed, keys, message, room, token};

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const OK: &str = r#"{"code":0,"message":""}"#;

fn delivery(target: Target, op: i32, body: &'static str) -> Delivery {
    Delivery { target, op, body: framed(op, body), count: false, written_ms: 0 }
}

/// Every push route answers goim's success and delivers what it says; the message goes through byte for byte.
#[tokio::test]
async fn pushes_are_accepted_and_delivered() {
    let stand = Stand::new();
    for (uri, target, op) in [
        ("/goim/push/keys?operation=1000&keys=a&keys=b%20c", keys(&["a", "b c"]), 1000),
        ("/goim/push/keys?keys=a,b", keys(&["a,b"]), 0),
        ("/goim/push/keys?operation=&keys=a&keys=", keys(&["a"]), 0),
        ("/goim/push/mids?operation=-1&mids=1&mids=-2", Target::Mids(vec![1, -2]), -1),
        ("/goim/push/room?operation=1000&type=live&room=1000", room("live://1000"), 1000),
        ("/goim/push/room?operation=1000&operation=7&type=live&room=a%2Fb", room("live://a/b"), 1000),
        ("/goim/push/all?operation=1000", Target::All { speed: 0 }, 1000),
        ("/goim/push/all?operation=1000&speed=32", Target::All { speed: 32 }, 1000),
        ("/goim/push/all?operation=1000&speed=-5", Target::All { speed: 0 }, 1000),
    ] {
        let answer = stand.post(uri, "{\"test\":1}").await;
        assert_eq!(answer.parts(), (200, JSON, OK), "{uri}");
        assert_eq!(stand.delivered().await, [delivery(target, op, "{\"test\":1}")], "{uri}");
    }
    stand.post("/goim/push/keys?operation=1&keys=a", vec![0u8, 255, 10]).await;
    assert_eq!(message(&stand.delivered().await[0]), Some(&[0u8, 255, 10][..]));
}

/// Binding errors are status 400, plain text, code -400 and the texts of Go's validator and strconv.
#[tokio::test]
async fn wrong_parameters_get_goims_texts() {
    let stand = Stand::new();
    let required =
        |field: &str| format!("Key: '{field}' Error:Field validation for '{field}' failed on the 'required' tag");
    let syntax = |text: &str| format!("strconv.ParseInt: parsing \"{text}\": invalid syntax");
    let range = |text: &str| format!("strconv.ParseInt: parsing \"{text}\": value out of range");
    for (method, uri, message) in [
        ("POST", "/goim/push/room?operation=1000&type=live", required("Room")),
        ("POST", "/goim/push/room", [required("Op"), required("Type"), required("Room")].join("\n")),
        ("POST", "/goim/push/room?operation=0&type=live&room=1", required("Op")),
        ("POST", "/goim/push/room?operation=x", syntax("x")),
        ("POST", "/goim/push/keys?operation=99999999999&keys=a", range("99999999999")),
        ("POST", "/goim/push/mids?mids=1,2", syntax("1,2")),
        ("POST", "/goim/push/mids?mids=1&mids=9223372036854775808", range("9223372036854775808")),
        ("POST", "/goim/push/all?speed=3", required("Op")),
        ("POST", "/goim/push/all?operation=1&speed=2147483648", range("2147483648")),
        ("GET", "/goim/online/top?type=live", required("Limit")),
        ("GET", "/goim/online/top", [required("Type"), required("Limit")].join("\n")),
        ("GET", "/goim/online/top?type=live&limit=ten", syntax("ten")),
        ("GET", "/goim/online/room?rooms=1", required("Type")),
        ("GET", "/goim/online/room?type=live", required("Rooms")),
    ] {
        let answer = call(method, uri).send(&stand.http).await;
        let body = serde_json::json!({"code": -400, "message": message}).to_string();
        assert_eq!(answer.parts(), (400, TEXT, body.as_str()), "{uri}");
    }
    assert_eq!(stand.delivered().await, [], "nothing of it was pushed");
}

/// L10: goim panics on a negative limit.
#[tokio::test]
async fn l10_a_negative_limit_is_answered_with_a_message() {
    let answer = Stand::new().get("/goim/online/top?type=live&limit=-1").await;
    let body = r#"{"code":-400,"message":"Key: 'Limit' Error:Field validation for 'Limit' failed on the 'min' tag"}"#;
    assert_eq!(answer.parts(), (400, TEXT, body));
}

/// No key at all is code -400 with an empty message; no mid at all, and empty keys, are success without effect.
#[tokio::test]
async fn pushes_to_nobody_answer_as_goim_does() {
    let stand = Stand::new();
    let answer = stand.post("/goim/push/keys?operation=1", "x").await;
    assert_eq!(answer.parts(), (200, JSON, r#"{"code":-400,"message":""}"#));
    for uri in ["/goim/push/mids?operation=1", "/goim/push/keys?operation=1&keys="] {
        assert_eq!(stand.post(uri, "x").await.parts(), (200, JSON, OK));
    }
    assert_eq!(stand.delivered().await, []);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_not_found() {
    let stand = Stand::new();
    for (method, uri) in [
        ("GET", "/nothing"),
        ("POST", "/goim/push"),
        ("GET", "/goim/push/all?operation=1"),
        ("PUT", "/goim/push/keys"),
        ("POST", "/goim/online/total"),
        ("DELETE", "/goim/nodes/weighted"),
        ("POST", "/"),
    ] {
        let answer = call(method, uri).send(&stand.http).await;
        assert_eq!(answer.parts(), (404, "text/plain", "404 page not found"), "{method} {uri}");
    }
}

/// A full bus is code -500 with a message on every route; what was answered with success is delivered all the same.
#[tokio::test]
async fn a_full_bus_is_code_500_with_a_message() {
    let bus = BusLimits { records_max: 2, ..BusLimits::default() };
    let stand = Stand::with(Settings { bus, ..Settings::default() }, FakeGateway::stuck());
    for body in ["1", "2"] {
        assert_eq!(stand.post("/goim/push/room?operation=1&type=a&room=b", body).await.body, OK);
    }
    let full = r#"{"code":-500,"message":"the push bus is full, try again in a moment"}"#;
    for uri in [
        "/goim/push/keys?keys=k",
        "/goim/push/mids?mids=1",
        "/goim/push/room?operation=1&type=a&room=b",
        "/goim/push/all?operation=1",
    ] {
        assert_eq!(stand.post(uri, "3").await.parts(), (200, JSON, full), "{uri}");
    }
    stand.gateway.may_deliver.add_permits(1);
    let expected = [delivery(room("a://b"), 1, "1"), delivery(room("a://b"), 1, "2")];
    assert_eq!(stand.delivered().await, expected);
    assert_eq!(stand.post("/goim/push/keys?keys=k", "4").await.body, OK, "there is room again");
}

/// Bodies and lists over their bounds are refused with a message that names the bound.
#[tokio::test]
async fn sizes_are_bounded() {
    let limits = Limits { body_bytes_max: 8, targets_max: 2, name_bytes_max: 8 };
    let stand = Stand::with(Settings { limits, ..Settings::default() }, FakeGateway::new());
    for (uri, body, expected) in [
        ("/goim/push/keys?keys=k", "123456789", "at most 8 bytes"),
        ("/goim/push/keys?keys=a&keys=b&keys=c", "x", "too many keys or mids in one push, at most 2"),
        ("/goim/push/mids?mids=1&mids=2&mids=3", "x", "too many keys or mids in one push, at most 2"),
        ("/goim/push/room?operation=1&type=live&room=1000", "x", "a key or room of 11 bytes, at most 8"),
    ] {
        let answer = stand.post(uri, body).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_i64()), (200, Some(-400)), "{uri}");
        assert!(answer.json()["message"].as_str().unwrap().contains(expected), "{uri}: {}", answer.body);
    }
    assert_eq!(stand.post("/goim/push/keys?keys=k", "12345678").await.body, OK);
}

/// L14: goim shows `lives://1` and `live://a` under the type `live`, and both rooms `a/b` and `a/c` as `a`.
#[tokio::test]
async fn l14_online_top_lists_the_rooms_of_exactly_one_type() {
    let stand = Stand::new();
    stand.gateway.set_rooms(&[
        ("live://1000", 7),
        ("live://a/b", 9),
        ("live://a/c", 9),
        ("lives://1", 50),
        ("live", 60),
        ("chat://1", 70),
        ("live://gone", 0),
        ("live://few", 1),
    ]);
    let answer = stand.get("/goim/online/top?type=live&limit=3").await;
    let expected = concat!(
        r#"{"code":0,"message":"","data":[{"room_id":"a/b","count":9},{"room_id":"a/c","count":9},"#,
        r#"{"room_id":"1000","count":7}]}"#,
    );
    assert_eq!(answer.parts(), (200, JSON, expected));
    assert_eq!(stand.get("/goim/online/top?type=li&limit=3").await.body, r#"{"code":0,"message":"","data":[]}"#);
    let all = stand.get("/goim/online/top?type=live&limit=9223372036854775807").await;
    assert_eq!(all.json()["data"].as_array().unwrap().len(), 4);
}

/// However many rooms there are and whatever `limit` says, the 1,000 largest are shown, and those alone: also of a list
/// that is too long to be put in order between two other requests.
#[tokio::test]
async fn the_thousand_largest_rooms_are_shown_at_most() {
    for rooms in [1_500, 25_000_u32] {
        let stand = Stand::new();
        let names: Vec<(String, u32)> = (1..=rooms).map(|number| (format!("live://{number}"), number)).collect();
        let shown: Vec<(&str, u32)> = names.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        stand.gateway.set_rooms(&[&shown[..], &[("live://nobody", 0)]].concat());
        for (uri, list, field) in
            [("/goim/online/top?type=live&limit=100000", "data", "room_id"), ("/v1/online?limit=1000", "top", "room")]
        {
            let answer = stand.get(uri).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let json = answer.json();
            let top = json[list].as_array().expect("a list");
            assert_eq!(top.len(), 1_000, "{uri}");
            for (place, room) in (0..).zip(top) {
                assert_eq!(room["count"], rooms - place);
                let name = room[field].as_str().expect("a name");
                assert!(name.ends_with(&(rooms - place).to_string()), "{name}");
            }
        }
        assert_eq!(stand.get("/v1/online?limit=1").await.json()["rooms"], rooms, "those without members are none");
        assert_eq!(stand.get("/v1/online?limit=1001").await.status, 400);
    }
}

#[tokio::test]
async fn online_room_counts_the_rooms_asked_for() {
    let stand = Stand::new();
    stand.gateway.set_rooms(&[("live://1000", 7), ("chat://1000", 1), ("live://2", 4)]);
    let answer = stand.get("/goim/online/room?type=live&rooms=2&rooms=1000&rooms=none&rooms=2").await;
    assert_eq!(answer.parts(), (200, JSON, r#"{"code":0,"message":"","data":{"1000":7,"2":4,"none":0}}"#));
}

#[tokio::test]
async fn totals_and_nodes_are_goims() {
    let stand = Stand::new();
    *stand.gateway.totals.lock().unwrap() = Totals { connections: 5, addresses: 2 };
    let total = stand.get("/goim/online/total").await;
    assert_eq!(total.parts(), (200, JSON, r#"{"code":0,"message":"","data":{"conn_count":5,"ip_count":2}}"#));
    let weighted = stand.get("/goim/nodes/weighted?platform=web").await;
    let expected = concat!(
        r#"{"code":0,"message":"","data":{"domain":"conn.goim.io","tcp_port":3101,"ws_port":3102,"#,
        r#""wss_port":3103,"heartbeat":240,"nodes":["comet1.goim.io"],"backoff":{"max_delay":300,"#,
        r#""base_delay":3,"factor":1.8,"jitter":0.3},"heartbeat_max":2}}"#,
    );
    assert_eq!(weighted.parts(), (200, JSON, expected));
    let other = stand.get("/goim/nodes/weighted").await;
    assert_eq!(other.json()["data"]["nodes"], serde_json::json!(["203.0.113.7"]));
    let instances = stand.get("/goim/nodes/instances").await.json();
    assert_eq!(instances["data"][0]["hostname"], "comet1");
    assert_eq!(instances["data"][0]["metadata"]["conn_count"], "5");
}

/// Without a token only this machine may push, and whoever names us rightly may ask, as in goim; with one, whoever has
/// it.
#[tokio::test]
async fn pushing_is_for_this_machine_and_asking_for_who_knows_us() {
    let uri = "/goim/push/room?operation=1&type=a&room=b";
    let local = Stand::new();
    let remote = |uri| call(if uri == "/goim/online/total" { "GET" } else { "POST" }, uri).peer(Some("192.0.2.7:99"));
    let answer = remote(uri).send(&local.http).await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_i64()), (403, Some(-403)));
    assert_eq!(call("POST", uri).peer(None).send(&local.http).await.status, 403, "an unknown peer is not trusted");
    let proxied = call("POST", uri).header("x-forwarded-for", "192.0.2.7").send(&local.http).await;
    assert_eq!(proxied.status, 403);
    let questions = [
        "/goim/online/total",
        "/goim/online/top?type=a&limit=1",
        "/goim/online/room?type=a&rooms=b",
        "/goim/nodes/instances",
    ];
    let ask = |uri: &'static str, host: &'static str| call("GET", uri).peer(Some("192.0.2.7:99")).header("host", host);
    for uri in questions {
        assert_eq!(ask(uri, "192.0.2.1:3111").send(&local.http).await.status, 200, "{uri}");
        let foreign = ask(uri, "evil.example").send(&local.http).await;
        assert_eq!((foreign.status.as_u16(), foreign.json()["code"].as_i64()), (403, Some(-403)), "{uri}");
    }
    assert_eq!(ask("/goim/nodes/weighted", "conn.goim.io").send(&local.http).await.status, 200, "clients ask it");

    local.ingress.access().replace(token("s3cret-0123456789"));
    for uri in questions {
        let without = ask(uri, "192.0.2.1:3111").send(&local.http).await;
        assert_eq!((without.status.as_u16(), without.json()["code"].as_i64()), (401, Some(-401)), "{uri}");
        let with = ask(uri, "elsewhere").header("authorization", "Bearer s3cret-0123456789");
        assert_eq!(with.send(&local.http).await.status, 200, "{uri}");
    }
    assert_eq!(ask("/goim/nodes/weighted", "conn.goim.io").send(&local.http).await.status, 200);
    let denied = call("POST", uri).send(&local.http).await;
    assert_eq!((denied.status.as_u16(), denied.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(denied.json()["code"], -401);
    let allowed = remote(uri).header("authorization", "Bearer s3cret-0123456789").send(&local.http).await;
    assert_eq!(allowed.body, OK);
    assert_eq!(local.delivered().await.len(), 1);
    assert_eq!(local.ingress.access().denied(PUSH), 4);
}

/// While the gateway stops, pushes and counts are code -500.
#[tokio::test]
async fn stopping_is_code_500() {
    let stand = Stand::new();
    stand.ingress.stop();
    stand.gateway.gone.store(true, Ordering::SeqCst);
    let pushed = stand.post("/goim/push/all?operation=1", "x").await;
    assert_eq!((pushed.status.as_u16(), pushed.json()["code"].as_i64()), (200, Some(-500)));
    for uri in ["/goim/online/total", "/goim/online/top?type=a&limit=1", "/goim/online/room?type=a&rooms=b"] {
        assert_eq!(stand.get(uri).await.body, r#"{"code":-500,"message":"the gateway is stopping"}"#);
    }
}

/// A gateway that does not say who is online is code -500 too, in words of its own.
#[tokio::test]
async fn no_answer_about_who_is_online_is_code_500() {
    let stand = Stand::new();
    stand.gateway.silent.store(true, Ordering::SeqCst);
    let uris = [
        "/goim/online/total",
        "/goim/online/top?type=a&limit=1",
        "/goim/online/room?type=a&rooms=b",
        "/goim/nodes/instances",
    ];
    for uri in uris {
        let answer = stand.get(uri).await.json();
        assert_eq!(answer["code"], -500, "{uri}");
        assert!(answer["message"].as_str().unwrap().contains("does not answer"), "{uri}: {answer}");
    }
}

/// goim's routes are where a client's inner lengths come from as well: a raw push (op 9) that is not whole frames is
/// code -400 and goes nowhere, one that is goes through as it is.
#[tokio::test]
async fn a_raw_push_must_be_whole_frames() {
    let stand = Stand::new();
    let frame = "\0\0\0\x12\0\x10\0\x01\0\0\x03\u{68}\0\0\0\0hi";
    for target in ["keys?keys=a&", "mids?mids=1&", "room?type=live&room=1&", "all?"] {
        let uri = format!("/goim/push/{target}operation=9");
        for broken in [&frame[..17], "hi", ""] {
            let answer = stand.post(&uri, broken).await;
            assert_eq!((answer.status.as_u16(), answer.json()["code"].as_i64()), (200, Some(-400)), "{uri} {broken:?}");
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(message.contains("whole goim frames"), "{message}");
        }
        assert_eq!(stand.post(&uri, frame).await.json()["code"], 0, "{uri}");
        let delivered = stand.delivered().await;
        assert_eq!(delivered.len(), 1, "{uri}");
        assert_eq!((delivered[0].op, message(&delivered[0])), (9, Some(frame.as_bytes())));
    }
}
