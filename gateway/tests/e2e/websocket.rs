//! The WebSocket side as such: upgrade, control frames, fragments and closing (RFC 6455; goim §1.5).

use std::collections::BTreeSet;

use crate::support::client::{End, raw_upgrade, read_head, read_to_end};
use crate::support::frame::golden;
use crate::support::*;

/// A client frame with the mask of goim §9.2.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = match u16::try_from(payload.len()).expect("a short frame") {
        short @ 0..126 => vec![first, 0x80 | u8::try_from(short).expect("below 126")],
        long => [&[first, 0x80 | 126][..], &long.to_be_bytes()].concat(),
    };
    bytes.extend(mask);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    bytes
}

fn login(gateway: &Gateway) -> TcpClient {
    let (_, mut client) = raw_upgrade(gateway.ws());
    client.send_bytes(&masked(0x82, &Frame::new(op::AUTH, 1, r#"{"key":"raw","accepts":[1000]}"#).encode()));
    assert_eq!(client.exact(18), hex(golden::W2));
    client
}

/// Proves goim §1.5: the 101 answer has exactly goim's lines in goim's order.
#[test]
fn the_upgrade_is_answered_with_goims_lines() {
    let gateway = Gateway::start();
    let (answer, _client) = raw_upgrade(gateway.ws());
    assert_eq!(
        answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
}

/// Where goim just closes, a refusal is an HTTP answer: 400, 403, 404, 405, 426.
#[test]
fn refused_upgrades_get_an_http_answer() {
    let gateway = Gateway::with("origins = [\"https://app.example\"]");
    let good = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
        x3JJHMbDL1EzLkh9GBhXDw==\r\nOrigin: https://app.example\r\n";
    let cases = [
        (format!("GET /sub HTTP/1.1\r\nHost: x\r\n{good}\r\n"), 101),
        (format!("GET /sub?token=1&x=%20 HTTP/1.1\r\nHost: x\r\n{good}\r\n"), 101),
        (format!("GET /other HTTP/1.1\r\nHost: x\r\n{good}\r\n"), 404),
        (format!("POST /sub HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{good}\r\n"), 405),
        (format!("GET /sub HTTP/1.1\r\nHost: x\r\n{}\r\n", good.replace("13", "8")), 426),
        (format!("GET /sub HTTP/1.1\r\nHost: x\r\n{}\r\n", good.replace("app.example", "evil.example")), 403),
        (format!("GET /sub HTTP/1.1\r\nHost: x\r\n{}\r\n", good.replace("Upgrade: websocket\r\n", "")), 400),
        (format!("GET /sub HTTP/1.1\r\nHost: x\r\n{}\r\n", good.replace("Sec-WebSocket-Key", "X-Key")), 400),
        ("GET /sub HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ];
    for (request, status) in cases {
        let mut client = TcpClient::connect(gateway.ws());
        client.send_bytes(request.as_bytes());
        let head = read_head(&mut client);
        assert_eq!(head.split(' ').nth(1), Some(status.to_string().as_str()), "{request}\n{head}");
        if status != 101 {
            let body = String::from_utf8(read_to_end(&mut client, PATIENCE)).expect("text");
            assert!(!body.trim().is_empty(), "the answer says what was wrong: {request}");
            assert!(head.to_ascii_lowercase().contains("connection: close"));
        }
    }
}

/// Proves defect C12 is not there: a pong leaves at once, with nothing else to send, and carries the ping's payload
/// (W4, W5).
#[test]
fn c12_a_pong_leaves_at_once() {
    let gateway = Gateway::start();
    let mut client = login(&gateway);
    client.send_bytes(&hex(golden::W4));
    assert_eq!(client.exact(4), hex(golden::W5));
    client.send_bytes(&masked(0x89, &[b'x'; 125]));
    assert_eq!(client.exact(127)[..3], [0x8a, 125, b'x']);
    // Also before the login, and between the fragments of a message.
    let (_, mut early) = raw_upgrade(gateway.ws());
    early.send_bytes(&hex(golden::W4));
    assert_eq!(early.exact(4), hex(golden::W5));
    let frame = Frame::new(op::SEND_MESSAGE, 3, "split").encode();
    client.send_bytes(&[masked(0x02, &frame[..7]), hex(golden::W4), masked(0x80, &frame[7..])].concat());
    assert_eq!(client.exact(4), hex(golden::W5));
    assert_eq!(client.exact(18), [&[0x82, 16][..], &Frame::new(op::SEND_MESSAGE, 3, "").encode()].concat());
}

/// Proves defect C13 is not there: closing is a handshake with codes, control frames are held to their rules, and any
/// number of them passes.
#[test]
fn c13_control_frames_follow_rfc_6455() {
    let gateway = Gateway::start();
    // The close handshake echoes the code.
    for (payload, code) in [(&[][..], None), (&[0x03, 0xe8][..], Some(1000)), (&[0x0f, 0xa0, b'x'][..], Some(4000))] {
        let mut client = login(&gateway);
        client.send_bytes(&masked(0x88, payload));
        let answer = read_to_end(&mut client, PATIENCE);
        assert_eq!(answer[0], 0x88, "a close frame answers");
        if let Some(code) = code {
            assert_eq!(u16::from_be_bytes([answer[2], answer[3]]), code);
        }
    }
    // Violations: close with 1002.
    let violations = [
        ("a ping of 126 bytes", masked(0x89, &[0; 126])),
        ("a fragmented ping", masked(0x09, b"x")),
        ("a reserved bit", masked(0xc2, b"x")),
        ("opcode 3", masked(0x83, b"x")),
        ("opcode 11", masked(0x8b, b"x")),
        ("a close payload of one byte", masked(0x88, b"x")),
        ("close code 1005", masked(0x88, &[0x03, 0xed])),
        ("a new message inside a fragmented one", [masked(0x02, b"x"), masked(0x82, b"y")].concat()),
    ];
    for (what, bytes) in violations {
        let mut client = login(&gateway);
        client.send_bytes(&bytes);
        let answer = read_to_end(&mut client, PATIENCE);
        assert_eq!((answer[0], &answer[2..4]), (0x88, &[0x03, 0xea][..]), "{what}");
    }
    // The 102nd control frame is as good as the first.
    let mut client = login(&gateway);
    for _ in 0..500 {
        client.send_bytes(&masked(0x8a, b""));
        client.send_bytes(&hex(golden::W4));
        assert_eq!(client.exact(4), hex(golden::W5));
    }
}

/// What goim's clients may do and RFC 6455 forbids: text frames that are not UTF-8, and frames without mask.
#[test]
fn the_goim_profile_accepts_what_goims_clients_send() {
    let gateway = Gateway::start();
    let mut client = login(&gateway);
    let frame = Frame::new(op::SEND_MESSAGE, 0x00ff_ff80, [0xff, 0xfe]).encode();
    client.send_bytes(&masked(0x81, &frame));
    assert_eq!(client.exact(18), [&[0x82, 16][..], &Frame::new(op::SEND_MESSAGE, 0x00ff_ff80, "").encode()].concat());
    let unmasked = [&[0x82, u8::try_from(frame.len()).expect("short")][..], &frame].concat();
    client.send_bytes(&unmasked);
    assert_eq!(client.exact(18), [&[0x82, 16][..], &Frame::new(op::SEND_MESSAGE, 0x00ff_ff80, "").encode()].concat());
}

/// The strict profile refuses both, each with its code.
#[test]
fn the_strict_profile_refuses_them() {
    let gateway = Gateway::with("websocket_profile = \"strict\"");
    let frame = Frame::new(op::SEND_MESSAGE, 1, [0xff, 0xfe]).encode();
    let unmasked = [&[0x82, u8::try_from(frame.len()).expect("short")][..], &frame].concat();
    for (bytes, code) in [(masked(0x81, &frame), 1007_u16), (unmasked, 1002)] {
        let mut client = login(&gateway);
        client.send_bytes(&bytes);
        assert_eq!(read_to_end(&mut client, PATIENCE)[2..4], code.to_be_bytes());
    }
}

/// Messages in many fragments, cut at every byte, are whole messages.
#[test]
fn fragments_are_joined() {
    let gateway = Gateway::with("[limits]\nframes_per_second = 0");
    let mut client = login(&gateway);
    let frame = Frame::new(op::SEND_MESSAGE, 5, "fragments").encode();
    for cut in 1..frame.len() {
        client.send_bytes(&[masked(0x02, &frame[..cut]), masked(0x00, b""), masked(0x80, &frame[cut..])].concat());
        assert_eq!(client.exact(18), [&[0x82, 16][..], &Frame::new(op::SEND_MESSAGE, 5, "").encode()].concat());
    }
}

/// Messages over the bound end with 1009 before their bytes come.
#[test]
fn an_oversized_message_is_refused_early() {
    let gateway = Gateway::start();
    let mut client = login(&gateway);
    client.send_bytes(&[&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat());
    let answer = read_to_end(&mut client, PATIENCE);
    assert_eq!(answer[2..4], 1009_u16.to_be_bytes());
    gateway.wait_closes("message_too_big", 1);
}

/// Every WebSocket close that tells a code tells one of its own: what a client must do next differs.
#[test]
fn a_closed_connection_names_its_reason() {
    let gateway = Gateway::start();
    let mut codes = BTreeSet::new();
    let mut replaced = Transport::WebSocket.login(&gateway, 0, "k", "", &[]);
    let _new = Transport::WebSocket.login(&gateway, 0, "k", "", &[]);
    codes.insert(match replaced.wait_end() {
        End::Frame(code) => code,
        End::Socket => 0,
    });
    let mut refused = Transport::WebSocket.connect(&gateway);
    refused.send(&Frame::new(op::AUTH, 1, "nonsense"));
    codes.insert(match refused.wait_end() {
        End::Frame(code) => code,
        End::Socket => 0,
    });
    assert_eq!(codes, BTreeSet::from([1008, 4001]));
}
