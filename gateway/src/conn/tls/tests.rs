//! Sessions against rustls' own client, in memory: bytes cut anywhere, both versions, names, resumption, and the ways a
//! peer can be wrong; who means harm is in `hostile`.

mod hostile;

use std::io::{Read, Write};
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion};

use super::*;
use halley_service::tls::certificates::{CertificateError, CertificateFiles, Certificates, TlsServer};

/// A folder with the certificates of one server.
struct Files {
    folder: tempfile::TempDir,
    pairs: Vec<CertificateFiles>,
    roots: RootCertStore,
}

impl Files {
    fn new(names: &[&str]) -> Files {
        let folder = tempfile::tempdir().expect("a folder");
        let mut files = Files { folder, pairs: Vec::new(), roots: RootCertStore::empty() };
        names.iter().for_each(|name| files.add(name));
        files
    }

    fn add(&mut self, name: &str) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let index = self.pairs.len();
        let write = |suffix: &str, text: String| {
            let path = self.folder.path().join(format!("{index}.{suffix}"));
            std::fs::write(&path, text).expect("written");
            path
        };
        let pair =
            CertificateFiles { certificate: write("crt", cert.pem()), key: write("key", signing_key.serialize_pem()) };
        self.pairs.push(pair);
        self.roots.add(cert.der().clone()).expect("a root");
    }

    fn client_config(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
        Arc::new(builder.with_root_certificates(self.roots.clone()).with_no_client_auth())
    }

    fn certificates(&self) -> Certificates {
        Certificates::read(&self.pairs).expect("certificates")
    }

    fn server(&self) -> TlsServer {
        TlsServer::new(self.certificates()).expect("certificates")
    }
}

/// A client and a session with the bytes between them cut at random places.
struct Link {
    client: ClientConnection,
    session: TlsSession,
    random: StdRng,
    /// What the session has decrypted.
    received: Vec<u8>,
    piece_bytes_max: usize,
}

/// A session for one new connection.
fn session(server: &TlsServer) -> TlsSession {
    TlsSession::new(server.config()).expect("a session")
}

impl Link {
    fn new(config: Arc<ClientConfig>, server: &TlsServer, name: &str, seed: u64) -> Link {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let client = ClientConnection::new(config, name).expect("a client");
        let session = session(server);
        let mut random = StdRng::seed_from_u64(seed);
        let piece_bytes_max = [1, 7, 100, 1500, 40_000][random.random_range(0..5)];
        Link { client, session, random, received: Vec::new(), piece_bytes_max }
    }

    /// Carry bytes both ways until neither side has any, or one of them will not go on.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            let mut to_server = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut to_server).expect("written to memory");
            }
            let mut rest = &mut to_server[..];
            while !rest.is_empty() {
                let bytes = self.random.random_range(1..=self.piece_bytes_max).min(rest.len());
                let (piece, after) = rest.split_at_mut(bytes);
                self.session.receive(piece, &mut self.received).map_err(|error| error.to_string())?;
                rest = after;
            }
            if self.session.outgoing().is_empty() && to_server.is_empty() {
                return Ok(());
            }
            while !self.session.outgoing().is_empty() {
                let bytes = self.random.random_range(1..=self.piece_bytes_max).min(self.session.outgoing().len());
                let mut piece = &self.session.outgoing()[..bytes];
                while !piece.is_empty() {
                    self.client.read_tls(&mut piece).expect("read from memory");
                    self.client.process_new_packets().map_err(|error| error.to_string())?;
                }
                self.session.sent(bytes);
            }
        }
    }

    /// What the client has decrypted and not read; the end of its stream is no error here.
    fn client_reads(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = self.client.reader().read_to_end(&mut all);
        all
    }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn plaintext_goes_both_ways_whatever_the_cuts() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    for seed in 0..60 {
        let version = VERSIONS[usize::from(seed % 2 == 0)];
        let mut link = Link::new(files.client_config(&[version]), &server, "localhost", seed);
        assert_eq!(link.session.send(b"early", 0), Err(TlsError::NotOpen));
        link.settle().expect("the handshake");
        assert_eq!((link.session.progress(), link.client.is_handshaking()), (TlsProgress::Open, false));
        for _ in 0..4 {
            let mut sent = vec![0; link.random.random_range(0..50_000)];
            link.random.fill_bytes(&mut sent);
            link.client.writer().write_all(&sent).expect("buffered");
            link.settle().expect("received");
            assert!(std::mem::take(&mut link.received) == sent, "seed {seed}");
            let mut answer = vec![0; link.random.random_range(0..50_000)];
            link.random.fill_bytes(&mut answer);
            link.session.send(&answer, 0).expect("open");
            let mut got = Vec::new();
            while !link.session.outgoing().is_empty() {
                let bytes = link.client.read_tls(&mut link.session.outgoing()).expect("read");
                link.client.process_new_packets().expect("content");
                link.session.sent(bytes);
                got.extend(link.client_reads());
            }
            assert!(got == answer, "seed {seed}");
        }
        assert_eq!(link.session.buffered_bytes(), 0, "an idle session keeps no buffer");
    }
}

