//! TLS as a client of brokers. Owns reading the authorities and our certificate, and what a session is made with. Reads
//! files: never called on a thread that must not wait. Makes no connection.

use std::path::Path;
use std::sync::Arc;

use halley_service::files;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::bus::kafka::settings::Tls;

/// Bytes of one file at most: a system's whole list of authorities has a quarter.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Read the files and make what sessions are made with. An error is a sentence for people.
pub fn client(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let (_, _) = roots.add_parsable_certificates(certificates(&tls.ca)?);
    if roots.is_empty() {
        return Err(format!("TLS file {} holds no authority that can be used", tls.ca.display()));
    }
    let library = |error: rustls::Error| format!("TLS cannot be set up: {error}");
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(library)?
        .with_root_certificates(roots);
    let Some(identity) = &tls.identity else { return Ok(Arc::new(builder.with_no_client_auth())) };
    let chain = certificates(&identity.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&identity.key)?)
        .map_err(|_| format!("TLS file {} holds no unencrypted private key", identity.key.display()))?;
    let config = builder.with_client_auth_cert(chain, key).map_err(|error| {
        let (certificate, key) = (identity.certificate.display(), identity.key.display());
        format!("the key in {key} does not go with the certificate in {certificate}: {error}")
    })?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| format!("TLS file {} is not PEM", path.display()))?;
    if certificates.is_empty() {
        return Err(format!("TLS file {} holds no certificate", path.display()));
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    files::read(path, FILE_BYTES_MAX).map_err(|error| format!("TLS file {} cannot be read: {error}", path.display()))
}
