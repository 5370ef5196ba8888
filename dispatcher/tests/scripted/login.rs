//! Logging in on a connection: PLAIN, SCRAM against a server of this file's own, again when it is time, and every way
//! to be refused. No socket, no clock.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use halley_dispatcher::bus::kafka::connection::core::{Connection, Profile};
use halley_dispatcher::bus::kafka::error::ErrorKind;
use halley_dispatcher::bus::kafka::settings::{Mechanism, Sasl};
use halley_dispatcher::bus::kafka::wire::api::Api;
use halley_dispatcher::bus::kafka::wire::request::Request;
use halley_service::config::value::text::Secret;
use kafka_protocol::messages::{
    MetadataRequest, MetadataResponse, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::connection::{feed, ms, profile, written};
use crate::words::{Asked, versions};

const USER: &str = "halley";
const PASSWORD: &str = "hunter2";

/// A connection that wants to log in, and the first request of the log-in.
fn named(mechanism: Mechanism) -> (Connection<u32>, Asked) {
    let sasl = Sasl { mechanism, user: USER.to_owned(), password: Secret(PASSWORD.to_owned()) };
    let profile = Profile { sasl: Some(sasl), ..profile() };
    let mut connection = Connection::open(profile, StdRng::seed_from_u64(1), ms(0));
    let hello = written(&mut connection, ms(0));
    feed(&mut connection, ms(0), &hello[0].answer(&versions()));
    let handshake = written(&mut connection, ms(0)).remove(0);
    assert_eq!(handshake.decode::<SaslHandshakeRequest>().mechanism.as_str(), mechanism.name());
    (connection, handshake)
}

/// The next message of the log-in.
fn message(connection: &mut Connection<u32>, now_ms: u64) -> (Asked, String) {
    let mut sent = written(connection, ms(now_ms));
    assert_eq!(sent.len(), 1, "one at a time");
    let asked = sent.remove(0);
    let bytes = asked.decode::<SaslAuthenticateRequest>().auth_bytes;
    (asked, String::from_utf8(bytes.to_vec()).expect("text"))
}

fn reply(text: &str, lifetime_ms: i64) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default()
        .with_auth_bytes(Bytes::from(text.to_owned()))
        .with_session_lifetime_ms(lifetime_ms)
}

fn why(connection: &Connection<u32>) -> &str {
    let closed = connection.closed().expect("closed");
    assert_eq!(closed.kind, ErrorKind::Denied);
    &closed.text
}

/// PLAIN shows name and password, and nothing else is sent before the answer.
#[test]
fn plain_shows_name_and_password() {
    let (mut connection, handshake) = named(Mechanism::Plain);
    connection.ask(1, Request::Metadata(MetadataRequest::default()), ms(5_000));
    feed(&mut connection, ms(0), &handshake.answer(&SaslHandshakeResponse::default()));
    let (asked, text) = message(&mut connection, 0);
    assert_eq!(text, "\0halley\0hunter2");
    feed(&mut connection, ms(0), &asked.answer(&reply("", 0)));
    assert!(connection.is_ready());
    assert_eq!(written(&mut connection, ms(0))[0].api, Api::Metadata);
}

/// What a server of SCRAM answers to a client's two messages. A signature of a wrong password is that of an impostor.
struct Server {
    password: &'static str,
    first: String,
}

impl Server {
    fn first(client_first: &str, password: &'static str) -> (Server, String) {
        let nonce = client_first.split("r=").nth(1).expect("a nonce");
        let first = format!("r={nonce}server,s={},i=4096", BASE64.encode("salt of a server"));
        let bare = client_first.strip_prefix("n,,").expect("no channel binding");
        (Server { password, first: format!("{bare},{first}") }, first)
    }

    /// The server's last message, if the proof is right.
    fn last(&self, client_last: &str) -> Option<String> {
        let (bare, proof) = client_last.split_once(",p=").expect("a proof");
        let mut salted = [0; digest::SHA512_OUTPUT_LEN];
        let iterations = NonZeroU32::new(4096).expect("some");
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA512,
            iterations,
            b"salt of a server",
            self.password.as_bytes(),
            &mut salted,
        );
        let sign =
            |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, key), text).as_ref().to_vec();
        let signed = format!("{},{bare}", self.first);
        let client_key = sign(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA512, &client_key);
        let proof = BASE64.decode(proof).expect("base64");
        let shown: Vec<u8> =
            proof.iter().zip(sign(stored.as_ref(), signed.as_bytes())).map(|(proof, sign)| proof ^ sign).collect();
        let signature = sign(&sign(&salted, b"Server Key"), signed.as_bytes());
        (shown == client_key).then(|| format!("v={}", BASE64.encode(signature)))
    }
}

