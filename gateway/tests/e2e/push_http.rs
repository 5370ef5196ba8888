//! Pushing over HTTP: goim's own routes (goim §5) and `POST /v1/push`, each seen from the clients that get the message,
//! and counts and nodes as apps ask for them.

use std::collections::BTreeSet;

use base64::Engine as _;
use serde_json::json;

use crate::support::gateway::Start;
use crate::support::http;
use crate::support::*;

/// Two users on two transports in one room: `(TCP, WebSocket)`.
fn pair(gateway: &Gateway) -> [Client; 2] {
    [
        Transport::Tcp.login(gateway, 11, "k1", "live://1000", &[1000]),
        Transport::WebSocket.login(gateway, 12, "k2", "live://1000", &[1000]),
    ]
}

/// goim's answer to a push that was accepted.
fn accepted(gateway: &Gateway, path: &str, body: &str) {
    let response = gateway.post(path, body.as_bytes());
    assert_eq!(response.status, 200, "{path}");
    assert_eq!(response.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(response.text(), r#"{"code":0,"message":""}"#, "{path}");
}

/// Each goim route reaches whom it names, with its op, version 1 and sequence 0, on both transports.
#[test]
fn goim_routes_reach_whom_they_name() {
    let gateway = Start::new().shards(2).run();
    let [mut tcp, mut ws] = pair(&gateway);
    accepted(&gateway, "/goim/push/keys?operation=1000&keys=k1", "one key");
    accepted(&gateway, "/goim/push/keys?operation=1000&keys=k2&keys=nobody&keys=k1", "both keys");
    accepted(&gateway, "/goim/push/mids?operation=1000&mids=12", "one mid");
    accepted(&gateway, "/goim/push/mids?operation=1000&mids=11&mids=12&mids=99", "both mids");
    accepted(&gateway, "/goim/push/room?operation=1001&type=live&room=1000", "room");
    accepted(&gateway, "/goim/push/all?operation=1000", "all");
    accepted(&gateway, "/goim/push/all?operation=1000&speed=100", "all, paced");
    accepted(&gateway, "/goim/push/keys?operation=1000&keys=k1&keys=k2", "end");
    for (op, text) in [(1000, "one key"), (1000, "both keys"), (1000, "both mids"), (1001, "room"), (1000, "all")] {
        assert_eq!(tcp.receive(), Frame::new(op, 0, text));
    }
    for (op, text) in [(1000, "both keys"), (1000, "one mid"), (1000, "both mids"), (1001, "room"), (1000, "all")] {
        assert_eq!(ws.receive(), Frame::new(op, 0, text));
    }
    for client in [&mut tcp, &mut ws] {
        // A paced broadcast takes its time, so what was pushed behind it may come first.
        let mut last = [client.receive(), client.receive()].map(|frame| frame.text().to_owned());
        last.sort();
        assert_eq!(last, ["all, paced", "end"]);
    }
}

/// Proves goim §1.9 to the byte (T1, T2, R1): TCP sees the inner frame alone, WebSocket one op-9 message around it.
#[test]
fn pushes_have_goims_bytes() {
    let gateway = Gateway::start();
    let [tcp, ws] = pair(&gateway);
    let (Client::Tcp(mut tcp), Client::WebSocket(mut ws)) = (tcp, ws) else { unreachable!("built that way") };
    accepted(&gateway, "/goim/push/keys?operation=1000&keys=k1&keys=k2", r#"{"test":1}"#);
    let inner = hex(frame::golden::T1);
    assert_eq!(tcp.exact(inner.len()), inner);
    let message = ws.next_message().expect("a message");
    assert_eq!(message, hex(frame::golden::R1)[2..]);

    // The WebSocket header too, on a socket upgraded by hand: shortest length form, FIN, binary, unmasked (R1 and R3).
    let (_, mut raw) = client::raw_upgrade(gateway.ws());
    let login = Frame::new(op::AUTH, 1, r#"{"key":"raw","accepts":[1000]}"#).encode();
    raw.send_bytes(&[&[0x82, 0x80 | u8::try_from(login.len()).expect("short"), 0, 0, 0, 0], &login[..]].concat());
    assert_eq!(raw.exact(18), hex(frame::golden::W2));
    accepted(&gateway, "/goim/push/keys?operation=1000&keys=raw", r#"{"test":1}"#);
    let whole = hex(frame::golden::R1);
    assert_eq!(raw.exact(whole.len()), whole);
    accepted(&gateway, "/goim/push/keys?operation=1000&keys=raw", &"x".repeat(94));
    let start = hex("827e007e0000007e0010000100000009000000000000006e");
    assert_eq!(raw.exact(4 + 126)[..24], start);
    accepted(&gateway, "/goim/push/keys?operation=1000&keys=raw", &"x".repeat(65_535));
    assert_eq!(raw.exact(10), [&[0x82, 127][..], &65_567_u64.to_be_bytes()].concat());
}

/// Wrong input gets goim's codes and content types (goim §5).
#[test]
fn goim_routes_refuse_as_goim_does() {
    let gateway = Gateway::start();
    let binding = [
        (
            "/goim/push/room?operation=1000&type=live",
            "Key: 'Room' Error:Field validation for 'Room' failed on the 'required' tag",
        ),
        ("/goim/push/mids?operation=1000&mids=1,2", r#"strconv.ParseInt: parsing "1,2": invalid syntax"#),
        ("/goim/push/all?operation=x", r#"strconv.ParseInt: parsing "x": invalid syntax"#),
    ];
    for (path, message) in binding {
        let response = gateway.post(path, b"x");
        assert_eq!(
            (response.status, response.header("content-type")),
            (400, Some("text/plain; charset=utf-8")),
            "{path}"
        );
        assert_eq!(response.json()["code"], -400);
        assert!(response.text().contains(&message.replace('"', "\\\"")), "{path}: {}", response.text());
    }
    let no_keys = gateway.post("/goim/push/keys?operation=1000", b"x");
    assert_eq!((no_keys.status, no_keys.text()), (200, r#"{"code":-400,"message":""}"#));
    for (method, path) in
        [("GET", "/goim/push/all?operation=1"), ("POST", "/goim/online/total"), ("GET", "/goim/nowhere")]
    {
        let response = http::request(gateway.http(), method, path, &[], b"");
        assert_eq!((response.status, response.text()), (404, "404 page not found"), "{method} {path}");
    }
}

/// `/v1/push` tells how many matched, names the push, and sends nothing on a dry run.
#[test]
fn own_push_counts_and_names() {
    let gateway = Start::new().shards(2).run();
    let [mut tcp, mut ws] = pair(&gateway);
    let mut ids = std::collections::BTreeSet::new();
    let pushes = [
        (json!({"key": "k1"}), 1),
        (json!({"keys": ["k1", "k2", "nobody"]}), 2),
        (json!({"mid": 12}), 1),
        (json!({"mids": [11, 12]}), 2),
        (json!({"room": "live://1000"}), 2),
        (json!({"room": "live://empty"}), 0),
        (json!({"all": true}), 2),
    ];
    for (target, matched) in &pushes {
        let dry = gateway.push(&json!({"target": target, "op": 1000, "dry_run": true}));
        assert_eq!(dry["matched"], *matched, "dry run to {target}");
        let bytes = base64::engine::general_purpose::STANDARD.encode([0, 255, 128]);
        let answer = gateway.push(&json!({"target": target, "op": 1000, "body": bytes}));
        assert_eq!(answer["matched"], *matched, "push to {target}");
        assert!(ids.insert(answer["id"].as_str().expect("an id").to_owned()), "ids differ");
    }
    gateway.push(&json!({"target": {"all": true}, "op": 1000, "text": "end"}));
    for (client, expected) in [(&mut tcp, 5), (&mut ws, 5)] {
        for _ in 0..expected {
            assert_eq!(client.receive(), Frame::new(1000, 0, [0, 255, 128]));
        }
        assert_eq!(client.receive().text(), "end", "nothing came of the dry runs");
    }
}

/// Wrong input to `/v1/push` gets an HTTP status and a sentence that names what is wrong.
#[test]
fn own_push_explains_what_is_wrong() {
    let gateway = Gateway::start();
    let json = [("content-type", "application/json")];
    let cases = [
        (r#"{"target":{"key":"k"},"op":1000,"txet":"x"}"#, 400, "text"),
        (r#"{"target":{"rom":"k"},"op":1000,"text":"x"}"#, 400, "room"),
        (r#"{"target":{"key":"k"},"text":"x"}"#, 400, "op"),
        (r#"{"target":{"key":"k"},"op":1000}"#, 400, "text"),
        (r#"{"target":{"key":"k"},"op":1000,"body":"%"}"#, 400, "base64"),
        ("{", 400, "JSON"),
    ];
    for (body, status, word) in cases {
        let response = http::request(gateway.http(), "POST", "/v1/push", &json, body.as_bytes());
        assert_eq!(response.status, status, "{body}");
        let message = response.json()["error"]["message"].as_str().expect("a sentence").to_owned();
        assert!(message.contains(word), "{body}: {message}");
    }
    assert_eq!(gateway.post("/v1/push", b"{}").status, 415, "JSON must be declared");
    let large = json!({"target": {"key": "k"}, "op": 1000, "text": "x".repeat(1_000_001)}).to_string();
    assert_eq!(http::request(gateway.http(), "POST", "/v1/push", &json, large.as_bytes()).status, 413);
}

/// A push token is asked for from everybody; a foreign web page may not push without one.
#[test]
fn pushing_is_protected() {
    let gateway = Gateway::with("push_token = [\"secret-0123456789\", \"older-0123456789ab\"]");
    let push = json!({"target": {"all": true}, "op": 1000, "text": "x"}).to_string();
    let with = |headers: &[(&str, &str)]| {
        let all = [&[("content-type", "application/json")], headers].concat();
        http::request(gateway.http(), "POST", "/v1/push", &all, push.as_bytes()).status
    };
    assert_eq!(with(&[]), 401);
    assert_eq!(with(&[("authorization", "Bearer wrong")]), 401);
    assert_eq!(with(&[("authorization", "Bearer secret-0123456789")]), 200);
    assert_eq!(with(&[("authorization", "Bearer older-0123456789ab")]), 200, "several hold at once");
    assert_eq!(gateway.post("/goim/push/all?operation=1000", b"x").status, 401);

    let open = Gateway::start();
    let json = ("content-type", "application/json");
    let from = |origin: &str| {
        http::request(open.http(), "POST", "/v1/push", &[json, ("origin", origin)], push.as_bytes()).status
    };
    assert_eq!(from("https://evil.example"), 403);
    assert_eq!(from(&format!("http://{}", open.http())), 200);
}

/// Online counts and node lists as apps ask logic for them (goim §5).
#[test]
fn counts_and_nodes_are_told() {
    let gateway =
        Gateway::with("[node]\nserver_id = \"comet1\"\nhost_domain = \".goim.io\"\ndefault_domain = \"conn.goim.io\"");
    let clients: Vec<Client> = (0..5)
        .map(|n| Transport::BOTH[n % 2].login(&gateway, 0, "", if n < 3 { "live://a" } else { "live://b" }, &[]))
        .collect();
    eventually("the rooms are counted", || {
        let top = gateway.get("/goim/online/top?type=live&limit=10").json();
        (top["data"] == json!([{"room_id": "a", "count": 3}, {"room_id": "b", "count": 2}])).then_some(())
    });
    let rooms = gateway.get("/goim/online/room?type=live&rooms=a&rooms=b&rooms=c").json();
    assert_eq!(rooms, json!({"code": 0, "message": "", "data": {"a": 3, "b": 2, "c": 0}}));
    let total = gateway.get("/goim/online/total").json();
    assert_eq!(total, json!({"code": 0, "message": "", "data": {"conn_count": 5, "ip_count": 1}}));
    let negative = gateway.get("/goim/online/top?type=live&limit=-1");
    assert_eq!(negative.status, 400, "L10: a negative limit is no panic");

    let web = gateway.get("/goim/nodes/weighted?platform=web").json();
    assert_eq!(web["data"]["nodes"], json!(["comet1.goim.io"]));
    assert_eq!(web["data"]["tcp_port"], gateway.tcp().port());
    assert_eq!(web["data"]["ws_port"], gateway.ws().port());
    assert_eq!((&web["data"]["heartbeat"], &web["data"]["heartbeat_max"]), (&json!(240), &json!(2)));
    assert_eq!(web["data"]["backoff"], json!({"max_delay": 300, "base_delay": 3, "factor": 1.8, "jitter": 0.3}));
    drop(clients);
}

/// Proves defect C28 is not there, as far as standalone gateways go. goim's job knows its comets by host name, so the
/// later of two of one name takes the place of the first, and pushes for the first one's clients go to the other
/// without a word. Gateways share no registry: two that were given the same name stay two, each with its own address,
/// clients and counts, and a push at one reaches the clients of that one. A name can be given, and whoever asks for the
/// nodes sees it. On one machine a second gateway at the ports of the first is refused by one sentence. That several
/// gateways behind one job have different names is not checked by anything.
#[test]
fn c28_two_gateways_do_not_merge_in_silence() {
    let gateways = [(); 2].map(|()| Gateway::with("[node]\nserver_id = \"same\""));
    let mut clients = [0, 1].map(|at| Transport::BOTH[at].login(&gateways[at], 7, "one key", "live://1000", &[1000]));
    let mut addresses = BTreeSet::new();
    for gateway in &gateways {
        let instances = gateway.get("/goim/nodes/instances").json();
        let [instance] = &instances["data"].as_array().expect("a list")[..] else { panic!("not one: {instances}") };
        assert_eq!((&instance["hostname"], &instance["metadata"]["conn_count"]), (&json!("same"), &json!("1")));
        assert_eq!(instance["addrs"], json!([format!("grpc://{}", gateway.grpc())]));
        addresses.insert(instance["addrs"].to_string());
    }
    assert_eq!(addresses.len(), 2, "two nodes of one name are told apart by their addresses");
    for (at, text) in [(0, "at the first"), (1, "at the second"), (0, "at the first again")] {
        let (gateway, client) = (&gateways[at], &mut clients[at]);
        assert_eq!(gateway.push_key("one key", 1000, text), 1);
        assert_eq!(gateway.push_mid(7, 1000, text), 1);
        assert_eq!(gateway.push_room("live://1000", 1000, text), 1);
        assert_eq!([(); 3].map(|()| client.receive().text().to_owned()), [text; 3]);
    }
    // One that goes takes nothing of the other with it.
    let [gateway, second] = gateways;
    drop(second);
    assert_eq!(gateway.push_key("one key", 1000, "still there"), 1);
    assert_eq!(clients[0].receive().text(), "still there");
    for listener in ["tcp", "ws", "http", "grpc"] {
        let address = match listener {
            "tcp" => gateway.tcp(),
            "ws" => gateway.ws(),
            "http" => gateway.http(),
            _ => gateway.grpc(),
        };
        let mut second = Start::new().own_ports();
        for other in ["tcp", "ws", "http", "grpc"] {
            let address = if other == listener { address.to_string() } else { "127.0.0.1:0".to_owned() };
            second = second.argument(format!("--{other}-listen")).argument(address);
        }
        let (status, text) = second.refused();
        assert_eq!(status.code(), Some(3), "{text}");
        assert!(text.contains(&address.to_string()) && !text.contains("panicked"), "{text}");
        assert_eq!(text.trim_end().lines().count(), 1, "one sentence: {text}");
    }
}

/// The OpenAPI document, the page, health and readiness are served.
#[test]
fn documents_and_health_are_served() {
    let gateway = Gateway::start();
    let openapi = gateway.get("/openapi.json").json();
    assert!(openapi["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    assert!(openapi["paths"]["/v1/push"]["post"].is_object());
    let page = gateway.get("/");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    assert_eq!(gateway.get("/healthz").status, 200);
    assert_eq!(gateway.get("/readyz").status, 200);
}
