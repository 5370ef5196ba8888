//! The pure core of a connection: versions, order, bounds, deadlines, throttling, and what it says of requests without
//! answers. No socket, no clock.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use halley_dispatcher::bus::kafka::connection::core::{Connection, IN_FLIGHT_MAX, Profile, QUEUE_MAX};
use halley_dispatcher::bus::kafka::error::{ErrorKind, RequestError};
use halley_dispatcher::bus::kafka::wire::answer::Response;
use halley_dispatcher::bus::kafka::wire::api::{Api, Range};
use halley_dispatcher::bus::kafka::wire::request::Request;
use kafka_protocol::messages::{ApiVersionsResponse, MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::words::{Asked, asked, frame, versions, versions_of};

/// A moment in milliseconds.
pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a connection is made with when nobody logs in.
pub fn profile() -> Profile {
    Profile {
        broker: "broker 1 (kafka:9092)".into(),
        client_id: StrBytes::from_static_str("halley"),
        sasl: None,
        answer_bytes_max: 1024 * 1024,
        open_timeout: ms(10_000),
    }
}

fn open() -> Connection<u32> {
    Connection::open(profile(), StdRng::seed_from_u64(1), ms(0))
}

/// Hand bytes in as they come.
pub fn feed(connection: &mut Connection<u32>, now: Duration, bytes: &[u8]) {
    connection.received(now, &mut BytesMut::from(bytes));
}

/// What it writes now.
pub fn written(connection: &mut Connection<u32>, now: Duration) -> Vec<Asked> {
    connection.output(now).map(asked).unwrap_or_default()
}

fn ready() -> Connection<u32> {
    let mut connection = open();
    let hello = written(&mut connection, ms(0));
    feed(&mut connection, ms(0), &hello[0].answer(&versions()));
    assert!(connection.is_ready());
    connection
}

fn ask(connection: &mut Connection<u32>, token: u32, deadline: Duration) {
    connection.ask(token, Request::Metadata(MetadataRequest::default()), deadline);
}

fn answer(asked: &Asked, throttle_ms: i32) -> Bytes {
    asked.answer(&MetadataResponse::default().with_throttle_time_ms(throttle_ms))
}

fn done(connection: &mut Connection<u32>) -> Vec<(u32, Result<Api, RequestError>)> {
    let api = |response: Response| match response {
        Response::Metadata(_) => Api::Metadata,
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(|| connection.next_done()).map(|(token, result)| (token, result.map(api))).collect()
}

/// Nothing is asked before the versions are known; then everything in its order, in the greatest common version.
#[test]
fn requests_wait_for_versions() {
    let mut connection = open();
    ask(&mut connection, 1, ms(5_000));
    let hello = written(&mut connection, ms(0));
    assert_eq!(hello.iter().map(|asked| (asked.api, asked.version)).collect::<Vec<_>>(), [(Api::ApiVersions, 3)]);
    assert!(!connection.is_ready());
    let old = versions_of(|api| Some(Range { min: 0, max: api.ours().min }));
    feed(&mut connection, ms(1), &hello[0].answer(&old));
    ask(&mut connection, 2, ms(5_000));
    let sent = written(&mut connection, ms(1));
    assert_eq!(sent.iter().map(|asked| (asked.api, asked.version)).collect::<Vec<_>>(), [(Api::Metadata, 12); 2]);
    let both = [answer(&sent[0], 0), answer(&sent[1], 0)].concat();
    feed(&mut connection, ms(2), &both);
    assert_eq!(done(&mut connection), [(1, Ok(Api::Metadata)), (2, Ok(Api::Metadata))]);
}

/// Answers that are cut at every byte come when their last byte is there, not before.
#[test]
fn answers_may_be_cut_at_every_byte() {
    let whole = answer(&sent_by(&mut ready(), 1)[0], 0);
    for cut in 0..whole.len() {
        let mut connection = ready();
        let sent = sent_by(&mut connection, 1);
        let bytes = answer(&sent[0], 0);
        let mut received = BytesMut::from(&bytes[..cut]);
        connection.received(ms(1), &mut received);
        assert_eq!(done(&mut connection), [], "cut at {cut}");
        received.extend_from_slice(&bytes[cut..]);
        connection.received(ms(1), &mut received);
        assert_eq!(done(&mut connection), [(1, Ok(Api::Metadata))], "cut at {cut}");
    }
}

/// Ask this many with a deadline of 5 s, and hand them out.
fn sent_by(connection: &mut Connection<u32>, count: u32) -> Vec<Asked> {
    (1..=count).for_each(|token| ask(connection, token, ms(5_000)));
    written(connection, ms(0))
}

/// When the connection breaks, what was handed out is in doubt, and what was not is not (rule P1).
#[test]
fn what_was_handed_out_is_in_doubt() {
    let mut connection = ready();
    let sent = sent_by(&mut connection, 2);
    ask(&mut connection, 3, ms(5_000));
    feed(&mut connection, ms(1), &answer(&sent[0], 0));
    connection.lost("closed the connection");
    let done = done(&mut connection);
    let written = |at: usize| done[at].1.as_ref().map_err(|error| (error.written, error.kind)).copied();
    assert_eq!(done[0], (1, Ok(Api::Metadata)));
    assert_eq!(written(1), Err((true, ErrorKind::Broken)));
    assert_eq!(written(2), Err((false, ErrorKind::Broken)));
    assert_eq!(done[1].1.as_ref().expect_err("broken").to_string(), "broker 1 (kafka:9092) closed the connection");
    // Whoever asks now is told at once.
    ask(&mut connection, 4, ms(5_000));
    let (token, result) = connection.next_done().expect("told");
    assert_eq!((token, result.expect_err("closed").written), (4, false));
}

/// A request that is late ends the connection, since its answer could still come; one that was not sent does not.
#[test]
fn a_late_answer_ends_the_connection() {
    let mut connection = ready();
    let sent = sent_by(&mut connection, 1);
    ask(&mut connection, 2, ms(3_000));
    assert_eq!(connection.wake_at(ms(0)), Some(ms(3_000)));
    connection.tick(ms(3_000));
    let unsent = done(&mut connection);
    assert_eq!(unsent.len(), 1);
    assert_eq!(unsent[0].1.as_ref().map_err(|error| (error.written, error.kind)), Err((false, ErrorKind::TimedOut)));
    assert!(connection.closed().is_none());
    assert_eq!(connection.wake_at(ms(3_000)), Some(ms(5_000)));
    connection.tick(ms(5_000));
    let late = done(&mut connection);
    assert_eq!(late[0].1.as_ref().map_err(|error| (error.written, error.kind)), Err((true, ErrorKind::TimedOut)));
    let why = connection.closed().expect("closed").to_string();
    assert_eq!(why, "broker 1 (kafka:9092) did not answer to Metadata in time");
    feed(&mut connection, ms(5_001), &answer(&sent[0], 0));
    assert_eq!(done(&mut connection), [], "the late answer is nobody's");
}

/// A request whose deadline has passed is never sent.
#[test]
fn nothing_is_sent_after_its_deadline() {
    let mut connection = ready();
    ask(&mut connection, 1, ms(10));
    assert!(written(&mut connection, ms(10)).is_empty());
    assert_eq!(done(&mut connection)[0].1.as_ref().map_err(|error| error.written), Err(false));
}

/// Doubled, swapped and unasked answers end the connection.
#[test]
fn answers_out_of_order_end_the_connection() {
    for (order, answered) in [("doubled", 1), ("swapped", 0), ("unasked", 0)] {
        let mut connection = ready();
        let sent = sent_by(&mut connection, 2);
        let bytes = match order {
            "doubled" => [answer(&sent[0], 0), answer(&sent[0], 0)].concat(),
            "swapped" => [answer(&sent[1], 0), answer(&sent[0], 0)].concat(),
            _ => frame(4711, 12, &MetadataResponse::default()).to_vec(),
        };
        feed(&mut connection, ms(1), &bytes);
        let why = connection.closed().expect("closed");
        assert_eq!(
            (why.kind, &*why.text),
            (ErrorKind::Unsuited, "broker 1 (kafka:9092) answered to something that it was not asked")
        );
        let done = done(&mut connection);
        assert_eq!(done.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 2], "{order}: everybody is told");
        assert_eq!(done.iter().filter(|(_, result)| result.is_ok()).count(), answered, "{order}");
        assert!(done.iter().filter_map(|(_, result)| result.as_ref().err()).all(|error| error.written));
    }
}

/// A throttled connection sends nothing for that long, and is no error; answers still come.
#[test]
fn a_throttled_connection_is_silent() {
    let mut connection = ready();
    let sent = sent_by(&mut connection, 2);
    feed(&mut connection, ms(100), &answer(&sent[0], 400));
    ask(&mut connection, 3, ms(5_000));
    assert!(written(&mut connection, ms(499)).is_empty());
    assert_eq!(connection.wake_at(ms(499)), Some(ms(500)));
    feed(&mut connection, ms(499), &answer(&sent[1], 0));
    assert_eq!(written(&mut connection, ms(500)).len(), 1);
    assert_eq!(done(&mut connection), [(1, Ok(Api::Metadata)), (2, Ok(Api::Metadata))]);
}

/// What waits and what is under way is bounded; more is refused, unsent.
#[test]
fn waiting_is_bounded() {
    let mut connection = ready();
    (0..1000).for_each(|token| ask(&mut connection, token, ms(5_000)));
    let refused = done(&mut connection);
    assert_eq!(refused.len(), 1000 - QUEUE_MAX);
    assert!(
        refused
            .iter()
            .all(|(_, result)| { result.as_ref().is_err_and(|error| !error.written && error.kind == ErrorKind::Busy) })
    );
    let sent = written(&mut connection, ms(0));
    assert_eq!(sent.len(), IN_FLIGHT_MAX);
    assert!(written(&mut connection, ms(0)).is_empty());
    feed(&mut connection, ms(1), &answer(&sent[0], 0));
    assert_eq!(written(&mut connection, ms(1)).len(), 1, "one for one");
}

/// A broker that is too old gets one sentence, whether it knows the question or not.
#[test]
fn old_brokers_get_one_sentence() {
    let old = |answer: &ApiVersionsResponse, version: i16| {
        let mut connection = open();
        let hello = written(&mut connection, ms(0));
        ask(&mut connection, 1, ms(5_000));
        feed(&mut connection, ms(1), &frame(hello[0].correlation, version, answer));
        let done = done(&mut connection);
        assert_eq!(done[0].1.as_ref().map_err(|error| (error.written, error.kind)), Err((false, ErrorKind::Unsuited)));
        connection.closed().expect("closed").to_string()
    };
    let fetch_12 = |api: Api| Some(Range { min: 0, max: if api == Api::Fetch { 12 } else { 99 } });
    assert_eq!(
        old(&versions_of(fetch_12), 3),
        "broker 1 (kafka:9092) speaks versions 0 to 12 of it, and Fetch is needed in a version from 13 to 17: brokers \
         of Kafka 3.1 and newer have it"
    );
    assert_eq!(
        old(&versions_of(|api| (api != Api::Metadata).then(|| api.ours())), 3),
        "broker 1 (kafka:9092) speaks none of it, and Metadata is needed in a version from 12 to 13: brokers of Kafka \
         3.1 and newer have it"
    );
    let unknown = ApiVersionsResponse::default().with_error_code(35);
    assert_eq!(old(&unknown, 0), "broker 1 (kafka:9092) is older than Kafka 3.1: upgrade the brokers");
}

/// A request that the broker does not know is refused for itself; the connection stays.
#[test]
fn a_request_that_the_broker_lacks_is_refused_alone() {
    let mut connection = open();
    let hello = written(&mut connection, ms(0));
    let lacking = versions_of(|api| (api != Api::DescribeConfigs).then(|| api.ours()));
    feed(&mut connection, ms(0), &hello[0].answer(&lacking));
    connection.ask(1, Request::DescribeConfigs(Default::default()), ms(5_000));
    assert!(written(&mut connection, ms(0)).is_empty());
    assert_eq!(done(&mut connection)[0].1.as_ref().map_err(|error| error.written), Err(false));
    assert!(connection.closed().is_none());
}

/// Who speaks something else, or TLS, is not waited for: the sentence names TLS.
#[test]
fn who_speaks_something_else_is_told() {
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"\x15\x03\x03\x00\x02\x02\x46"] {
        let mut connection = open();
        feed(&mut connection, ms(0), bytes);
        let why = connection.closed().expect("closed");
        assert!(why.kind == ErrorKind::Unsuited && why.text.contains("is TLS on at both ends?"), "{why}");
    }
    for mut connection in [open(), ready()] {
        connection.lost("closed the connection");
        let why = connection.closed().expect("closed").to_string();
        assert_eq!(why, "broker 1 (kafka:9092) closed the connection: does this listener expect TLS or a log-in?");
    }
}

/// A connection that nobody uses ends before the broker ends it, and not while somebody waits.
#[test]
fn an_unused_connection_ends() {
    let mut connection = ready();
    let end = connection.wake_at(ms(0)).expect("a moment");
    assert_eq!(end, Duration::from_secs(540));
    connection.tick(end - ms(1));
    assert!(connection.closed().is_none());
    ask(&mut connection, 1, end + ms(1_000));
    connection.tick(end);
    assert!(connection.closed().is_none());
    let mut connection = ready();
    connection.tick(end);
    assert!(connection.closed().is_some());
}
