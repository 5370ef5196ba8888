//! That brokers let us in by every door that we know, and that who is kept out hears in a sentence why: TLS with an
//! authority of our own and with a client certificate, SASL with each mechanism, and both.

use std::path::Path;
use std::time::Duration;

use halley_dispatcher::bus::kafka::settings::{Identity, Mechanism, Sasl, Settings, Tls};
use halley_service::config::value::text::Secret;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::brokers::{Brokers, GUEST, Listener, Record, Setup, USER, VERSIONS};
use crate::ours::Ours;

/// An authority, a certificate of it for the brokers and one for us, and an authority that signed neither.
pub fn certificates(folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
    let mut authority = CertificateParams::new(Vec::new()).expect("no name");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (key, stranger) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
    write("ca.pem", &authority.self_signed(&key).expect("signed").pem());
    write("stranger.pem", &authority.self_signed(&stranger).expect("signed").pem());
    let issuer = Issuer::new(authority, key);
    let signed = |names: Vec<String>| {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(names).expect("names").signed_by(&key, &issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]);
    write("server.pem", &format!("{key}{certificate}"));
    let (certificate, key) = signed(vec!["halley.example".to_owned()]);
    write("client.pem", &certificate);
    write("client.key", &key);
}

fn settings(brokers: &Brokers, listener: Listener) -> Settings {
    let brokers = brokers.addresses(listener).iter().map(ToString::to_string).collect();
    Settings { topic: "doors".to_owned(), connect_timeout: Duration::from_secs(5), ..Settings::new(brokers) }
}

fn sasl(mechanism: Mechanism, (user, password): (&str, &str)) -> Option<Sasl> {
    Some(Sasl { mechanism, user: user.to_owned(), password: Secret(password.to_owned()) })
}

/// Reads the one record of the topic by these settings.
async fn read(settings: Settings) {
    let mut ours = Ours::new(settings);
    ours.read_up_to(&[(0, 1)]).await;
    assert_eq!(ours.records[&0][0].value.as_deref(), Some(&b"behind the door"[..]));
}

/// What somebody is told whom these settings do not let in.
async fn kept_out(settings: Settings) -> String {
    let mut ours = Ours::new(settings);
    ours.read_until("it is refused", |ours| ours.trouble.is_some()).await;
    ours.trouble.expect("it was waited for").to_string()
}

/// Every listener of every version.
#[tokio::test]
async fn every_door_opens_with_the_right_key_and_says_why_it_does_not_with_a_wrong_one() {
    for version in VERSIONS {
        let folder = tempfile::tempdir().expect("a folder");
        certificates(folder.path());
        // Short, so that a session ends while it is read by: the connection must go on.
        let setup = Setup::new(1).version(version).sasl().tls(folder.path());
        let brokers = setup.property("connections.max.reauth.ms=3000").start();
        brokers.create_topic("doors", 1, &json!({}));
        brokers.produce("doors", 0, &[Record::new("k", "behind the door")], &json!({}), None);
        let tls = |ca: &str| Some(Tls { ca: folder.path().join(ca), identity: None });
        for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
            read(Settings { sasl: sasl(mechanism, USER), ..settings(&brokers, Listener::Sasl) }).await;
            let secured = Settings { tls: tls("ca.pem"), ..settings(&brokers, Listener::SaslTls) };
            read(Settings { sasl: sasl(mechanism, USER), ..secured }).await;
            let wrong = sasl(mechanism, (USER.0, "wrong"));
            let said = kept_out(Settings { sasl: wrong, ..settings(&brokers, Listener::Sasl) }).await;
            assert!(said.contains("halley") && !said.contains("wrong"), "{mechanism}: {said}");
            let said = kept_out(Settings { sasl: sasl(mechanism, GUEST), ..settings(&brokers, Listener::Sasl) }).await;
            assert!(said.contains("doors"), "who may nothing hears of which topic: {said}");
        }
        let identity =
            Identity { certificate: folder.path().join("client.pem"), key: folder.path().join("client.key") };
        read(Settings { tls: tls("ca.pem"), ..settings(&brokers, Listener::Tls) }).await;
        let known = Some(Tls { identity: Some(identity), ..tls("ca.pem").expect("some") });
        read(Settings { tls: known, ..settings(&brokers, Listener::MutualTls) }).await;
        for (listener, ca) in [(Listener::Tls, "stranger.pem"), (Listener::MutualTls, "ca.pem")] {
            let said = kept_out(Settings { tls: tls(ca), ..settings(&brokers, listener) }).await;
            assert!(said.to_lowercase().contains("certificate"), "{listener:?}: {said}");
        }
        outlive(&brokers, Settings { sasl: sasl(Mechanism::ScramSha256, USER), ..settings(&brokers, Listener::Sasl) })
            .await;
    }
}

/// A session that ends meanwhile is renewed, and nothing is missed.
async fn outlive(brokers: &Brokers, settings: Settings) {
    let mut ours = Ours::new(settings);
    for count in 1..6 {
        brokers.produce("doors", 0, &[Record::new("k", format!("{count}"))], &json!({}), None);
        ours.read_up_to(&[(0, count + 1)]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(ours.trouble, None);
}
