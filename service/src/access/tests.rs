//! Who may, by every kind of request and of configuration.

use http::{HeaderValue, Version};

use super::*;

const ASK: Scope = Scope { bit: 0, what: "asking", setting: "ask_token", needs_this_machine: false };
const DO: Scope = Scope { bit: 1, what: "doing", setting: "do_token", needs_this_machine: true };
const FEED: Scope = Scope { bit: 2, what: "feeding", setting: "feed_token", needs_this_machine: true };

const HERE: &str = "127.0.0.1:5";
const HOST_HERE: (&str, &str) = ("host", "127.0.0.1:3111");

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|&(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
}

fn check(access: &Access, scope: Scope, peer: &str, pairs: &[(&'static str, &str)]) -> Result<Role, Reason> {
    let headers = headers(pairs);
    let peer = Peer::Tcp(peer.parse().expect("an address"));
    access
        .check(&Caller { peer, headers: &headers, authority: None, version: Version::HTTP_11 }, scope)
        .map_err(|denied| denied.reason)
}

fn token(text: &str, setting: &'static str, scopes: &[Scope]) -> Token {
    Token::new(text, setting, scopes).expect("a token")
}

fn refused(why: NotFromHere) -> Result<Role, Reason> {
    Err(Reason::NotFromHere(why))
}

const PROGRAM: &[(&str, &str)] = &[HOST_HERE];

#[test]
fn without_tokens_this_machine_may() {
    let access = Access::default();
    for here in ["127.0.0.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
        assert_eq!(check(&access, DO, here, PROGRAM), Ok(Role::ThisMachine), "{here}");
    }
    for elsewhere in ["192.0.2.1:5", "[2001:db8::1]:5", "[::ffff:192.0.2.1]:5", "127.0.0.6:5", "127.8.9.1:5"] {
        assert_eq!(check(&access, DO, elsewhere, PROGRAM), refused(NotFromHere::Address), "{elsewhere}");
    }
    let nobody = Caller { peer: Peer::Unknown, headers: &headers(PROGRAM), authority: None, version: Version::HTTP_11 };
    assert!(access.check(&nobody, DO).is_err());
    let socket = Caller { peer: Peer::Unix, headers: &HeaderMap::new(), authority: None, version: Version::HTTP_11 };
    assert_eq!(access.check(&socket, DO), Ok(Role::Socket));
}

/// Whatever no program and no browser sends by itself may be a proxy's mark.
#[test]
fn every_mark_of_a_proxy_counts() {
    let access = Access::default();
    for mark in [
        "via",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-real-ip",
        "x-client-ip",
        "cf-connecting-ip",
        "true-client-ip",
        "fly-client-ip",
        "x-envoy-external-address",
        "x-request-id",
        "x-amzn-trace-id",
        "cdn-loop",
        "max-forwards",
        "proxy-authorization",
        "x-a-proxy-of-tomorrow",
        "sec-forwarded",
        "grpc-forwarded-for",
    ] {
        let pairs = [HOST_HERE, (mark, "192.0.2.1")];
        assert_eq!(check(&access, DO, HERE, &pairs), refused(NotFromHere::Proxy(mark.to_owned())), "{mark}");
        assert_eq!(check(&access, ASK, HERE, &pairs), Ok(Role::Anybody), "{mark}");
    }
    let curl = [HOST_HERE, ("user-agent", "curl/8"), ("accept", "*/*"), ("content-type", "text/plain")];
    assert_eq!(check(&access, DO, HERE, &curl), Ok(Role::ThisMachine));
    let prometheus = [
        HOST_HERE,
        ("user-agent", "Prometheus/3"),
        ("accept-encoding", "gzip"),
        ("x-prometheus-scrape-timeout-seconds", "10"),
        ("traceparent", "00-1-2-00"),
    ];
    assert_eq!(check(&access, DO, HERE, &prometheus), Ok(Role::ThisMachine));
}

/// A token that stands in several settings allows what each does, and is asked for wherever one of them says so.
#[test]
fn one_token_for_several_things_allows_them_all() {
    let text = "0123456789abcdef";
    let access = Access::new(vec![token(text, "do_token", &[DO, ASK]), token(text, "feed_token", &[FEED])]);
    let access = access.lenient_for(FEED);
    let pairs = [HOST_HERE, ("authorization", "Bearer 0123456789abcdef")];
    for scope in [DO, ASK, FEED] {
        assert_eq!(check(&access, scope, "192.0.2.1:5", &pairs), Ok(Role::Token("do_token")));
        assert_eq!(check(&access, scope, HERE, PROGRAM), Err(Reason::NoToken));
    }
    let other = Access::new(vec![token(text, "do_token", &[DO, ASK, FEED])]);
    assert!(access.has_tokens_of(&other) && !access.has_tokens_of(&Access::default()));
}

/// Nobody behind a proxy is told how to look like this machine.
#[test]
fn denials_advise_a_token() {
    for why in [
        NotFromHere::Address,
        NotFromHere::Proxy("via".into()),
        NotFromHere::Version,
        NotFromHere::Host,
        NotFromHere::Page,
    ] {
        let said = Denied { reason: Reason::NotFromHere(why), scope: DO }.to_string();
        assert!(said.starts_with("doing without a token is for programs on this machine, and "), "{said}");
        assert!(said.ends_with(": set do_token, and send it"), "{said}");
    }
}

/// Proxies that add nothing speak HTTP/1.0 behind (nginx's `proxy_pass` by itself), which no program does any more.
#[test]
fn the_version_of_a_plain_proxy_is_a_mark() {
    let access = Access::default();
    let headers = headers(&[HOST_HERE, ("connection", "close")]);
    let peer = Peer::Tcp(HERE.parse().expect("an address"));
    let reason = |version, scope| {
        let caller = Caller { peer, headers: &headers, authority: None, version };
        access.check(&caller, scope).map_err(|denied| denied.reason)
    };
    for old in [Version::HTTP_09, Version::HTTP_10] {
        assert_eq!(reason(old, DO), refused(NotFromHere::Version));
        assert_eq!(reason(old, ASK), Ok(Role::Anybody));
    }
    for new in [Version::HTTP_11, Version::HTTP_2] {
        assert_eq!(reason(new, DO), Ok(Role::ThisMachine));
    }
}

/// A site that a browser on this machine visits must not do anything, by whatever name it reaches us; our own page may.
#[test]
fn pages_of_others_may_nothing() {
    let access = Access::default().with_hosts(vec!["Page.internal".into()]);
    for (origin, host) in [
        ("http://127.0.0.1:3111", "127.0.0.1:3111"),
        ("http://localhost:3111", "LocalHost:3111"),
        ("http://[::1]:3111", "[::1]:3111"),
        ("https://page.internal", "page.internal"),
    ] {
        let pairs = [("host", host), ("origin", origin), ("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")];
        assert_eq!(check(&access, DO, HERE, &pairs), Ok(Role::ThisMachine), "{origin}");
        assert_eq!(check(&access, ASK, HERE, &pairs), Ok(Role::Anybody), "{origin}");
    }
    for (origin, host, why) in [
        ("http://evil.example", "127.0.0.1:3111", NotFromHere::Page),
        ("http://127.0.0.1:8080", "127.0.0.1:3111", NotFromHere::Page),
        ("http://evil.example:3111", "evil.example:3111", NotFromHere::Host),
        ("http://localhost.evil.example", "localhost.evil.example", NotFromHere::Host),
        ("null", "127.0.0.1:3111", NotFromHere::Page),
        ("ftp://page.internal", "page.internal", NotFromHere::Page),
        ("chrome-extension://127.0.0.1:3111", "127.0.0.1:3111", NotFromHere::Page),
    ] {
        for scope in [ASK, DO] {
            let pairs = [("host", host), ("origin", origin)];
            assert_eq!(check(&access, scope, HERE, &pairs), refused(why.clone()), "{origin} {host}");
        }
    }
}

/// A page of another site can send a GET without `Origin`, yet not without saying where it comes from.
#[test]
fn cross_site_requests_without_origin_are_seen() {
    let access = Access::default();
    for (site, expected) in [
        ("same-origin", Ok(Role::ThisMachine)),
        ("none", Ok(Role::ThisMachine)),
        ("cross-site", refused(NotFromHere::Page)),
        ("same-site", refused(NotFromHere::Page)),
        ("", refused(NotFromHere::Page)),
    ] {
        assert_eq!(check(&access, DO, HERE, &[HOST_HERE, ("sec-fetch-site", site)]), expected, "{site}");
    }
    let mut twice = headers(&[HOST_HERE, ("sec-fetch-site", "same-origin")]);
    twice.append("sec-fetch-site", HeaderValue::from_static("cross-site"));
    let caller = Caller {
        peer: Peer::Tcp(HERE.parse().expect("an address")),
        headers: &twice,
        authority: None,
        version: Version::HTTP_11,
    };
    assert!(access.check(&caller, DO).is_err());
}

/// What needs no token and no place asks only for a name of ours.
#[test]
fn questions_are_answered_under_our_own_names_only() {
    let access = Access::default();
    assert_eq!(check(&access, ASK, "192.0.2.1:5", PROGRAM), Ok(Role::Anybody));
    assert_eq!(check(&access, ASK, HERE, &[("host", "evil.example")]), refused(NotFromHere::Host));
    assert_eq!(check(&access, ASK, HERE, &[]), refused(NotFromHere::Host));
}

/// One token is enough to end all guessing of where a request comes from.
#[test]
fn with_any_token_one_is_asked_for_over_tcp_always() {
    let (ask, all) = ("ask-0123456789abcdef", "all-0123456789abcdef");
    let access = Access::new(vec![token(ask, "ask_token", &[ASK]), token(all, "do_token", &[ASK, DO, FEED])]);
    for peer in [HERE, "192.0.2.1:5"] {
        for scope in [ASK, DO] {
            assert_eq!(check(&access, scope, peer, PROGRAM), Err(Reason::NoToken));
            let with = |value: &str| check(&access, scope, peer, &[("authorization", value)]);
            assert_eq!(with(&format!("Bearer {all}")), Ok(Role::Token("do_token")));
            assert_eq!(with(&format!("bearer  {all} ")), Ok(Role::Token("do_token")));
            for none in ["", "Bearer", "Basic all-0123456789abcdef", all] {
                assert_eq!(with(none), Err(Reason::NoToken), "{none}");
            }
            for wrong in ["Bearer all-0123456789abcde", "Bearer all-0123456789abcdeff", "Bearer "] {
                assert_eq!(with(wrong), Err(Reason::WrongToken), "{wrong}");
            }
        }
        let with_ask = [("authorization", "Bearer ask-0123456789abcdef")];
        assert_eq!(check(&access, ASK, peer, &with_ask), Ok(Role::Token("ask_token")));
        assert_eq!(check(&access, DO, peer, &with_ask), Err(Reason::NotAllowed));
    }
    let socket = Caller { peer: Peer::Unix, headers: &HeaderMap::new(), authority: None, version: Version::HTTP_11 };
    assert_eq!(access.check(&socket, DO), Ok(Role::Socket));
    assert_eq!(access.failures().total(), 12);
}

/// What is opened by name is open to all but pages of others, also when tokens are configured for other things.
#[test]
fn what_is_opened_is_open() {
    let access = Access::new(vec![token("ask-0123456789abcdef", "ask_token", &[ASK])]).open_to_all(DO);
    let proxied = [("host", "elsewhere"), ("x-forwarded-for", "192.0.2.1")];
    assert_eq!(check(&access, DO, "192.0.2.1:5", &proxied), Ok(Role::Anybody));
    let page = [("host", "10.0.0.1"), ("origin", "http://evil.example")];
    assert_eq!(check(&access, DO, "192.0.2.1:5", &page), refused(NotFromHere::Page));
    assert_eq!(check(&access, ASK, HERE, PROGRAM), Err(Reason::NoToken));
}

/// Those who cannot show a token are asked for one only when one is made for them alone.
#[test]
fn who_cannot_show_a_token_is_asked_for_his_own_only() {
    let all = token("all-0123456789abcdef", "do_token", &[ASK, DO, FEED]);
    let access = Access::new(vec![all.clone()]).lenient_for(FEED);
    assert_eq!(check(&access, FEED, "192.0.2.1:5", &[]), Ok(Role::Anybody));
    let access = Access::new(vec![all, token("feed-0123456789abcde", "feed_token", &[FEED])]).lenient_for(FEED);
    assert_eq!(check(&access, FEED, HERE, &[]), Err(Reason::NoToken));
    for (text, setting) in [("feed-0123456789abcde", "feed_token"), ("all-0123456789abcdef", "do_token")] {
        let given = format!("Bearer {text}");
        assert_eq!(check(&access, FEED, HERE, &[("authorization", &given)]), Ok(Role::Token(setting)));
    }
}
