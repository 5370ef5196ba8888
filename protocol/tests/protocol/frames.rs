//! WebSocket frames: the golden bytes, RFC 6455's rules as tables, and what is written. The reading itself is checked
//! against a second reading in `oracles::websocket`; the tables here say what both must come to.

use halley_protocol::goim::{FrameError, decode_message};
use halley_protocol::websocket::frame::{Decoder, Item, Opcode, WebSocketError, close_frame, write_header};
use halley_protocol::websocket::{CloseCode, Profile};

use crate::oracles::websocket::{End, Event, Outcome, read};
use crate::vectors::{from_hex, vector};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const MESSAGE_BYTES_MAX: u32 = 1000;

/// A frame of a client: first byte as given, shortest length, masked if there is a key.
pub fn client_frame(first: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 10];
    let header_bytes = write_header(Opcode::Binary, payload.len(), &mut header);
    let mut frame = header[..header_bytes].to_vec();
    frame[0] = first;
    let Some(key) = key else {
        frame.extend_from_slice(payload);
        return frame;
    };
    frame[1] |= 0x80;
    frame.extend_from_slice(&key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    client_frame(first, Some(KEY), payload)
}

fn text(bytes: &[u8]) -> Event {
    Event::Message { text: true, bytes: bytes.to_vec() }
}

fn binary(bytes: &[u8]) -> Event {
    Event::Message { text: false, bytes: bytes.to_vec() }
}

fn close(status: u16, reason: &[u8]) -> Vec<u8> {
    masked(0x88, &[&status.to_be_bytes(), reason].concat())
}

/// Read at once and a byte at a time, which must agree.
fn read_both_ways(stream: &[u8], profile: Profile) -> Outcome {
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    let whole = read(&[stream], profile, MESSAGE_BYTES_MAX);
    assert_eq!(read(&bytes, profile, MESSAGE_BYTES_MAX), whole, "{stream:02x?}");
    whole
}

fn assert_open(what: &str, stream: &[u8], profile: Profile, events: Vec<Event>) {
    let outcome = read_both_ways(stream, profile);
    assert_eq!(outcome, Outcome { events, end: End::Open { partial: None, left_over: 0 } }, "{what}, {profile:?}");
}

fn assert_failed(what: &str, stream: &[u8], profile: Profile, code: CloseCode) {
    assert_eq!(read_both_ways(stream, profile).end, End::Failed(code), "{what}, {profile:?}");
}

#[test]
fn golden_client_frames() {
    for profile in [Profile::Goim, Profile::Strict] {
        assert_open("W1", &vector("W1"), profile, vec![binary(&vector("F3"))]);
        assert_open("W4", &vector("W4"), profile, vec![Event::Ping(b"hi".to_vec())]);
    }
}

#[test]
fn golden_pong() {
    let mut header = [0; 10];
    let header_bytes = write_header(Opcode::Pong, 2, &mut header);
    assert_eq!([&header[..header_bytes], b"hi"].concat(), vector("W5"));
}

#[test]
fn sequences_that_are_fine() {
    let long = vec![b'x'; 300];
    let split = [masked(0x01, "a\u{20ac}".as_bytes().split_at(2).0), masked(0x80, "\u{20ac}".as_bytes().split_at(1).1)];
    for (what, frames, events) in [
        ("an empty message", vec![masked(0x82, b"")], vec![binary(b"")]),
        ("a text", vec![masked(0x81, "\u{e4}".as_bytes())], vec![text("\u{e4}".as_bytes())]),
        ("a 16-bit length", vec![masked(0x82, &long)], vec![binary(&long)]),
        ("a text cut within a character", split.to_vec(), vec![text("a\u{20ac}".as_bytes())]),
        (
            "fragments with control frames between them",
            vec![masked(0x02, b"a"), masked(0x89, b"p"), masked(0x00, b""), masked(0x8a, b"q"), masked(0x80, b"b")],
            vec![Event::Ping(b"p".to_vec()), Event::Pong, binary(b"ab")],
        ),
        ("fragments, all empty", vec![masked(0x01, b""), masked(0x00, b""), masked(0x80, b"")], vec![text(b"")]),
        ("two messages", vec![masked(0x81, b"a"), masked(0x82, b"b")], vec![text(b"a"), binary(b"b")]),
        ("a ping as long as may be", vec![masked(0x89, &[1; 125])], vec![Event::Ping(vec![1; 125])]),
    ] {
        for profile in [Profile::Goim, Profile::Strict] {
            assert_open(what, &frames.concat(), profile, events.clone());
        }
    }
}