#[test]
fn a_message_goes_out_while_a_record_is_only_half_in() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    for version in VERSIONS {
        let mut link = Link::new(files.client_config(&[version]), &server, "localhost", 1);
        link.settle().expect("the handshake");
        link.client.writer().write_all(b"half and half").expect("buffered");
        let mut record = Vec::new();
        link.client.write_tls(&mut record).expect("written");
        let (first, second) = record.split_at_mut(9);
        link.session.receive(first, &mut link.received).expect("no error yet");
        assert!(link.received.is_empty());
        link.session.send(b"meanwhile", 0).expect("open");
        link.settle().expect("carried");
        assert_eq!(link.client_reads(), b"meanwhile");
        link.session.receive(second, &mut link.received).expect("whole");
        assert_eq!(link.received, b"half and half");
    }
}

#[test]
fn both_sides_can_say_goodbye() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    for version in VERSIONS {
        let mut link = Link::new(files.client_config(&[version]), &server, "localhost", 2);
        link.settle().expect("the handshake");
        link.client.writer().write_all(b"last").expect("buffered");
        link.client.send_close_notify();
        let mut all = Vec::new();
        while link.client.wants_write() {
            link.client.write_tls(&mut all).expect("written");
        }
        all.extend_from_slice(b"whatever follows");
        assert_eq!(link.session.receive(&mut all, &mut link.received), Ok(TlsProgress::PeerClosed));
        assert_eq!(link.received, b"last");
        link.session.send(b"bye", 0).expect("half closed is open for us");
        link.session.close_notify();
        link.session.close_notify();
        assert_eq!(link.session.send(b"more", 0), Err(TlsError::NotOpen));
        let mut outgoing = link.session.outgoing();
        while !outgoing.is_empty() {
            link.client.read_tls(&mut outgoing).expect("read");
        }
        assert!(link.client.process_new_packets().expect("content").peer_has_closed());
        assert_eq!(link.client_reads(), b"bye");
    }
}

#[test]
fn keys_are_renewed_when_the_client_asks() {
    let files = Files::new(&["localhost"]);
    let mut link = Link::new(files.client_config(&[&rustls::version::TLS13]), &files.server(), "localhost", 3);
    link.settle().expect("the handshake");
    for round in 0..5_u8 {
        link.client.refresh_traffic_keys().expect("TLS 1.3 can");
        link.client.writer().write_all(&[round]).expect("buffered");
        link.settle().expect("received");
        link.session.send(&[round, round], 0).expect("open");
        link.settle().expect("carried");
        assert_eq!((std::mem::take(&mut link.received), link.client_reads()), (vec![round], vec![round, round]));
    }
}

#[test]
fn what_is_not_tls_is_named() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    for text in [
        &b"GET /sub HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x00\x00\x00\x10\x00\x10\x00\x01\x00\x00\x00\x07\x00\x00\x00\x01",
    ] {
        let mut session = session(&server);
        let error = session.receive(&mut text.to_vec(), &mut Vec::new()).expect_err("not TLS");
        assert_eq!(error, TlsError::NotTls);
    }
}

#[test]
fn a_changed_record_ends_the_session_with_an_alert() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    for version in VERSIONS {
        let mut link = Link::new(files.client_config(&[version]), &server, "localhost", 4);
        link.settle().expect("the handshake");
        link.client.writer().write_all(b"secret").expect("buffered");
        let mut record = Vec::new();
        link.client.write_tls(&mut record).expect("written");
        *record.last_mut().expect("bytes") ^= 1;
        let error = link.session.receive(&mut record, &mut link.received).expect_err("tampered");
        assert!(matches!(error, TlsError::Peer(_)), "{error:?}");
        assert!(link.received.is_empty() && !link.session.outgoing().is_empty());
        let mut alert = link.session.outgoing();
        link.client.read_tls(&mut alert).expect("read");
        let heard = link.client.process_new_packets().expect_err("an alert");
        assert_eq!(heard, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    }
}