/// Bring a connection through one log-in by SCRAM, good for this long.
fn scram(connection: &mut Connection<u32>, handshake: &Asked, now_ms: u64, lifetime_ms: i64) -> String {
    feed(connection, ms(now_ms), &handshake.answer(&SaslHandshakeResponse::default()));
    let (asked, first) = message(connection, now_ms);
    let (server, answer) = Server::first(&first, PASSWORD);
    feed(connection, ms(now_ms), &asked.answer(&reply(&answer, 0)));
    let (asked, last) = message(connection, now_ms);
    let answer = server.last(&last).expect("the right proof");
    feed(connection, ms(now_ms), &asked.answer(&reply(&answer, lifetime_ms)));
    assert!(connection.is_ready());
    assert!(!format!("{first}{last}").contains(PASSWORD));
    first
}

/// A log-in for a time is done again before it ends, with a new nonce: after what is under way, before what waits.
#[test]
fn a_login_is_renewed() {
    let (mut connection, handshake) = named(Mechanism::ScramSha512);
    let first = scram(&mut connection, &handshake, 0, 1_000);
    connection.ask(1, Request::Metadata(MetadataRequest::default()), ms(5_000));
    let under_way = written(&mut connection, ms(100));
    assert_eq!(connection.wake_at(ms(100)), Some(ms(850)), "after 85 of 100");
    connection.ask(2, Request::Metadata(MetadataRequest::default()), ms(5_000));
    assert!(written(&mut connection, ms(850)).is_empty(), "nothing is sent over what is under way");
    feed(&mut connection, ms(860), &under_way[0].answer(&MetadataResponse::default()));
    let handshake = written(&mut connection, ms(860));
    assert_eq!(handshake.iter().map(|asked| asked.api).collect::<Vec<_>>(), [Api::SaslHandshake]);
    let again = scram(&mut connection, &handshake[0], 870, 1_000);
    assert_ne!(first, again);
    assert_eq!(written(&mut connection, ms(870))[0].api, Api::Metadata);
    assert_eq!(connection.wake_at(ms(870)), Some(ms(870 + 850)));
}

/// A server that does not know the password is not trusted.
#[test]
fn a_server_proves_itself() {
    let (mut connection, handshake) = named(Mechanism::ScramSha512);
    feed(&mut connection, ms(0), &handshake.answer(&SaslHandshakeResponse::default()));
    let (asked, first) = message(&mut connection, 0);
    let (_, answer) = Server::first(&first, PASSWORD);
    feed(&mut connection, ms(0), &asked.answer(&reply(&answer, 0)));
    let (asked, _) = message(&mut connection, 0);
    feed(&mut connection, ms(0), &asked.answer(&reply(&format!("v={}", BASE64.encode([1; 64])), 0)));
    assert_eq!(why(&connection), "broker 1 (kafka:9092) does not prove that it knows the password: it is not trusted");
}

/// Every refusal is one sentence that says what to do, and never the password.
#[test]
fn refusals_are_sentences() {
    let (mut connection, handshake) = named(Mechanism::ScramSha256);
    let known = vec![StrBytes::from_static_str("PLAIN"), StrBytes::from_static_str("GSSAPI")];
    let refusal = SaslHandshakeResponse::default().with_error_code(33).with_mechanisms(known);
    feed(&mut connection, ms(0), &handshake.answer(&refusal));
    assert_eq!(
        why(&connection),
        "broker 1 (kafka:9092) does not know the log-in mechanism SCRAM-SHA-256: it knows PLAIN, GSSAPI"
    );
    let (mut connection, handshake) = named(Mechanism::Plain);
    feed(&mut connection, ms(0), &handshake.answer(&SaslHandshakeResponse::default()));
    let (asked, _) = message(&mut connection, 0);
    let text = StrBytes::from_static_str("Authentication failed: Invalid username or password");
    let refusal = SaslAuthenticateResponse::default().with_error_code(58).with_error_message(Some(text));
    connection.ask(1, Request::Metadata(MetadataRequest::default()), ms(5_000));
    feed(&mut connection, ms(0), &asked.answer(&refusal));
    assert_eq!(
        why(&connection),
        "broker 1 (kafka:9092) refuses user \"halley\" by PLAIN: Authentication failed: Invalid username or password: \
         check the user and the password"
    );
    let (_, unsent) = connection.next_done().expect("told");
    assert!(unsent.is_err_and(|error| !error.written && error.kind == ErrorKind::Denied));
}

/// A broker that never answers to a log-in is given up in time.
#[test]
fn a_silent_login_ends() {
    let (mut connection, _) = named(Mechanism::Plain);
    connection.tick(ms(9_999));
    assert!(connection.closed().is_none());
    connection.tick(ms(10_000));
    assert_eq!(connection.closed().map(|closed| closed.kind), Some(ErrorKind::TimedOut));
}