#[test]
fn violations_in_both_profiles() {
    let mut endless = masked(0x82, &[0; 126]);
    endless[1] = 0xff;
    endless.splice(2..4, [0x80, 0, 0, 0, 0, 0, 0, 1]);
    for (what, stream) in [
        ("RSV1", masked(0xc2, b"")),
        ("RSV2", masked(0xa2, b"")),
        ("RSV3", masked(0x92, b"")),
        ("opcode 3", masked(0x83, b"")),
        ("opcode 7", masked(0x87, b"")),
        ("opcode 11", masked(0x8b, b"")),
        ("opcode 15", masked(0x8f, b"")),
        ("a fragmented ping", masked(0x09, b"")),
        ("a fragmented close", masked(0x08, b"")),
        ("a long ping", masked(0x89, &[0; 126])),
        ("a long pong", masked(0x8a, &[0; 65_536])),
        ("a lone continuation", masked(0x80, b"x")),
        ("a lone first continuation", masked(0x00, b"x")),
        ("a continuation after the end", [masked(0x82, b"x"), masked(0x80, b"x")].concat()),
        ("a message within a message", [masked(0x02, b"x"), masked(0x82, b"x")].concat()),
        ("a text within a message", [masked(0x01, b"x"), masked(0x01, b"x")].concat()),
        ("a 64th bit of length", endless),
        ("half a close status", masked(0x88, &[3])),
    ] {
        for profile in [Profile::Goim, Profile::Strict] {
            assert_failed(what, &stream, profile, CloseCode::PROTOCOL_ERROR);
        }
    }
}

/// What goim's clients may send and the RFC forbids.
#[test]
fn violations_in_the_strict_profile_only() {
    let not_utf8 = &[0x80];
    let mut longer = masked(0x82, &[b'x'; 126]);
    longer.splice(1..4, [0xff, 0, 0, 0, 0, 0, 0, 0, 126]);
    let long_for_one = [&[0x82, 0x7e, 0, 1][..], b"x"].concat();
    for (what, stream, events, code) in [
        ("no mask", client_frame(0x82, None, b"x"), vec![binary(b"x")], CloseCode::PROTOCOL_ERROR),
        (
            "a ping without mask",
            client_frame(0x89, None, b"x"),
            vec![Event::Ping(b"x".to_vec())],
            CloseCode::PROTOCOL_ERROR,
        ),
        ("16 bits for 1", long_for_one, vec![binary(b"x")], CloseCode::PROTOCOL_ERROR),
        ("64 bits for 126", longer, vec![binary(&[b'x'; 126])], CloseCode::PROTOCOL_ERROR),
        ("text that is none", masked(0x81, not_utf8), vec![text(not_utf8)], CloseCode::INVALID_PAYLOAD),
        (
            "text that ends within a character",
            masked(0x81, &[0xe2, 0x82]),
            vec![text(&[0xe2, 0x82])],
            CloseCode::INVALID_PAYLOAD,
        ),
    ] {
        assert_open(what, &stream, Profile::Goim, events);
        assert_failed(what, &stream, Profile::Strict, code);
    }
}

/// A wrong byte ends the connection when it comes, not when its message would have been whole.
#[test]
fn wrong_text_is_refused_at_its_first_wrong_byte() {
    let stream = masked(0x01, b"ok\xed\xa0 and a lot more that never comes");
    let arrived = &stream[..2 + 4 + 4];
    assert_failed("a surrogate", arrived, Profile::Strict, CloseCode::INVALID_PAYLOAD);
    let before = read_both_ways(&arrived[..arrived.len() - 1], Profile::Strict);
    assert_eq!(before.end, End::Open { partial: Some((true, b"ok\xed".to_vec())), left_over: 0 });
}

#[test]
fn close_frames() {
    let given = |status| Ok(Some(CloseCode::new(status)));
    for profile in [Profile::Goim, Profile::Strict] {
        for (stream, expected) in [
            (masked(0x88, b""), Ok(None)),
            (close(1000, b""), given(1000)),
            (close(1001, "bye \u{20ac}".as_bytes()), given(1001)),
            (close(1003, b""), given(1003)),
            (close(1007, b""), given(1007)),
            (close(1014, b""), given(1014)),
            (close(3000, &[b'x'; 123]), given(3000)),
            (close(4999, b""), given(4999)),
            (close(0, b""), Err(CloseCode::PROTOCOL_ERROR)),
            (close(999, b""), Err(CloseCode::PROTOCOL_ERROR)),
            (close(1004, b""), Err(CloseCode::PROTOCOL_ERROR)),
            (close(1005, b""), Err(CloseCode::PROTOCOL_ERROR)),
            (close(1006, b""), Err(CloseCode::PROTOCOL_ERROR)),
            (close(1015, b""), Err(CloseCode::PROTOCOL_ERROR)),
            (close(1016, b""), Err(CloseCode::PROTOCOL_ERROR)),
            (close(2999, b""), Err(CloseCode::PROTOCOL_ERROR)),
            (close(5000, b""), Err(CloseCode::PROTOCOL_ERROR)),
            (close(65_535, b""), Err(CloseCode::PROTOCOL_ERROR)),
            (close(1000, b"\xff"), Err(CloseCode::INVALID_PAYLOAD)),
            (close(1000, b"\xe2\x82"), Err(CloseCode::INVALID_PAYLOAD)),
        ] {
            let outcome = read_both_ways(&[stream.clone(), masked(0x82, b"not read")].concat(), profile);
            let (events, end) = match expected {
                Ok(code) => (vec![Event::Close(code)], End::Closed),
                Err(code) => (vec![], End::Failed(code)),
            };
            assert_eq!(outcome, Outcome { events, end }, "{stream:02x?}");
        }
    }
}

