//! Peers that mean harm: whatever they send, before the handshake, in the middle of it or behind it, nothing panics, a
//! session that has failed stays failed, and its caller may go on as if nothing had happened. One who holds the keys,
//! and so can break rules behind the encryption, is [`Forger`].

use rustls::crypto::cipher::{MessageEncrypter, OutboundPlainMessage};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey as SigningKey;
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite};

use super::*;

/// Of mutated hellos, and of mutated flights behind the handshake.
const MUTATIONS: u64 = 10_000;

/// The shortest message that is too long: a handshake record of four bytes that announces a ClientHello of 16,777,215.
const TOO_LONG: [u8; 9] = [0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];

/// What a shard does with a session, whatever comes of it: take what came, send, say goodbye, carry away what is to be
/// sent. Returns the first error.
fn use_up(session: &mut TlsSession, pieces: &[&[u8]], random: &mut StdRng) -> Option<TlsError> {
    let mut failed = None;
    for piece in pieces {
        let mut plaintext = Vec::new();
        let result = session.receive(&mut piece.to_vec(), &mut plaintext);
        assert!(session.wire.incoming.len() <= INCOMING_BYTES_MAX);
        if let Some(error) = &failed {
            assert_eq!((result.as_ref(), plaintext.as_slice()), (Err(error), &[][..]), "it has failed for good");
        }
        failed = failed.or(result.err());
        if random.random_bool(0.2) && session.outgoing().is_empty() {
            let sent = session.send(b"a push", 1);
            assert!(failed.is_none() || sent == Err(TlsError::NotOpen));
        }
        if random.random_bool(0.5) {
            let bytes = session.outgoing().len();
            session.sent(bytes);
        }
        if random.random_bool(0.02) {
            session.close_notify();
        }
    }
    if let Some(error) = &failed {
        assert_ne!(*error, TlsError::Internal, "nothing panics");
        stays_shut(session);
    }
    session.close_notify();
    session.close_notify();
    let _ = session.send(b"one more", 1);
    let _ = session.receive(&mut TOO_LONG.to_vec(), &mut Vec::new());
    failed
}

/// A session that has failed holds nothing but its last words, and nothing that is done to it changes that.
fn stays_shut(session: &mut TlsSession) {
    assert!(matches!(session.state, State::Failed(_)));
    let last_words = session.outgoing().to_vec();
    session.close_notify();
    assert_eq!(session.send(b"more", 0), Err(TlsError::NotOpen));
    let mut plaintext = Vec::new();
    assert!(session.receive(&mut b"more".to_vec(), &mut plaintext).is_err());
    assert_eq!((session.outgoing(), plaintext.len()), (&last_words[..], 0));
    assert_eq!(session.wire.incoming.capacity(), 0, "it keeps nothing");
}

/// Bytes in pieces, cut at random.
fn pieces<'a>(bytes: &'a [u8], random: &mut StdRng) -> Vec<&'a [u8]> {
    let longest = [1, 5, 60, 600, 40_000][random.random_range(0..5)];
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.random_range(1..=longest).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Some bytes changed, left out, put in twice, or cut off.
fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..6) {
        let length = bytes.len();
        let at = random.random_range(0..length.max(1));
        let end = (at + random.random_range(1..9)).min(length);
        match random.random_range(0..6) {
            // Headers and lengths stand at the beginning.
            0 if !bytes.is_empty() => bytes[at % 12.min(length)] = random.random(),
            1 if !bytes.is_empty() => bytes[at] = random.random(),
            2 if !bytes.is_empty() => bytes[at] ^= 1 << random.random_range(0..8),
            3 if at < end => drop(bytes.drain(at..end)),
            4 if at < end => bytes.extend_from_within(at..end),
            _ => bytes.truncate(at.max(1)),
        }
    }
}

fn hello(files: &Files, version: &'static SupportedProtocolVersion) -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(files.client_config(&[version]), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a hello");
    bytes
}

