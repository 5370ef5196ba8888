//! Who we are to TLS clients. Owns reading certificate and key files, and knowing when certificates are valid. The name
//! that a client asks for chooses among them (goim §1.13: several pairs, selected by SNI). They are replaced while
//! connections live. The ticket keys stay across a replacement, so that clients resume sessions from before it. Makes
//! no session.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};

use super::{ServerConfig, dates};
use crate::files;

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

/// When a certificate is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The file it was read from.
    pub path: PathBuf,
    /// Its place in the file, from 1: the first is shown to clients for itself, the others are its chain.
    pub place: usize,
    /// `notBefore`, in seconds since the Unix epoch.
    pub not_before_s: i64,
    /// `notAfter`, in seconds since the Unix epoch.
    pub not_after_s: i64,
}

/// A certificate of which it cannot be read when it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undated {
    /// The file it was read from.
    pub path: PathBuf,
    /// Its place in the file, from 1.
    pub place: usize,
}

/// Certificates with their keys, read and found to fit.
#[derive(Debug)]
pub struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    validities: Vec<Validity>,
    undated: Vec<Undated>,
}

impl Certificates {
    /// Read every pair, in their order; everything that is wrong with any of them.
    pub fn read(pairs: &[CertificateFiles]) -> Result<Certificates, Vec<CertificateError>> {
        if pairs.is_empty() {
            return Err(vec![CertificateError::None]);
        }
        let provider = aws_lc_rs::default_provider();
        let mut errors = Vec::new();
        let mut certificates = Certificates { keys: Vec::new(), validities: Vec::new(), undated: Vec::new() };
        for pair in pairs {
            let chain = read_chain(&pair.certificate).map_err(|error| errors.push(error));
            let key = read_key(&provider, &pair.key).map_err(|error| errors.push(error));
            let (Ok(chain), Ok(key)) = (chain, key) else { continue };
            certificates.add_validities(&pair.certificate, &chain);
            let certified = CertifiedKey::new(chain, key);
            let mismatch = rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch);
            match certified.keys_match() {
                Err(error) if error == mismatch => errors.push(CertificateError::Mismatch(pair.clone())),
                _ => certificates.keys.push(Arc::new(certified)),
            }
        }
        if errors.is_empty() { Ok(certificates) } else { Err(errors) }
    }

    /// When the certificates are valid, those of their chains too, in the order of the files.
    pub fn validities(&self) -> &[Validity] {
        &self.validities
    }

    /// Those whose dates cannot be read, in the order of the files.
    pub fn undated(&self) -> &[Undated] {
        &self.undated
    }

    fn add_validities(&mut self, path: &Path, chain: &[CertificateDer<'_>]) {
        for (place, der) in (1..).zip(chain) {
            let path = path.to_owned();
            let Some((not_before_s, not_after_s)) = dates::read(der) else {
                self.undated.push(Undated { path, place });
                continue;
            };
            self.validities.push(Validity { path, place, not_before_s, not_after_s });
        }
    }
}

/// What is wrong with files that do not make pairs yet, each looked at alone.
pub fn faults(certificates: &[PathBuf], keys: &[PathBuf]) -> Vec<CertificateError> {
    let provider = aws_lc_rs::default_provider();
    let chains = certificates.iter().filter_map(|path| read_chain(path).err());
    chains.chain(keys.iter().filter_map(|path| read_key(&provider, path).err())).collect()
}

/// What every TLS connection is served with. Shards hold its [`TlsServer::config`] in their settings; a reload replaces
/// the certificates here and sends the shards new settings.
pub struct TlsServer {
    config: ArcSwap<ServerConfig>,
    validities: ArcSwap<Vec<Validity>>,
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").finish_non_exhaustive()
    }
}

impl TlsServer {
    /// Serve with these certificates. A client that asks for a name gets the first that is valid for it and fits its
    /// signature algorithms; who asks for none, or for another, gets the first.
    pub fn new(certificates: Certificates) -> Result<TlsServer, CertificateError> {
        let library = |error: rustls::Error| CertificateError::Library(error.to_string());
        let Certificates { keys, validities, .. } = certificates;
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(library)?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(ByName { keys }));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(library)?;
        config.send_tls13_tickets = TICKETS;
        Ok(TlsServer { config: ArcSwap::from_pointee(config), validities: ArcSwap::from_pointee(validities) })
    }

    /// Serve new connections with these certificates. Everything else stays, the ticket keys too.
    pub fn replace(&self, certificates: Certificates) {
        let Certificates { keys, validities, .. } = certificates;
        let mut config = ServerConfig::clone(&self.config.load());
        config.cert_resolver = Arc::new(ByName { keys });
        self.config.store(Arc::new(config));
        self.validities.store(Arc::new(validities));
    }

    /// When the certificates in use are valid, as [`Certificates::validities`].
    pub fn validities(&self) -> Arc<Vec<Validity>> {
        self.validities.load_full()
    }

    /// What new sessions are made with now.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }
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

fn unusable(path: &Path, reason: String) -> CertificateError {
    CertificateError::Unusable { path: path.to_owned(), reason }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| unusable(path, "is not PEM".to_owned()))?;
    let Some(first) = chain.first() else {
        return Err(unusable(path, "holds no certificate".to_owned()));
    };
    ParsedCertificate::try_from(first)
        .map_err(|error| unusable(path, format!("holds no usable certificate: {error}")))?;
    Ok(chain)
}

fn read_key(provider: &CryptoProvider, path: &Path) -> Result<Arc<dyn SigningKey>, CertificateError> {
    let key = PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|_| unusable(path, "holds no unencrypted private key".to_owned()))?;
    let key = provider.key_provider.load_private_key(key);
    key.map_err(|error| unusable(path, format!("holds a key of an unknown kind: {error}")))
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    files::read(path, FILE_BYTES_MAX).map_err(|error| CertificateError::Unusable {
        path: path.to_owned(),
        reason: format!("cannot be read: {error}"),
    })
}
