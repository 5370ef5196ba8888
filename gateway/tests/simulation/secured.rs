//! A client inside TLS, for tests that play one situation: it carries ciphertext both ways when it is told to.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use halley_gateway::limits::ShardSettings;
use halley_protocol::goim::{Frame, op};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

use crate::client::KEY_OP;
use crate::rig::{Rig, TCP};

/// The name that the certificate is for.
pub const NAME: &str = "gateway.example";
/// The name at which the server panics.
pub const PLANTED: &str = "planted.example";

/// Shows its certificate to everybody, and panics at one name.
#[derive(Debug)]
struct Planted(Arc<CertifiedKey>);

impl ResolvesServerCert for Planted {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        assert_ne!(hello.server_name(), Some(PLANTED), "planted below the library");
        Some(Arc::clone(&self.0))
    }
}

pub fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certified = CertifiedKey::from_der(vec![made.cert.der().clone()], key.into(), &provider).expect("a key");
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Planted(Arc::new(certified))));
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// A rig whose listeners speak TLS, and how its clients do.
pub fn rig(settings: ShardSettings) -> (Rig, Arc<ClientConfig>) {
    let (server, client) = configs();
    (Rig::new(256, ShardSettings { tls: Some(server), ..settings }), client)
}

/// A client inside TLS.
pub struct Secured {
    pub index: usize,
    pub session: ClientConnection,
    pub received: Vec<u8>,
}

impl Secured {
    /// Connected; nothing is said yet.
    pub fn connect_to(rig: &mut Rig, config: &Arc<ClientConfig>, name: &'static str) -> Secured {
        let index = rig.connect(TCP);
        rig.clients[index].reading = false;
        let name = ServerName::try_from(name).expect("a name");
        let session = ClientConnection::new(Arc::clone(config), name).expect("a client");
        Secured { index, session, received: Vec::new() }
    }

    /// Connected, with a login to send that accepts [`KEY_OP`]; nothing is said yet.
    pub fn connect(rig: &mut Rig, config: &Arc<ClientConfig>) -> Secured {
        let mut client = Secured::connect_to(rig, config, NAME);
        client.say(op::AUTH, 1, &token(client.index));
        client
    }

    /// Connected and logged in.
    pub fn log_in(rig: &mut Rig, config: &Arc<ClientConfig>) -> Secured {
        let mut client = Secured::connect(rig, config);
        for _ in 0..20 {
            client.talk(rig);
            rig.turn();
        }
        assert_eq!(std::mem::take(&mut client.received).len(), 16, "the auth reply");
        client
    }

    /// A frame to send; before the handshake is over it is kept until then.
    pub fn say(&mut self, op: i32, seq: i32, body: &[u8]) {
        self.say_all(&[(op, seq, body)]);
    }

    /// Frames to send in one record: op, seq, body.
    pub fn say_all(&mut self, frames: &[(i32, i32, &[u8])]) {
        let mut bytes = Vec::new();
        for &(op, seq, body) in frames {
            Frame { version: 1, op, seq, body }.encode(&mut bytes);
        }
        self.session.writer().write_all(&bytes).expect("kept");
    }

    /// Ciphertext to send, and nothing is sent.
    pub fn ciphertext(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut out).expect("a vector");
        }
        out
    }

    /// Read the ciphertext that has come.
    pub fn hear(&mut self, rig: &mut Rig) {
        let id = rig.id(self.index);
        let arrived = rig.shard.io().read(id);
        let mut arrived = arrived.as_slice();
        while !arrived.is_empty() {
            self.session.read_tls(&mut arrived).expect("a slice");
            self.session.process_new_packets().expect("proper TLS");
            // This interface calls it an error that nothing more has come.
            let _ = self.session.reader().read_to_end(&mut self.received);
        }
    }

    /// Carry ciphertext both ways.
    pub fn talk(&mut self, rig: &mut Rig) {
        self.hear(rig);
        let out = self.ciphertext();
        let id = rig.id(self.index);
        rig.shard.io().write(id, &out);
    }
}

/// A login that accepts [`KEY_OP`].
pub fn token(index: usize) -> Vec<u8> {
    format!("{{\"mid\":1,\"key\":\"key{index}\",\"accepts\":[{KEY_OP}]}}").into_bytes()
}