/// A handshake message of more bytes than any may have, announced at once, over several records, behind a whole record
/// of another kind, or cut anywhere on its way, is refused, and what has refused it may be used on.
#[test]
fn a_message_that_is_too_long_fails_its_session_only() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    let announced = |bytes: u32| [&[0x16, 3, 1, 0, 4, 1][..], &bytes.to_be_bytes()[1..]].concat();
    let mut inputs: Vec<Vec<u8>> = [65_536, 65_537, 0x0001_0000, 0x00ff_0000, 0x00ff_ffff].map(announced).into();
    inputs.push(TOO_LONG.to_vec());
    // The header itself over four records; and more bytes behind it.
    inputs.push(
        [[0x16, 3, 1, 0, 1, 1], [0x16, 3, 1, 0, 1, 0xff], [0x16, 3, 1, 0, 1, 0xff], [0x16, 3, 1, 0, 1, 0xff]].concat(),
    );
    inputs.push([&TOO_LONG[..], &TOO_LONG[..], &[0; 40]].concat());
    // A record that is too long, and one that holds two messages of which the second is.
    inputs.push(vec![0x16, 3, 1, 0xff, 0xff]);
    inputs.push([&[0x16, 3, 1, 0, 8][..], &[0, 0, 0, 0], &TOO_LONG[5..]].concat());
    let mut random = StdRng::seed_from_u64(1);
    for input in inputs {
        for cut in 1..=input.len() {
            let mut session = session(&server);
            let (first, second) = input.split_at(cut);
            let failed = use_up(&mut session, &[first, second, b"\x16\x03\x01"], &mut random);
            assert!(failed.is_some(), "{input:?}");
        }
    }
    assert_eq!(use_up(&mut session(&server), &[&announced(65_535)], &mut random), None);
}

/// Mutated first words fail, or wait for more.
#[test]
fn mutated_hellos_are_survived() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    let hellos = VERSIONS.map(|version| hello(&files, version));
    let mut failures = 0;
    for seed in 0..MUTATIONS {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = hellos[usize::from(seed % 2 == 0)].clone();
        mutate(&mut bytes, &mut random);
        let mut session = session(&server);
        failures += u64::from(use_up(&mut session, &pieces(&bytes, &mut random), &mut random).is_some());
    }
    assert!(failures > MUTATIONS / 4, "mutations matter: {failures} have failed");
}

/// A client that has shaken hands and takes its keys in hand, to encrypt what no honest client would.
struct Forger {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Forger {
    /// A forger, and the session that takes it for an honest client.
    fn new(files: &Files, server: &TlsServer, version: &'static SupportedProtocolVersion) -> (Forger, TlsSession) {
        let mut config = (*files.client_config(&[version])).clone();
        config.enable_secret_extraction = true;
        let mut link = Link::new(Arc::new(config), server, "localhost", 4);
        link.settle().expect("the handshake");
        let suite = link.client.negotiated_cipher_suite().expect("settled");
        let (sequence, secrets) = link.client.dangerous_extract_secrets().expect("allowed").tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            panic!("a cipher of another kind")
        };
        let encrypter = match suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
            SupportedCipherSuite::Tls12(suite) => {
                let (fixed, explicit) = iv.as_ref().split_at(suite.aead_alg.key_block_shape().fixed_iv_len);
                suite.aead_alg.encrypter(key, fixed, explicit)
            }
        };
        let mut forger = Forger { encrypter, sequence: 0 };
        // Some ciphers will not begin in the middle.
        while forger.sequence < sequence {
            forger.seal(ContentType::ApplicationData, b"sent before");
        }
        (forger, link.session)
    }

    /// One record.
    fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload: payload.into() };
        let sealed = self.encrypter.encrypt(message, self.sequence).expect("short");
        self.sequence += 1;
        sealed.encode()
    }
}

