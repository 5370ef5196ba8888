//! How to reach a Kafka cluster. Owns the values that the client runs with, their units and defaults; reads no file and
//! checks nothing that only a broker knows. Next step: [`super::cluster`].

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use halley_service::config::value::text::Secret;

/// Brokers, topic, and how to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to begin, each `host:port` (an IPv6 address in brackets). The cluster itself says where its brokers are.
    pub brokers: Vec<String>,
    /// The topic of pushes; goim's name by default.
    pub topic: String,
    /// What brokers call us in their logs, metrics and quotas.
    pub client_id: String,
    /// Encrypt connections.
    pub tls: Option<Tls>,
    /// Log in.
    pub sasl: Option<Sasl>,
    /// For one address of a broker: name, connection, TLS and log-in together; 10 s.
    pub connect_timeout: Duration,
    /// For the answer to a request, above what the request itself lets the broker wait; 30 s.
    pub request_timeout: Duration,
    /// Bytes of an answer to a read at most: above the bytes asked for plus the longest batch; 64 MiB.
    pub read_answer_bytes_max: u32,
    /// Between attempts to reach a broker: the first pause and the longest; 50 ms and 1 s.
    pub reconnect_pause: (Duration, Duration),
}

/// Bytes of an answer that is none to a read, at most; metadata of a large cluster are far below.
pub const ANSWER_BYTES_MAX: u32 = 16 * 1024 * 1024;

impl Settings {
    /// Defaults for these brokers.
    pub fn new(brokers: Vec<String>) -> Settings {
        Settings {
            brokers,
            topic: "goim-push-topic".to_owned(),
            client_id: "halley".to_owned(),
            tls: None,
            sasl: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            read_answer_bytes_max: 64 * 1024 * 1024,
            reconnect_pause: (Duration::from_millis(50), Duration::from_secs(1)),
        }
    }
}

/// TLS to the brokers. The name that a certificate must be valid for is the host that the broker advertises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authorities that signed the brokers' certificates.
    pub ca: PathBuf,
    /// Who we are, where the brokers ask for it.
    pub identity: Option<Identity>,
}

/// A client certificate. Both files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by the intermediate ones.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A user of the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// How the password is proved.
    pub mechanism: Mechanism,
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// By showing it (RFC 4616): only inside TLS, or where nobody listens.
    Plain,
    /// RFC 5802 with SHA-256 (RFC 7677).
    ScramSha256,
    /// RFC 5802 with SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// Its name in SASL.
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The host and the port of `host:port`, brackets of an IPv6 address left out. `None` where there is no such pair.
pub fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_plain = !host.is_empty() && !host.contains([':', '[', ']', '/', ' ']);
    let host = bare.filter(|host| host.contains(':')).or(is_plain.then_some(host))?;
    Some((host, port.parse().ok().filter(|&port| port != 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(host_and_port("kafka-1.example:9092"), Some(("kafka-1.example", 9092)));
        assert_eq!(host_and_port("[2001:db8::1]:9092"), Some(("2001:db8::1", 9092)));
        for wrong in
            ["", "kafka", "kafka:", ":9092", "kafka:0", "kafka:70000", "2001:db8::1:9092", "http://a:80", "[a]:1"]
        {
            assert_eq!(host_and_port(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let password = Secret("hunter2".to_owned());
        let sasl = Sasl { mechanism: Mechanism::Plain, user: "halley".to_owned(), password };
        let settings = Settings { sasl: Some(sasl), ..Settings::new(Vec::new()) };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
