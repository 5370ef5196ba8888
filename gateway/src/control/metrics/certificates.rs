//! The metrics of the TLS certificates. Owns their names; the dates are those of the certificates in use, also after a
//! reload.

use std::sync::Arc;

use halley_service::metrics::{Collect, Exposition, Kind};
use halley_service::tls::certificates::TlsServer;

/// The certificates that clients are shown; none without TLS.
#[derive(Debug)]
pub struct Certificates(pub Option<Arc<TlsServer>>);

impl Collect for Certificates {
    fn collect(&self, out: &mut Exposition) {
        let Some(server) = &self.0 else { return };
        let help = "When the certificate in use ends (notAfter), in seconds since the Unix epoch.";
        let mut family = out.family("halley_tls_certificate_expires_seconds", Kind::Gauge, help);
        for validity in server.validities().iter().filter(|validity| validity.place == 1) {
            family.sample(&[("file", &validity.path.display())], validity.not_after_s);
        }
    }
}