/// A request to renew the keys (RFC 8446 §4.6.3), cut over records or behind others, counts when it is whole, and
/// sending goes on meanwhile. What is not whole when something else follows is an error.
#[test]
fn handshake_messages_may_be_cut_behind_the_handshake_too() {
    const RENEW: [u8; 5] = [24, 0, 0, 1, 0];
    let files = Files::new(&["localhost"]);
    let server = files.server();
    for cut in 1..RENEW.len() {
        let (mut forger, mut session) = Forger::new(&files, &server, &rustls::version::TLS13);
        let mut first = forger.seal(ContentType::Handshake, &RENEW[..cut]);
        let mut plaintext = Vec::new();
        assert_eq!(session.receive(&mut first, &mut plaintext), Ok(TlsProgress::Open));
        assert!(!session.wire.incoming.is_empty(), "the part waits");
        session.send(b"meanwhile", 1).expect("open");
        let mut second = forger.seal(ContentType::Handshake, &RENEW[cut..]);
        if cut % 2 == 0 {
            assert_eq!(session.receive(&mut second, &mut plaintext), Ok(TlsProgress::Open));
            assert!(session.wire.incoming.is_empty() && plaintext.is_empty());
            session.send(b"afterwards", 1).expect("open");
            // The keys are new ones: the forger's are of no use any more.
            assert!(session.receive(&mut forger.seal(ContentType::ApplicationData, b"old"), &mut plaintext).is_err());
        } else {
            // The part that waits is found again by whatever is done next.
            let mut other = forger.seal(ContentType::ApplicationData, b"in between");
            assert!(session.receive(&mut other, &mut plaintext).is_err());
        }
        stays_shut(&mut session);
    }
}

/// A goodbye of ours ends the library's work: what still comes, broken or not, is thrown away.
#[test]
fn what_follows_our_goodbye_is_thrown_away() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    for version in VERSIONS {
        for broken in [false, true] {
            let (mut forger, mut session) = Forger::new(&files, &server, version);
            session.close_notify();
            let said = session.outgoing().to_vec();
            let mut record = forger.seal(ContentType::ApplicationData, b"too late");
            let last = record.len() - 1;
            record[last] ^= u8::from(broken);
            let mut plaintext = Vec::new();
            assert_eq!(session.receive(&mut record, &mut plaintext), Ok(TlsProgress::Open));
            assert_eq!(session.receive(&mut TOO_LONG.to_vec(), &mut plaintext), Ok(TlsProgress::Open));
            assert_eq!((plaintext.len(), session.outgoing()), (0, &said[..]));
        }
    }
}

/// Data before the handshake is over (RFC 8446 §2.3) is never taken, however it is cut: a client that was promised so
/// by another server is refused, or goes on without it.
#[test]
fn early_data_is_never_taken() {
    const EARLY: &[u8] = b"too early";
    let files = Files::new(&["localhost"]);
    let server = files.server();
    // The library promises it only to whom it remembers itself.
    let mut promising = shown_by(Arc::clone(&server.config().cert_resolver));
    promising.max_early_data_size = 1024;
    let promising = Arc::new(promising);
    for seed in 0..40 {
        let takes = seed % 2 == 0;
        let mut config = (*files.client_config(&[&rustls::version::TLS13])).clone();
        config.enable_early_data = true;
        let config = Arc::new(config);
        let mut link = Link::new(Arc::clone(&config), &server, "localhost", seed);
        link.session = TlsSession::new(Arc::clone(&promising)).expect("a session");
        link.settle().expect("the handshake that gives the ticket");
        let mut link = Link::new(config, &server, "localhost", seed + 40);
        if takes {
            link.session = TlsSession::new(Arc::clone(&promising)).expect("a session");
        }
        link.client.early_data().expect("promised").write_all(EARLY).expect("promised");
        let settled = link.settle();
        assert!(link.received.is_empty(), "nothing of it is taken");
        if takes {
            assert_ne!(settled, Ok(()));
            stays_shut(&mut link.session);
        } else {
            settled.expect("the handshake goes on without it");
            link.client.writer().write_all(b"in time").expect("buffered");
            link.settle().expect("received");
            assert_eq!(link.received, b"in time");
        }
    }
}

