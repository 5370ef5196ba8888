//! TLS without secrets: a provider for rustls whose every answer is known beforehand. Nothing is random, no clock is
//! read and hardly anything is computed, so that runs can be replayed and are fast; and what is changed on its way
//! passes as if it had been encrypted like that, so that a stranger's bytes reach what lies behind the encryption.
//! Beside it, the real cipher suites with as little chance as they allow.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter, MessageEncrypter,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls12AeadAlgorithm, Tls13AeadAlgorithm,
    UnsupportedOperationError,
};
use rustls::crypto::tls12::PrfUsingHmac;
use rustls::crypto::tls13::HkdfUsingHmac;
use rustls::crypto::{
    ActiveKeyExchange, CipherSuiteCommon, CryptoProvider, GetRandomFailed, KeyExchangeAlgorithm, KeyProvider,
    SecureRandom, SharedSecret, SupportedKxGroup, WebPkiSupportedAlgorithms, aws_lc_rs, hash, hmac,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, DigitallySignedStruct, Error,
    NamedGroup, ProtocolVersion, ServerConfig, SignatureAlgorithm, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion, Tls12CipherSuite, Tls13CipherSuite,
};

/// Behind the bytes of a record; one that has another end is taken for forged.
pub const TAG: [u8; 16] = [0xa7; 16];
/// Both halves of every key exchange.
const KEY_SHARE: [u8; 32] = [0x5c; 32];
/// Sessions that each side remembers: runs are short.
const SESSIONS: usize = 4;
/// An Ed25519 key of no value (RFC 8410 §7): signatures by it are always the same.
const PRIVATE_KEY: [u8; 48] = {
    let mut der = [0x11; 48];
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let mut at = 0;
    while at < head.len() {
        der[at] = head[at];
        at += 1;
    }
    der
};

/// Both sides of one run.
#[derive(Clone)]
pub struct Sides {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
}

impl Sides {
    /// Neither side keeps a secret; a client speaks one version, in records of so many bytes at most.
    pub fn cleartext(version: &'static SupportedProtocolVersion, record_bytes_max: Option<usize>) -> Sides {
        let key = CertifiedKey::new(certificate(), Arc::new(Known));
        Sides::new(cleartext_provider(), key, version, record_bytes_max)
    }

    /// Real ciphers.
    pub fn encrypted(version: &'static SupportedProtocolVersion, record_bytes_max: Option<usize>) -> Sides {
        let provider = CryptoProvider {
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            secure_random: &Known,
            ..aws_lc_rs::default_provider()
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(PRIVATE_KEY.to_vec()));
        let key = CertifiedKey::new(certificate(), provider.key_provider.load_private_key(key).expect("a key"));
        Sides::new(provider, key, version, record_bytes_max)
    }

    fn new(
        provider: CryptoProvider,
        key: CertifiedKey,
        version: &'static SupportedProtocolVersion,
        record_bytes_max: Option<usize>,
    ) -> Sides {
        let provider = Arc::new(provider);
        let mut server = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(Known))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shown(Arc::new(key))));
        // As the gateway has it.
        server.ticketer = Arc::new(Known);
        server.send_tls13_tickets = 1;
        server.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        let mut client = ClientConfig::builder_with_details(provider, Arc::new(Known))
            .with_protocol_versions(&[version])
            .expect("a version")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Known))
            .with_no_client_auth();
        client.max_fragment_size = record_bytes_max;
        client.resumption = Resumption::in_memory_sessions(SESSIONS);
        Sides { server: Arc::new(server), client: Arc::new(client) }
    }

    /// A client that has said nothing yet.
    pub fn connect(&self) -> ClientConnection {
        let name = ServerName::try_from("gateway.example").expect("a name");
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).expect("a client");
        client.set_buffer_limit(None);
        client
    }
}

fn certificate() -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from(b"nobody reads this".to_vec())]
}

fn cleartext_provider() -> CryptoProvider {
    static TLS13: Tls13CipherSuite = Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            hash_provider: &Known,
            confidentiality_limit: u64::MAX,
        },
        hkdf_provider: &HkdfUsingHmac(&Known),
        aead_alg: &Known,
        quic: None,
    };
    static TLS12: Tls12CipherSuite = Tls12CipherSuite {
        common: CipherSuiteCommon {
            suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            hash_provider: &Known,
            confidentiality_limit: u64::MAX,
        },
        prf_provider: &PrfUsingHmac(&Known),
        kx: KeyExchangeAlgorithm::ECDHE,
        sign: &[SignatureScheme::ED25519],
        aead_alg: &Known,
    };
    CryptoProvider {
        cipher_suites: vec![SupportedCipherSuite::Tls13(&TLS13), SupportedCipherSuite::Tls12(&TLS12)],
        kx_groups: vec![&Known],
        signature_verification_algorithms: WebPkiSupportedAlgorithms { all: &[], mapping: &[] },
        secure_random: &Known,
        key_provider: &Known,
    }
}

/// Everything that rustls asks a provider for, with the answer that anybody could give.
#[derive(Clone, Copy, Debug)]
struct Known;

impl SecureRandom for Known {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        bytes.fill(0x3e);
        Ok(())
    }
}

