//! The upgrade request (RFC 6455 §4.2, goim §1.5): what is accepted, what is refused and how, as tables over one good
//! request with a line changed.

use halley_protocol::websocket::handshake::{Refusal, Rules, Upgrade, upgrade};

const GOOD: &str = "GET /sub HTTP/1.1\r\n\
    Host: x\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const RULES: Rules<'static> = Rules { path: "/sub", origins: &[], request_bytes_max: 1024, strict: false };

/// The refusal, or `None` if the request was accepted.
fn refusal(request: &str, rules: &Rules<'_>) -> Option<Refusal> {
    match upgrade(request.as_bytes(), rules) {
        Upgrade::Accepted { consumed, .. } => {
            assert_eq!(consumed, request.len());
            None
        }
        Upgrade::Refused(refusal) => Some(refusal),
        Upgrade::Incomplete => panic!("incomplete: {request:?}"),
    }
}

#[test]
fn the_response_is_goims_to_the_byte() {
    let frames = b"\x82\x90and more";
    let input = [GOOD.as_bytes(), frames].concat();
    let Upgrade::Accepted { consumed, response, cookie } = upgrade(&input, &RULES) else { panic!("refused") };
    assert_eq!(
        std::str::from_utf8(&response),
        Ok("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
    );
    assert_eq!(input[consumed..], *frames, "what follows the request is kept");
    assert_eq!(cookie, None);
}

#[test]
fn the_cookie_is_found_where_it_lies() {
    let request = GOOD.replace("Host: x", "cookie:  session=1; a=b \r\nHost: x");
    let Upgrade::Accepted { cookie, .. } = upgrade(request.as_bytes(), &RULES) else { panic!("refused") };
    assert_eq!(&request[cookie.expect("a cookie")], "session=1; a=b");
}

/// Each row replaces a part of the good request; goim accepts all of these but the lists, the query and the absolute
/// form.
#[test]
fn accepted_variants() {
    for (part, with) in [
        ("\r\n", "\n"),
        ("/sub", "/sub?token=a://b/c"),
        ("/sub", "/sub?"),
        ("/sub", "http://example.test:3102/sub"),
        ("/sub", "http://example.test/sub?x"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("Host: x\r\n", ""),
        ("Host: x", "Origin: null"),
        ("Upgrade: websocket", "UPGRADE:WebSocket"),
        ("Upgrade: websocket", "Upgrade: h2c, websocket"),
        ("Connection: Upgrade", "connection:keep-alive , upgrade"),
        ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "k"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "not base64!"),
        ("Host: x", "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate"),
        ("GET", "\r\nGET"),
    ] {
        let request = GOOD.replace(part, with);
        assert_ne!(request, GOOD, "{part:?} is not in the request");
        assert_eq!(refusal(&request, &RULES), None, "{with:?}");
    }
}

#[test]
fn refused_variants() {
    let many_lines = "A: b\r\n".repeat(101);
    for (part, with, expected) in [
        ("GET /sub", "GET /", Refusal::Path),
        ("/sub", "/sub/", Refusal::Path),
        ("/sub", "/Sub", Refusal::Path),
        ("/sub", "/x?/sub", Refusal::Path),
        ("/sub", "http://sub", Refusal::Path),
        ("/sub", "*", Refusal::Path),
        ("GET /sub", "POST /", Refusal::Path),
        ("GET", "POST", Refusal::Method),
        ("GET", "get", Refusal::Method),
        ("Upgrade: websocket\r\n", "", Refusal::BadRequest),
        ("Upgrade: websocket", "Upgrade: websockets", Refusal::BadRequest),
        ("Connection: Upgrade\r\n", "", Refusal::BadRequest),
        ("Connection: Upgrade", "Connection: close", Refusal::BadRequest),
        ("Sec-WebSocket-Version: 13\r\n", "", Refusal::Version),
        ("Version: 13", "Version: 8", Refusal::Version),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 8", Refusal::Version),
        ("dGhlIHNhbXBsZSBub25jZQ==", "", Refusal::BadRequest),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", Refusal::BadRequest),
        ("Host: x", "Sec-WebSocket-Key: again", Refusal::BadRequest),
        ("Host: x", "Host: x\r\n folded", Refusal::BadRequest),
        ("Host: x", "Host", Refusal::BadRequest),
        ("Host: x", "Ho st: x", Refusal::BadRequest),
        ("HTTP/1.1", "HTTP/2.0", Refusal::BadRequest),
        ("HTTP/1.1", "", Refusal::BadRequest),
        ("GET /sub HTTP/1.1\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01", Refusal::BadRequest),
        ("Host: x\r\n", &many_lines, Refusal::TooLarge),
    ] {
        let request = GOOD.replace(part, with);
        assert_ne!(request, GOOD, "{part:?} is not in the request");
        assert_eq!(refusal(&request, &RULES), Some(expected), "{with:?}");
    }
}

/// What RFC 6455 §4.2.1 asks of a request and goim does not: only strict rules look at it, however the bytes are cut.
#[test]
fn strict_rules_ask_for_version_host_and_key() {
    let strict = Rules { strict: true, ..RULES };
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    for (part, with, expected) in [
        ("GET", "GET", None),
        ("Host: x", "host: [::1]:3102", None),
        ("HTTP/1.1", "HTTP/1.0", Some(Refusal::HttpVersion)),
        ("Host: x\r\n", "", Some(Refusal::Host)),
        ("Host: x", "Host:", Some(Refusal::Host)),
        ("Host: x", "Host: x\r\nHost: y", Some(Refusal::Host)),
        (key, "k", Some(Refusal::Key)),
        (key, "not base64, but twenty-4", Some(Refusal::Key)),
        (key, "dGhlIHNhbXBsZSBub25jZQ", Some(Refusal::Key)),
        (key, "dGhlIHNhbXBsZSBub25jZR==", Some(Refusal::Key)),
        (key, "AAAAAAAAAAAAAAAAAAAA", Some(Refusal::Key)),
        (key, "AAAAAAAAAAAAAAAAAAAAAAA=", Some(Refusal::Key)),
        (key, "AAAAAAAAAAAAAAAAAAAAAAAA", Some(Refusal::Key)),
        (key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Some(Refusal::Key)),
    ] {
        let request = GOOD.replace(part, with);
        assert_eq!(refusal(&request, &strict), expected, "{with:?}");
        assert_eq!(refusal(&request, &RULES), None, "goim: {with:?}");
        for end in 0..request.len() {
            assert!(
                matches!(upgrade(&request.as_bytes()[..end], &strict), Upgrade::Incomplete),
                "{with:?} cut at {end}"
            );
        }
    }
}

/// The check keeps web pages out, and nothing else: who sends no `Origin` is not one.
#[test]
fn origins() {
    let origins = ["https://app.example".to_owned(), "http://localhost:8000".to_owned()];
    let rules = Rules { origins: &origins, ..RULES };
    for (line, expected) in [
        ("Origin: https://app.example", None),
        ("origin: HTTPS://APP.example", None),
        ("Origin: http://localhost:8000", None),
        ("X: y", None),
        ("Origin: https://app.example.evil", Some(Refusal::Origin)),
        ("Origin: http://app.example", Some(Refusal::Origin)),
        ("Origin: null", Some(Refusal::Origin)),
        ("Origin:", Some(Refusal::Origin)),
        ("Origin: https://app.example\r\nOrigin: https://evil.example", Some(Refusal::Origin)),
    ] {
        assert_eq!(refusal(&GOOD.replace("Host: x", line), &rules), expected, "{line:?}");
    }
}

/// The bound counts the request alone, to the byte, whether it comes at once or never ends.
#[test]
fn c27_requests_have_a_bound() {
    let with_max = |request_bytes_max| Rules { request_bytes_max, ..RULES };
    assert_eq!(refusal(GOOD, &with_max(GOOD.len())), None);
    assert_eq!(refusal(GOOD, &with_max(GOOD.len() - 1)), Some(Refusal::TooLarge));

    let endless = format!("GET /{}", "x".repeat(2000));
    assert!(matches!(upgrade(&endless.as_bytes()[..1023], &RULES), Upgrade::Incomplete));
    assert_eq!(refusal(&endless[..1024], &RULES), Some(Refusal::TooLarge));
    assert_eq!(refusal(&endless, &RULES), Some(Refusal::TooLarge));
}

#[test]
fn refusals_are_whole_responses() {
    for (refusal, status, header) in [
        (Refusal::BadRequest, "400 Bad Request", ""),
        (Refusal::HttpVersion, "400 Bad Request", ""),
        (Refusal::Host, "400 Bad Request", ""),
        (Refusal::Key, "400 Bad Request", ""),
        (Refusal::Origin, "403 Forbidden", ""),
        (Refusal::Path, "404 Not Found", ""),
        (Refusal::Method, "405 Method Not Allowed", "Allow: GET"),
        (Refusal::Version, "426 Upgrade Required", "Sec-WebSocket-Version: 13"),
        (Refusal::TooLarge, "431 Request Header Fields Too Large", ""),
    ] {
        let response = std::str::from_utf8(refusal.response()).expect("text");
        let (head, body) = response.split_once("\r\n\r\n").expect("a blank line");
        let lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!(lines[0], format!("HTTP/1.1 {status}"));
        assert!(lines.contains(&"Connection: close"), "{refusal:?}");
        assert!(
            lines.contains(&format!("Content-Length: {}", body.len()).as_str()),
            "{refusal:?}: {} bytes",
            body.len()
        );
        assert!(header.is_empty() || lines.contains(&header), "{refusal:?}");
        assert_eq!(body.find('\n'), Some(body.len() - 1), "{refusal:?}: one line");

        let mut headers = [httparse::EMPTY_HEADER; 16];
        let parsed = httparse::Response::new(&mut headers).parse(response.as_bytes());
        assert_eq!(parsed, Ok(httparse::Status::Complete(response.len() - body.len())), "{refusal:?}");
    }
    assert_eq!(Refusal::ALL.len(), 9);
}
