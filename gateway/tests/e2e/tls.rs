//! TCP and WebSocket inside TLS (goim §1.13; C27).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::gateway::Start;
use crate::support::*;

/// A gateway with certificates for `one.example` and `two.example`, and a client configuration that trusts them.
pub fn start() -> (Gateway, Arc<ClientConfig>, tempfile::TempDir) {
    start_with("")
}

/// As [`start`], with these configuration lines first.
fn start_with(first: &str) -> (Gateway, Arc<ClientConfig>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut roots = RootCertStore::empty();
    let mut lists = (Vec::new(), Vec::new());
    for name in ["one.example", "two.example"] {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
        let (certificate, key) = (folder.path().join(format!("{name}.pem")), folder.path().join(format!("{name}.key")));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        roots.add(made.cert.der().clone()).expect("a root");
        lists.0.push(certificate.display().to_string());
        lists.1.push(key.display().to_string());
    }
    let config = format!("{first}\n[tls]\ncertificate_files = {:?}\nkey_files = {:?}", lists.0, lists.1);
    let gateway = Start::new()
        .config(&config)
        .argument("--tls-listen")
        .argument("127.0.0.1:0")
        .argument("--wss-listen")
        .argument("127.0.0.1:0")
        .run();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (gateway, Arc::new(client), folder)
}