impl TimeProvider for Known {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_700_000_000)))
    }
}

impl KeyProvider for Known {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Ok(Arc::new(Known))
    }
}

impl SigningKey for Known {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(Known) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Known {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(vec![0x91; 64])
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ProducesTickets for Known {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        3600
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        Some([b"ticket:", plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        cipher.strip_prefix(b"ticket:").map(<[u8]>::to_vec)
    }
}

impl SupportedKxGroup for Known {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Known))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for Known {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        if peer.len() == KEY_SHARE.len() {
            Ok(SharedSecret::from(&KEY_SHARE[..]))
        } else {
            Err(Error::General("a key share of another length".to_owned()))
        }
    }

    fn pub_key(&self) -> &[u8] {
        &KEY_SHARE
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// A sum of what came (FNV-1a).
#[derive(Clone, Copy)]
struct Sum(u64);

impl Sum {
    const START: Sum = Sum(0xcbf2_9ce4_8422_2325);

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn bytes(self) -> [u8; 32] {
        let mut all = [0; 32];
        for (at, part) in (1..).zip(all.chunks_exact_mut(8)) {
            part.copy_from_slice(&self.0.wrapping_mul(at).to_be_bytes());
        }
        all
    }
}

impl hash::Hash for Known {
    fn start(&self) -> Box<dyn hash::Context> {
        Box::new(Sum::START)
    }

    fn hash(&self, data: &[u8]) -> hash::Output {
        let mut sum = Sum::START;
        sum.add(data);
        hash::Output::new(&sum.bytes())
    }

    fn output_len(&self) -> usize {
        32
    }

    fn algorithm(&self) -> hash::HashAlgorithm {
        hash::HashAlgorithm::SHA256
    }
}

impl hash::Context for Sum {
    fn fork_finish(&self) -> hash::Output {
        hash::Output::new(&self.bytes())
    }

    fn fork(&self) -> Box<dyn hash::Context> {
        Box::new(*self)
    }

    fn finish(self: Box<Self>) -> hash::Output {
        hash::Output::new(&self.bytes())
    }

    fn update(&mut self, data: &[u8]) {
        self.add(data);
    }
}

impl hmac::Hmac for Known {
    fn with_key(&self, key: &[u8]) -> Box<dyn hmac::Key> {
        let mut sum = Sum::START;
        sum.add(key);
        Box::new(sum)
    }

    fn hash_output_len(&self) -> usize {
        32
    }
}

impl hmac::Key for Sum {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> hmac::Tag {
        let mut sum = *self;
        sum.add(first);
        middle.iter().for_each(|part| sum.add(part));
        sum.add(last);
        hmac::Tag::new(&sum.bytes())
    }

    fn tag_len(&self) -> usize {
        32
    }
}

/// A cipher that changes nothing; with `inner` the kind of a record stands behind its bytes (RFC 8446 §5.2).
struct Plain {
    inner: bool,
}

impl MessageEncrypter for Plain {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, _: u64) -> Result<OutboundOpaqueMessage, Error> {
        let length = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(length);
        payload.extend_from_chunks(&message.payload);
        let (mut kind, mut version) = (message.typ, message.version);
        if self.inner {
            payload.extend_from_slice(&[u8::from(message.typ)]);
            (kind, version) = (ContentType::ApplicationData, ProtocolVersion::TLSv1_2);
        }
        payload.extend_from_slice(&TAG);
        Ok(OutboundOpaqueMessage::new(kind, version, payload))
    }

    fn encrypted_payload_len(&self, bytes: usize) -> usize {
        bytes + usize::from(self.inner) + TAG.len()
    }
}

impl MessageDecrypter for Plain {
    fn decrypt<'a>(&mut self, mut message: InboundOpaqueMessage<'a>, _: u64) -> Result<InboundPlainMessage<'a>, Error> {
        let end = message.payload.len().checked_sub(TAG.len()).ok_or(Error::DecryptError)?;
        if message.payload[end..] != TAG {
            return Err(Error::DecryptError);
        }
        message.payload.truncate(end);
        if self.inner { message.into_tls13_unpadded_message() } else { Ok(message.into_plain_message()) }
    }
}

impl Tls13AeadAlgorithm for Known {
    fn encrypter(&self, _: AeadKey, _: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Plain { inner: true })
    }

    fn decrypter(&self, _: AeadKey, _: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Plain { inner: true })
    }

    fn key_len(&self) -> usize {
        32
    }

    fn extract_keys(&self, _: AeadKey, _: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

impl Tls12AeadAlgorithm for Known {
    fn encrypter(&self, _: AeadKey, _: &[u8], _: &[u8]) -> Box<dyn MessageEncrypter> {
        Box::new(Plain { inner: false })
    }

    fn decrypter(&self, _: AeadKey, _: &[u8]) -> Box<dyn MessageDecrypter> {
        Box::new(Plain { inner: false })
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        KeyBlockShape { enc_key_len: 32, fixed_iv_len: 12, explicit_nonce_len: 0 }
    }

    fn extract_keys(
        &self,
        _: AeadKey,
        _: &[u8],
        _: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

/// Shows its one certificate to everybody.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