/// The limit is on the message, counts every fragment, and is looked at before the bytes come.
#[test]
fn messages_have_a_limit() {
    let max = usize::try_from(MESSAGE_BYTES_MAX).expect("small");
    let fits = vec![b'x'; max];
    assert_open("as long as may be", &masked(0x82, &fits), Profile::Goim, vec![binary(&fits)]);
    let in_two = [masked(0x02, &fits[1..]), masked(0x80, b"x")].concat();
    assert_open("as long as may be, in two", &in_two, Profile::Goim, vec![binary(&fits)]);

    let too_long = masked(0x82, &[b'x'; 1001]);
    let in_two = [masked(0x02, &fits), masked(0x80, b"x")].concat();
    for (what, stream) in [
        ("one more", &too_long[..8]),
        ("one more, in two", &in_two[..in_two.len() - 1]),
        ("4 GiB", &from_hex("82ff000000010000000037fa213d")[..]),
        ("the longest there is", &from_hex("82ff7fffffffffffffff37fa213d")[..]),
    ] {
        assert_failed(what, stream, Profile::Goim, CloseCode::TOO_BIG);
    }

    let mut decoder = Decoder::new(Profile::Goim);
    let mut first = masked(0x02, &[0; 8]);
    assert!(decoder.next(&mut first, 8).is_ok());
    assert_eq!(decoder.next(&mut masked(0x80, b"x"), 8), Err(WebSocketError::TooBig));
}

/// The 102nd control frame without a message between ended goim's connection (C13); here any number is answered.
#[test]
fn c13_any_number_of_control_frames() {
    let pings = masked(0x89, b"x").repeat(1000);
    assert_open("1000 pings", &pings, Profile::Goim, vec![Event::Ping(b"x".to_vec()); 1000]);
}

/// C2: goim indexed past the end of a fragmented message whose packLen exceeds it, and the whole process ended. Joined
/// from any fragments, such a message is refused like any other.
#[test]
fn c02_a_length_beyond_a_fragmented_message_is_refused() {
    let message = [&1000_i32.to_be_bytes()[..], &vector("F5")[4..]].concat();
    for cut in 0..=message.len() {
        let stream = [masked(0x02, &message[..cut]), masked(0x80, &message[cut..])].concat();
        let outcome = read_both_ways(&stream, Profile::Goim);
        let [Event::Message { bytes, .. }] = &outcome.events[..] else { panic!("{outcome:?}") };
        assert_eq!(decode_message(bytes).err(), Some(FrameError::Truncated));
    }
}

/// The most that is ever left with the caller: the longest control frame less its last byte.
#[test]
fn little_is_left_over() {
    let ping = masked(0x89, &[7; 125]);
    let outcome = read(&[&ping[..ping.len() - 1]], Profile::Strict, MESSAGE_BYTES_MAX);
    assert_eq!(outcome.end, End::Open { partial: None, left_over: 130 });
}

/// A message that arrives whole is handed over as one piece, where it lies.
#[test]
fn a_whole_message_is_one_item() {
    let mut stream = [masked(0x82, b"whole"), masked(0x82, b"next")].concat();
    let mut decoder = Decoder::new(Profile::Strict);
    let next = decoder.next(&mut stream, MESSAGE_BYTES_MAX);
    assert_eq!(next, Ok((11, Item::Data { bytes: 6..11, first: true, end: true, text: false })));
    assert_eq!(&stream[6..11], b"whole");
}

#[test]
fn written_close_frames() {
    let long = "\u{20ac}".repeat(50);
    for (code, reason, expected) in [
        (CloseCode::NORMAL, "", from_hex("880203e8")),
        (CloseCode::new(4001), "bye", from_hex("88050fa1627965")),
        (CloseCode::RESTART, &long, [&[0x88, 125, 0x03, 0xf4], &long.as_bytes()[..123]].concat()),
        (CloseCode::RESTART, &format!("x{long}"), [&[0x88, 123, 0x03, 0xf4, b'x'], &long.as_bytes()[..120]].concat()),
    ] {
        let mut out = b"before".to_vec();
        close_frame(code, reason, &mut out);
        assert_eq!(out[6..], expected[..], "{reason}");
    }
}