fn connect(
    to: std::net::SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let stream = TcpStream::connect(to).expect("the TLS listener accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    StreamOwned::new(connection, stream)
}

/// A goim client logs in and is pushed to inside TLS, under each of the host names; large pushes arrive whole.
#[test]
fn goim_frames_travel_inside_tls() {
    let (gateway, config, _folder) = start();
    for name in ["one.example", "two.example"] {
        let mut stream = connect(gateway.addresses.tls[0], name, &config);
        stream.write_all(&Frame::new(op::AUTH, 1, token(0, name, "", &[1000])).encode()).expect("sent");
        let mut reply = [0; 16];
        stream.read_exact(&mut reply).expect("the auth reply");
        assert_eq!(reply.to_vec(), hex(frame::golden::F2));
        let body = "x".repeat(50_000);
        assert_eq!(gateway.push_key(name, 1000, &body), 1);
        let mut push = vec![0; 16 + body.len()];
        stream.read_exact(&mut push).expect("the push");
        assert_eq!(
            Frame::decode(&push).map(|(frame, _)| frame),
            Some(Frame::new(1000, 0, body)).map(|f| Frame { seq: 0, ..f })
        );
    }
}

/// WebSocket inside TLS.
#[test]
fn websocket_travels_inside_tls() {
    let (gateway, config, _folder) = start();
    let stream = connect(gateway.addresses.wss[0], "one.example", &config);
    let (mut socket, _) = tungstenite::client("ws://one.example/sub", stream).expect("the upgrade");
    let auth = Frame::new(op::AUTH, 1, token(0, "k", "", &[1000])).encode();
    socket.send(tungstenite::Message::binary(auth)).expect("sent");
    assert_eq!(socket.read().expect("the auth reply").into_data().to_vec(), hex(frame::golden::F2));
    assert_eq!(gateway.push_key("k", 1000, r#"{"test":1}"#), 1);
    assert_eq!(socket.read().expect("a push").into_data().to_vec(), hex(frame::golden::R1)[2..]);
}

/// What is no TLS on a TLS port ends with that reason, and harms nobody.
#[test]
fn plain_bytes_on_a_tls_port_are_refused() {
    let (gateway, _config, _folder) = start();
    for address in [gateway.addresses.tls[0], gateway.addresses.wss[0]] {
        let mut client = TcpClient::connect(address);
        client.send_bytes(b"GET /sub HTTP/1.1\r\n\r\n");
        client::read_to_end(&mut client, PATIENCE);
    }
    gateway.wait_closes("tls_failed", 2);
    Transport::Tcp.login(&gateway, 0, "", "", &[]);
}

/// A handshake message that is longer than any may be, in nine bytes or with more behind them, ends the connection it
/// came on and nothing else: the process lives, clients of all kinds are served on, and others come in.
#[test]
fn a_handshake_message_that_is_too_long_harms_nobody() {
    const TOO_LONG: [u8; 9] = [0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
    let (mut gateway, config, _folder) = start();
    let mut inside = connect(gateway.addresses.tls[0], "one.example", &config);
    log_in(&mut inside, "inside");
    let mut outside = Transport::Tcp.login(&gateway, 0, "outside", "", &[1000]);
    for address in [gateway.addresses.tls[0], gateway.addresses.wss[0]] {
        for behind in [&b""[..], b"\x16", &[0; 5000]] {
            let mut client = TcpClient::connect(address);
            client.send_bytes(&[&TOO_LONG[..], behind].concat());
            client::read_to_end(&mut client, PATIENCE);
        }
    }
    gateway.wait_closes("tls_failed", 6);
    assert!(!gateway.has_ended(), "{}", gateway.log());
    assert_eq!(gateway.metrics().sum("halley_contained_panics_total", &[]), 0.0, "nothing had to be contained");
    for key in ["inside", "outside"] {
        assert_eq!(gateway.push_key(key, 1000, "still here"), 1);
    }
    let mut push = [0; 16 + 10];
    inside.read_exact(&mut push).expect("the push");
    assert_eq!(push[16..], *b"still here");
    assert_eq!(outside.receive().text(), "still here");
    log_in(&mut connect(gateway.addresses.tls[0], "one.example", &config), "late");
}

fn log_in(stream: &mut StreamOwned<ClientConnection, TcpStream>, key: &str) {
    stream.write_all(&Frame::new(op::AUTH, 1, token(0, key, "", &[1000])).encode()).expect("sent");
    let mut reply = [0; 16];
    stream.read_exact(&mut reply).expect("the auth reply");
    assert_eq!(reply.to_vec(), hex(frame::golden::F2));
}

/// A client that says goodbye in the flight of its login is answered, told goodbye, and offline at once: not when its
/// heartbeat is missed. The same with a token that control decides on, and when more follows on the socket.
#[test]
fn a_goodbye_in_the_flight_of_a_login_is_heard() {
    const SECRET: &str = "a secret of at least thirty-two bytes";
    let open = token(0, "brief", "", &[1000]);
    let claims = serde_json::json!({ "exp": 4_000_000_000_u64, "mid": 7, "key": "brief" });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let signed = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token");
    for (first, token) in [(String::new(), open), (format!("auth = \"jwt\"\n[jwt]\nsecret = \"{SECRET}\""), signed)] {
        let (gateway, config, _folder) = start_with(&first);
        for (client, behind) in (1..).zip([&b""[..], b"\0", &[0x17; 9000]]) {
            let mut stream = connect(gateway.addresses.tls[0], "one.example", &config);
            stream.conn.complete_io(&mut stream.sock).expect("the handshake");
            let login = Frame::new(op::AUTH, 1, token.as_bytes()).encode();
            stream.conn.writer().write_all(&login).expect("kept");
            stream.conn.send_close_notify();
            let mut flight = Vec::new();
            while stream.conn.wants_write() {
                stream.conn.write_tls(&mut flight).expect("a vector");
            }
            flight.extend_from_slice(behind);
            stream.sock.write_all(&flight).expect("sent");
            let mut heard = Vec::new();
            // An end that is not said inside TLS is an error here.
            stream.read_to_end(&mut heard).expect("the end is said");
            assert_eq!(heard, hex(frame::golden::F2));
            gateway.wait_closes("peer_closed", client);
            gateway.wait_metric("halley_connections_authenticated", &[], 0.0);
        }
    }
}

/// The end of each certificate in use is a metric, and that of a new one after SIGHUP.
#[test]
fn the_end_of_each_certificate_is_a_metric() {
    let (gateway, _config, folder) = start();
    let path = |name: &str| folder.path().join(name);
    let ends = |name: &str| {
        let file = path(name).display().to_string();
        gateway.metrics().sum("halley_tls_certificate_expires_seconds", &[("file", &file)])
    };
    // Year 4096, as the certificates' maker has it.
    assert_eq!((ends("one.example.pem"), ends("two.example.pem")), (67_090_118_400.0, 67_090_118_400.0));
    let mut params = rcgen::CertificateParams::new(vec!["two.example".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2031, 5, 6);
    let key = rcgen::KeyPair::generate().expect("a key");
    std::fs::write(path("two.example.pem"), params.self_signed(&key).expect("a certificate").pem()).expect("written");
    std::fs::write(path("two.example.key"), key.serialize_pem()).expect("written");
    gateway.signal(rustix::process::Signal::HUP);
    eventually("the new date is shown", || (ends("two.example.pem") == f64::from(1935792000)).then_some(()));
    assert_eq!(ends("one.example.pem"), 67_090_118_400.0);
}
