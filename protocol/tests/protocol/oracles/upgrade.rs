//! Upgrade requests from any bytes.

use std::ops::Range;

use halley_protocol::websocket::handshake::{RESPONSE_BYTES, Refusal, Rules, Upgrade};

use super::Cuts;

/// What an [`Upgrade`] says, comparable.
#[derive(Debug, PartialEq)]
enum Outcome {
    Incomplete,
    Accepted { consumed: usize, response: [u8; RESPONSE_BYTES], cookie: Option<Range<usize>> },
    Refused(Refusal),
}

fn upgrade_of(input: &[u8], rules: &Rules<'_>) -> Outcome {
    match halley_protocol::websocket::handshake::upgrade(input, rules) {
        Upgrade::Incomplete => Outcome::Incomplete,
        Upgrade::Accepted { consumed, response, cookie } => Outcome::Accepted { consumed, response, cookie },
        Upgrade::Refused(refusal) => Outcome::Refused(refusal),
    }
}

/// One byte of cuts, one of rules, then the stream: the answer is the same however the stream is cut, and once given it
/// does not change with what follows.
pub fn upgrade(data: &[u8]) {
    let Some((&[seed, rule], stream)) = data.split_first_chunk() else { return };
    let origins = ["https://app.example".to_owned()];
    let rules = Rules {
        path: "/sub",
        origins: if rule & 1 == 0 { &[] } else { &origins },
        request_bytes_max: 16 * usize::from(rule),
        strict: rule & 2 != 0,
    };
    let whole = upgrade_of(stream, &rules);
    let mut end = 0;
    let mut first_answer = upgrade_of(&[], &rules);
    for piece in Cuts::new(seed).pieces(stream) {
        if first_answer != Outcome::Incomplete {
            break;
        }
        end += piece.len();
        first_answer = upgrade_of(&stream[..end], &rules);
    }
    assert_eq!(first_answer, whole);

    match whole {
        Outcome::Incomplete => assert!(stream.len() < rules.request_bytes_max),
        Outcome::Refused(_) => {}
        Outcome::Accepted { consumed, cookie, .. } => {
            assert!(consumed <= rules.request_bytes_max);
            assert_eq!(upgrade_of(&stream[..consumed - 1], &rules), Outcome::Incomplete);
            assert!(cookie.is_none_or(|cookie| cookie.start <= cookie.end && cookie.end < consumed));
        }
    }
}
