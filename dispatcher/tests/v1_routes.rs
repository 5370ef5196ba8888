//! Our own HTTP routes, through the whole router: answers, errors, access, the page and its headers.

mod support;

use halley_dispatcher::assemble::Settings;
use halley_dispatcher::bus::embedded::BusLimits;
use halley_dispatcher::consume::{Ended, Why};
use halley_dispatcher::gateways::Totals;
use halley_dispatcher::ingress::admit::Limits;
use halley_dispatcher::stats::{Kind, Outcome};
use halley_protocol::push::{Delivery, Target};
use support::{FakeGateway, Stand, call, framed, keys, message, push_call, room, token};

const ROOM: &str = r#"{"target":{"room":"live://1"},"op":1000,"text":"hi"}"#;

#[track_caller]
fn assert_error(answer: &support::Answer, status: u16, code: &str, part: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (status, "application/json"), "{answer:?}");
    assert_eq!(answer.json()["error"]["code"], code);
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains(part), "{answer:?}");
}

/// L9: a push is answered with an id of its own, and with how many connections it matched.
#[tokio::test]
async fn l09_a_push_is_answered_with_its_id_and_its_matches() {
    let stand = Stand::new();
    let answer = stand.push(ROOM).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, r#"{"id":"0-0","matched":3}"#));
    assert_eq!(stand.push(ROOM).await.body, r#"{"id":"0-1","matched":3}"#);
    let expected =
        Delivery { target: room("live://1"), op: 1000, body: framed(1000, "hi"), count: true, written_ms: 0 };
    assert_eq!(stand.delivered().await, [expected.clone(), expected]);
    assert_eq!(stand.ingress.stats().matched(), 6);
    assert_eq!(stand.ingress.stats().pushes(Kind::Room, Outcome::Accepted), 2);
    assert_eq!(stand.ingress.stats().accepted_bytes(), 4);
}

#[tokio::test]
async fn every_target_is_delivered() {
    let stand = Stand::new();
    for (target, expected) in [
        (r#"{"key":"k"}"#, keys(&["k"])),
        (r#"{"keys":["a","b"]}"#, keys(&["a", "b"])),
        (r#"{"mid":"9007199254740993"}"#, Target::Mids(vec![9_007_199_254_740_993])),
        (r#"{"mids":[1,2]}"#, Target::Mids(vec![1, 2])),
        (r#"{"all":true}"#, Target::All { speed: 0 }),
    ] {
        let answer = stand.push(&format!(r#"{{"target":{target},"op":1000,"body":"/w=="}}"#)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let delivered = stand.delivered().await;
        assert_eq!((&delivered[0].target, message(&delivered[0])), (&expected, Some(&b"\xff"[..])));
    }
}

/// A dry run asks the gateway for the number and sends nothing, even while the bus is full and the ingress stops.
#[tokio::test]
async fn a_dry_run_counts_past_the_bus() {
    let bus = BusLimits { records_max: 0, ..BusLimits::default() };
    let stand = Stand::with(Settings { bus, ..Settings::default() }, FakeGateway::new());
    let answer = stand.push(r#"{"target":{"room":"live://1"},"op":1000,"dry_run":true}"#).await;
    assert_eq!(answer.body, r#"{"matched":3}"#);
    let expected = Delivery { target: room("live://1"), op: 1000, body: None, count: true, written_ms: 0 };
    assert_eq!(stand.gateway.take(), [expected]);
}

/// A dry run with a message that the push itself would be refused for is refused in the same words; without one it
/// counts.
#[tokio::test]
async fn a_dry_run_looks_at_its_message() {
    let limits = Limits { body_bytes_max: 8, ..Limits::default() };
    let stand = Stand::with(Settings { limits, ..Settings::default() }, FakeGateway::new());
    for (push, status) in [
        (r#"{"target":{"all":true},"op":9,"text":"x""#, 400),
        (r#"{"target":{"all":true},"op":1,"text":"123456789""#, 413),
    ] {
        let (real, dry) =
            (stand.push(&format!("{push}}}")).await, stand.push(&format!(r#"{push},"dry_run":true}}"#)).await);
        assert_eq!((real.status.as_u16(), dry.status), (status, real.status), "{dry:?}");
        assert_eq!(dry.body, real.body);
    }
    assert!(stand.gateway.take().is_empty(), "nothing was counted");
    assert_eq!(stand.push(r#"{"target":{"all":true},"op":9,"dry_run":true}"#).await.body, r#"{"matched":3}"#);
}

#[tokio::test]
async fn errors_have_a_status_a_code_and_a_sentence() {
    let limits = Limits { body_bytes_max: 8, ..Limits::default() };
    let stand = Stand::with(Settings { limits, ..Settings::default() }, FakeGateway::new());
    let big = "x".repeat(600 * 1024);
    for (json, status, code, part) in [
        ("{", 400, "bad_request", "no JSON"),
        (r#"{"target":{"rooms":"r"},"op":1,"text":"x"}"#, 400, "bad_request", "did you mean \"target.room\"?"),
        (r#"{"target":{"room":""},"op":1,"text":"x"}"#, 400, "bad_request", "must not be empty"),
        (r#"{"target":{"room":"r"},"op":0,"text":"x"}"#, 400, "bad_request", "op must not be 0"),
        (r#"{"target":{"mid":0},"op":1,"text":"x"}"#, 400, "bad_request", "a mid must be above 0"),
        (r#"{"target":{"all":true},"op":9,"text":"x"}"#, 400, "bad_request", "must be whole goim frames"),
        (r#"{"target":{"keys":[]},"op":1,"text":"x"}"#, 400, "bad_request", "at least one key"),
        (r#"{"target":{"room":"r"},"op":1,"text":"123456789"}"#, 413, "too_large", "9 bytes, at most 8"),
        (big.as_str(), 413, "too_large", "the request is too long"),
    ] {
        assert_error(&stand.push(json).await, status, code, part);
    }
    let form = push_call(ROOM).header("content-type", "application/x-www-form-urlencoded");
    assert_error(&form.send(&stand.http).await, 415, "unsupported_media_type", "Content-Type: application/json");
    let charset = push_call(ROOM).header("content-type", "Application/JSON; charset=utf-8");
    assert_eq!(charset.send(&stand.http).await.status, 200);
    assert_error(&stand.get("/v1/push").await, 405, "method_not_allowed", "/openapi.json");
    assert_error(&stand.get("/v1/nothing").await, 404, "not_found", "/openapi.json");
}

#[tokio::test]
async fn a_full_bus_is_429_with_retry_after() {
    let bus = BusLimits { records_max: 1, ..BusLimits::default() };
    let stand = Stand::with(Settings { bus, ..Settings::default() }, FakeGateway::stuck());
    stand.post("/goim/push/all?operation=1", "first").await;
    let answer = stand.push(ROOM).await;
    assert_error(&answer, 429, "bus_full", "try again");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(stand.ingress.stats().pushes(Kind::Room, Outcome::Full), 1);
}

/// The number of matches is waited for only so long; the push is accepted all the same.
#[tokio::test(start_paused = true)]
async fn an_unknown_number_of_matches_is_left_out() {
    let stand = Stand::with(Settings::default(), FakeGateway::stuck());
    assert_eq!(stand.push(ROOM).await.body, r#"{"id":"0-0"}"#);
    stand.gateway.may_deliver.add_permits(1);
    assert_eq!(stand.delivered().await.len(), 1);
}

#[tokio::test]
async fn stopping_is_503_and_what_was_accepted_is_delivered() {
    let stand = Stand::with(Settings::default(), FakeGateway::stuck());
    stand.post("/goim/push/all?operation=1", "before").await;
    stand.ingress.stop();
    assert_error(&stand.push(ROOM).await, 503, "stopping", "stopping");
    stand.gateway.may_deliver.add_permits(1);
    let (ended, left) = stand.consumer.await.unwrap();
    assert_eq!((ended, left.map(|left| left.records)), (Ended { undelivered: 0, why: Why::Told }, Some(0)));
    assert_eq!(stand.gateway.take().len(), 1);
}

#[tokio::test]
async fn access_is_checked_before_anything_is_read() {
    let stand = Stand::new();
    assert_error(&push_call("{").peer(Some("192.0.2.7:9")).send(&stand.http).await, 403, "forbidden", "push_token");
    stand.ingress.access().replace(token("s3cret-0123456789"));
    let none = push_call("{").send(&stand.http).await;
    assert_error(&none, 401, "unauthorized", "Authorization: Bearer");
    assert_eq!(none.header("www-authenticate"), "Bearer");
    let wrong = push_call(ROOM).header("authorization", "Bearer wrong").send(&stand.http).await;
    assert_error(&wrong, 401, "unauthorized", "no token that is configured");
    let right = push_call(ROOM).header("authorization", "Bearer s3cret-0123456789").peer(Some("192.0.2.7:9"));
    assert_eq!(right.send(&stand.http).await.status, 200);
}

/// A page of another site cannot push through a browser on this machine, by whatever name it reaches the ingress; our
/// own page can.
#[tokio::test]
async fn foreign_pages_may_not_push() {
    let stand = Stand::new();
    let page = |origin: &str, host: &str| push_call(ROOM).header("origin", origin).header("host", host);
    let own = page("http://127.0.0.1:3111", "127.0.0.1:3111");
    assert_eq!(own.send(&stand.http).await.status, 200);
    for (origin, host, why) in [
        ("http://evil.example", "127.0.0.1:3111", "a web page of another site is behind this"),
        ("http://evil.example:3111", "evil.example:3111", "names us by a host that is neither"),
        ("null", "127.0.0.1:3111", "a web page of another site is behind this"),
    ] {
        assert_error(&page(origin, host).send(&stand.http).await, 403, "forbidden", why);
    }
    // goim's routes take any content type, so a page could send to them without a preflight.
    let goim = call("POST", "/goim/push/all?operation=1").header("origin", "http://evil.example");
    assert_eq!(goim.send(&stand.http).await.status, 403);
    assert_eq!(stand.delivered().await.len(), 1);
}

#[tokio::test]
async fn online_lists_totals_and_the_largest_rooms() {
    let stand = Stand::new();
    *stand.gateway.totals.lock().unwrap() = Totals { connections: 9, addresses: 4 };
    stand.gateway.set_rooms(&[("live://1", 2), ("chat://x", 5), ("bare", 1), ("empty://", 0)]);
    let answer = stand.get("/v1/online?limit=2").await;
    let expected = concat!(
        r#"{"connections":9,"addresses":4,"rooms":3,"top":[{"room":"chat://x","count":5},"#,
        r#"{"room":"live://1","count":2}]}"#,
    );
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, expected));
    assert_eq!(stand.get("/v1/online").await.json()["top"].as_array().unwrap().len(), 3);
    for limit in ["-1", "1001", "x"] {
        let answer = stand.get(&format!("/v1/online?limit={limit}")).await;
        assert_error(&answer, 400, "bad_request", "from 1 to 1000");
    }
    for (query, part) in [("limits=2", "unknown field `limits`"), ("limit=1&limit=2", "duplicate field `limit`")] {
        assert_error(&stand.get(&format!("/v1/online?{query}")).await, 400, "bad_request", part);
    }
}

/// The page confines itself: it may load and call nothing but its own host and the gateway's WebSocket port.
#[tokio::test]
async fn the_demo_page_is_served_and_confined() {
    let stand = Stand::new();
    let page = stand.get("/").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.contains("connect-src 'self' ws://*:3102;"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for (uri, content_type) in
        [("/demo/app.js", "text/javascript; charset=utf-8"), ("/demo/style.css", "text/css; charset=utf-8")]
    {
        assert!(page.body.contains(uri), "the page uses {uri}");
        let answer = stand.get(uri).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, content_type));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    assert!(!page.body.contains("http://") && !page.body.contains("https://"), "nothing comes from elsewhere");
    for id in "mid key room accepts login logout status online messages push-target push-value push-op push-body \
               push-send push-result change-room counts"
        .split_whitespace()
    {
        assert!(page.body.contains(&format!("id=\"{id}\"")), "#{id} is promised to tests and users");
    }
    let info = stand.get("/v1/demo.json").await.json();
    assert_eq!(info["ws"], serde_json::json!({"port": 3102}), "an unspecified address means the page's own host");
    assert_eq!(info["wss"], serde_json::Value::Null);
    assert_eq!((info["path"].as_str(), info["push_token"].as_bool()), (Some("/sub"), Some(false)));
}

/// A gateway that does not say who is online is a 503 that may be tried again.
#[tokio::test]
async fn no_answer_about_who_is_online_is_503() {
    let stand = Stand::new();
    stand.gateway.silent.store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = stand.get("/v1/online").await;
    assert_error(&answer, 503, "stuck", "does not answer");
    assert_eq!(answer.header("retry-after"), "1");
}