#[test]
fn no_peer_makes_a_session_keep_more_than_a_record() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    // A handshake record that announces more than a record may hold, and a handshake message spread over many records.
    let mut too_long = vec![22, 3, 1, 0xff, 0xff];
    too_long.resize(70_000, 1);
    let mut endless = Vec::new();
    for _ in 0..30 {
        endless.extend([22, 3, 1, 4, 0]);
        endless.extend([1, 0, 0xf0, 0].iter().cycle().take(1024));
    }
    for bytes in [too_long, endless] {
        let mut session = session(&server);
        let refused = bytes.chunks(1000).any(|piece| {
            let result = session.receive(&mut piece.to_vec(), &mut Vec::new());
            assert!(session.buffered_bytes() <= INCOMING_BYTES_MAX + 1000);
            result.is_err()
        });
        assert!(refused);
    }
}

/// Before the handshake is over nobody was let in: a record that is whole only beyond 8 KiB is refused when so much has
/// come.
#[test]
fn a_handshake_holds_half_a_record_at_most() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    let mut session = session(&server);
    let mut hello = vec![22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc];
    hello.resize(16_000, 0);
    let refused = hello.chunks(1000).position(|piece| {
        let result = session.receive(&mut piece.to_vec(), &mut Vec::new());
        assert!(session.buffered_bytes() <= wire::HANDSHAKE_BYTES_MAX + 1000);
        result.is_err()
    });
    assert_eq!(refused, Some(8));
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let files = Files::new(&["first.example", "second.example", "*.third.example"]);
    let server = files.server();
    // A client takes no certificate but one that is valid for the name it asked for.
    let shown = |name: &str| Link::new(files.client_config(&VERSIONS), &server, name, 5).settle().is_ok();
    for name in ["first.example", "second.example", "a.third.example"] {
        assert!(shown(name), "{name}");
    }
    assert!(!shown("fourth.example"), "nobody is there under that name");
}

#[test]
fn a_client_that_names_nobody_gets_the_first_certificate() {
    let files = Files::new(&["127.0.0.1", "second.example"]);
    // A client that connects to an address sends no name.
    let mut link = Link::new(files.client_config(&VERSIONS), &files.server(), "127.0.0.1", 6);
    link.settle().expect("the first is for the address");
    assert_eq!(link.session.progress(), TlsProgress::Open);
}

#[test]
fn application_protocols_must_agree_if_named() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    for (protocol, agrees) in [(&b"http/1.1"[..], true), (b"h2", false)] {
        let mut config = (*files.client_config(&VERSIONS)).clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        let mut link = Link::new(Arc::new(config), &server, "localhost", 7);
        assert_eq!(link.settle().is_ok(), agrees);
        assert_eq!(link.client.alpn_protocol(), agrees.then_some(protocol));
    }
}

#[test]
fn sessions_resume_also_across_a_reload() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    let config = files.client_config(&VERSIONS);
    let handshake = || {
        let mut link = Link::new(Arc::clone(&config), &server, "localhost", 8);
        link.settle().expect("the handshake");
        link.client.handshake_kind()
    };
    assert_eq!(handshake(), Some(HandshakeKind::Full));
    assert_eq!(handshake(), Some(HandshakeKind::Resumed));
    server.replace(files.certificates());
    assert_eq!(handshake(), Some(HandshakeKind::Resumed));
}

#[test]
fn certificates_can_be_replaced() {
    let old = Files::new(&["localhost"]);
    let new = Files::new(&["localhost"]);
    let server = old.server();
    let presented = |server: &TlsServer, files: &Files| -> CertificateDer<'static> {
        let mut link = Link::new(files.client_config(&VERSIONS), server, "localhost", 9);
        link.settle().expect("the handshake");
        link.client.peer_certificates().expect("presented")[0].clone().into_owned()
    };
    let first = presented(&server, &old);
    server.replace(new.certificates());
    assert_ne!(presented(&server, &new), first);
}

#[test]
fn unusable_files_are_named() {
    let files = Files::new(&["a.example", "b.example"]);
    let [a, b] = [&files.pairs[0], &files.pairs[1]];
    let try_pair = |certificate: &Path, key: &Path| {
        let pair = CertificateFiles { certificate: certificate.to_owned(), key: key.to_owned() };
        let errors = Certificates::read(&[pair]).expect_err("unusable");
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let missing = files.folder.path().join("missing");
    for (certificate, key, part) in [
        (&missing, &a.key, "missing cannot be read"),
        (&a.certificate, &missing, "missing cannot be read"),
        (&a.key, &a.key, "0.key holds no certificate"),
        (&a.certificate, &a.certificate, "0.crt holds no unencrypted private key"),
        (&a.certificate, &b.key, "1.key does not belong to the certificate in"),
    ] {
        let said = try_pair(certificate, key);
        assert!(said.contains(part), "{said}");
    }
    let both = try_pair(&missing, &files.folder.path().join("lost"));
    assert!(both.contains("missing cannot be read") && both.contains("lost cannot be read"), "{both}");
    assert!(Certificates::read(&[]).is_err_and(|errors| errors == [CertificateError::None]));
}
