//! Who we are to TLS clients. Owns reading certificate and key files, choosing among them by the name that a client asks
//! for (goim §1.13: several pairs, selected by SNI), and replacing them while connections live; keeps the ticket keys
//! across a replacement, so that clients resume sessions from before it. Sessions are made here and driven by
//! [`super::TlsSession`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use halley_service::files;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{TlsError, TlsSession};

/// Application protocol that we speak if the client names any (RFC 7301): WebSocket begins as HTTP/1.1.
const ALPN: &[u8] = b"http/1.1";
/// Bytes of one certificate or key file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Tickets given to a client after its handshake: one, since it reconnects once at a time.
const TICKETS: usize = 1;

/// One certificate with its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by the intermediate ones.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why certificates cannot be used; its text is for the operator.
#[derive(Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// No pair was given.
    None,
    /// A file cannot be read, or holds something else.
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, as the end of a sentence.
        reason: String,
    },
    /// The key is not the certificate's.
    Mismatch(CertificateFiles),
    /// The TLS library refuses to work.
    Library(String),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateError::None => f.write_str("TLS needs a certificate: give a certificate file and its key file"),
            CertificateError::Unusable { path, reason } => write!(f, "TLS file {} {reason}", path.display()),
            CertificateError::Mismatch(CertificateFiles { certificate, key }) => {
                write!(
                    f,
                    "the key in {} does not belong to the certificate in {}",
                    key.display(),
                    certificate.display()
                )
            }
            CertificateError::Library(reason) => write!(f, "TLS cannot be set up: {reason}"),
        }
    }
}

impl std::error::Error for CertificateError {}

/// When a certificate in use ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The file it was read from.
    pub path: PathBuf,
    /// `notAfter`, in seconds since the Unix epoch.
    pub not_after_s: i64,
}

/// What every TLS connection is served with. Shards hold its [`TlsServer::config`] in their settings; a reload replaces
/// the certificates here and sends the shards new settings.
pub struct TlsServer {
    config: ArcSwap<ServerConfig>,
    expiries: ArcSwap<Vec<Expiry>>,
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").finish_non_exhaustive()
    }
}

impl TlsServer {
    /// Serve with the certificates in these files.
    pub fn new(pairs: &[CertificateFiles]) -> Result<TlsServer, CertificateError> {
        Certificates::read(pairs).and_then(TlsServer::with)
    }

    /// Serve with these certificates. A client that asks for a name gets the first that is valid for it and fits its
    /// signature algorithms; who asks for none, or for another, gets the first.
    pub fn with(certificates: Certificates) -> Result<TlsServer, CertificateError> {
        let library = |error: rustls::Error| CertificateError::Library(error.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tickets = aws_lc_rs::Ticketer::new().map_err(library)?;
        let Certificates { keys, expiries } = certificates;
        let config = ArcSwap::from_pointee(make_config(&provider, &tickets, keys)?);
        Ok(TlsServer { config, expiries: ArcSwap::from_pointee(expiries), provider, tickets })
    }

    /// Serve new connections with the certificates in these files. On an error the old ones stay.
    pub fn replace(&self, pairs: &[CertificateFiles]) -> Result<(), CertificateError> {
        Certificates::read(pairs).and_then(|certificates| self.install(certificates))
    }

    /// Serve new connections with these certificates. On an error the old ones stay.
    pub fn install(&self, certificates: Certificates) -> Result<(), CertificateError> {
        let Certificates { keys, expiries } = certificates;
        self.config.store(Arc::new(make_config(&self.provider, &self.tickets, keys)?));
        self.expiries.store(Arc::new(expiries));
        Ok(())
    }

    /// When the certificates in use end, in the order of their files.
    pub fn expiries(&self) -> Arc<Vec<Expiry>> {
        self.expiries.load_full()
    }

    /// What new sessions are made with now.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// A session for one new connection.
    pub fn session(&self) -> Result<TlsSession, TlsError> {
        TlsSession::new(self.config())
    }
}

/// Certificates with their keys, read and found to fit each other.
#[derive(Debug)]
pub struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    expiries: Vec<Expiry>,
}

impl Certificates {
    /// Read these files, of which there must be some.
    pub fn read(pairs: &[CertificateFiles]) -> Result<Certificates, CertificateError> {
        if pairs.is_empty() {
            return Err(CertificateError::None);
        }
        let provider = aws_lc_rs::default_provider();
        let keys = pairs.iter().map(|pair| read_pair(&provider, pair)).collect::<Result<Vec<_>, _>>()?;
        let expiry = |(pair, key): (&CertificateFiles, &Arc<CertifiedKey>)| {
            let (_, certificate) = x509_parser::parse_x509_certificate(key.cert.first()?).ok()?;
            Some(Expiry { path: pair.certificate.clone(), not_after_s: certificate.validity().not_after.timestamp() })
        };
        let expiries = pairs.iter().zip(&keys).filter_map(expiry).collect();
        Ok(Certificates { keys, expiries })
    }
}

fn make_config(
    provider: &Arc<CryptoProvider>,
    tickets: &Arc<dyn ProducesTickets>,
    keys: Vec<Arc<CertifiedKey>>,
) -> Result<ServerConfig, CertificateError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| CertificateError::Library(error.to_string()))?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(ByName { keys }));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.ticketer = Arc::clone(tickets);
    config.send_tls13_tickets = TICKETS;
    Ok(config)
}

/// Chooses a certificate by name.
#[derive(Debug)]
struct ByName {
    keys: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| self.keys.iter().filter(fits).find(|key| is_valid_for(key, &name)));
        named.or_else(|| self.keys.iter().find(fits)).cloned()
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

fn read_pair(provider: &CryptoProvider, pair: &CertificateFiles) -> Result<Arc<CertifiedKey>, CertificateError> {
    let unusable = |path: &Path, reason: String| CertificateError::Unusable { path: path.to_owned(), reason };
    let text = read(&pair.certificate)?;
    let chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(&pair.certificate, format!("is not PEM: {error}")))?;
    let Some(first) = chain.first() else {
        return Err(unusable(&pair.certificate, "holds no certificate".to_owned()));
    };
    ParsedCertificate::try_from(first)
        .map_err(|error| unusable(&pair.certificate, format!("holds no usable certificate: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&pair.key)?)
        .map_err(|_| unusable(&pair.key, "holds no unencrypted private key".to_owned()))?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| unusable(&pair.key, format!("holds a key of an unknown kind: {error}")))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(CertificateError::Mismatch(pair.clone()))
        }
        _ => Ok(Arc::new(certified)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    files::read(path, FILE_BYTES_MAX).map_err(|error| CertificateError::Unusable {
        path: path.to_owned(),
        reason: format!("cannot be read: {error}"),
    })
}