/// Flights of proper and improper records behind the handshake: whole, mutated before they were encrypted or after, in
/// any order, cut anywhere, with sends and goodbyes in between.
#[test]
fn flights_behind_the_handshake_are_survived() {
    let files = Files::new(&["localhost"]);
    let server = files.server();
    let kinds =
        [ContentType::ApplicationData, ContentType::Handshake, ContentType::Alert, ContentType::ChangeCipherSpec];
    let bodies: [&[u8]; 8] = [
        b"a frame",
        &[24, 0, 0, 1, 0],
        &[24, 0, 0, 1, 1, 24, 0, 0, 1],
        &[1, 0],
        &[2, 40],
        &[1],
        &[1, 0xff, 0xff, 0xff],
        &[],
    ];
    let mut failures = 0;
    // A handshake is costly: each is used for some flights, until one has failed.
    for seed in 0..MUTATIONS / 10 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut forger, mut session) = Forger::new(&files, &server, VERSIONS[usize::from(seed % 2 == 0)]);
        for _ in 0..10 {
            let mut records: Vec<Vec<u8>> = Vec::new();
            for _ in 0..random.random_range(1..5) {
                let honest = random.random_bool(0.5);
                let kind = if honest { 0 } else { random.random_range(0..kinds.len()) };
                let mut body = bodies[if honest { 0 } else { random.random_range(0..bodies.len()) }].to_vec();
                if !honest && random.random_bool(0.3) {
                    mutate(&mut body, &mut random);
                }
                records.push(forger.seal(kinds[kind], &body));
            }
            if random.random_bool(0.1) {
                records.reverse();
            }
            let mut bytes = records.concat();
            if random.random_bool(0.2) {
                mutate(&mut bytes, &mut random);
            }
            if use_up_some(&mut session, &pieces(&bytes, &mut random), &mut random) {
                failures += 1;
                break;
            }
        }
        let _ = use_up(&mut session, &[], &mut random);
    }
    assert!(failures > MUTATIONS / 40, "mutations matter: {failures} have failed");
}

/// As [`use_up`], and the session lives on if it can; true when it has failed.
fn use_up_some(session: &mut TlsSession, pieces: &[&[u8]], random: &mut StdRng) -> bool {
    for piece in pieces {
        let result = session.receive(&mut piece.to_vec(), &mut Vec::new());
        assert_ne!(result, Err(TlsError::Internal), "nothing panics");
        if session.outgoing().is_empty() && random.random_bool(0.2) {
            let _ = session.send(b"a push", 1);
        }
        if random.random_bool(0.8) {
            let bytes = session.outgoing().len();
            session.sent(bytes);
        }
        if result.is_err() {
            stays_shut(session);
            return true;
        }
    }
    false
}

/// Shows no certificate, but panics.
#[derive(Debug)]
struct Panics;

impl ResolvesServerCert for Panics {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<SigningKey>> {
        panic!("planted below the library");
    }
}

fn shown_by(resolver: Arc<dyn ResolvesServerCert>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("versions").with_no_client_auth().with_cert_resolver(resolver)
}

/// A panic below the library is an error like others, but that nothing more is said.
#[test]
fn a_panic_of_the_library_fails_its_session_only() {
    let files = Files::new(&["localhost"]);
    let mut session = TlsSession::new(Arc::new(shown_by(Arc::new(Panics)))).expect("a session");
    let before = halley_service::panics::contained_total();
    let result = session.receive(&mut hello(&files, VERSIONS[1]), &mut Vec::new());
    assert_eq!(result, Err(TlsError::Internal));
    assert!(halley_service::panics::contained_total() > before);
    assert!(session.outgoing().is_empty(), "nothing is said");
    stays_shut(&mut session);
}

/// What the library had not finished when it panicked is never sent; what was finished before is.
#[test]
fn half_a_record_is_not_sent() {
    let files = Files::new(&["localhost"]);
    let (_, mut session) = Forger::new(&files, &files.server(), VERSIONS[1]);
    session.send(b"a push", 1).expect("open");
    let whole = session.outgoing().to_vec();
    let result: Result<(), TlsError> = session.call(|_, wire| {
        wire.outgoing.extend_from_slice(b"half a record");
        panic!("planted below the library");
    });
    assert_eq!(result, Err(TlsError::Internal));
    assert_eq!(session.outgoing(), whole);
    stays_shut(&mut session);
}
