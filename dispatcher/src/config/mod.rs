//! The settings of the log, `[kafka]`: one section for every program that reads or writes it. Owns their names,
//! defaults and bounds, what they mean together, and what they are to the reader and the producer; opens nothing. A
//! program names the section in its schema.

pub mod findings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use halley_service::config::Known;
use halley_service::config::schema::Finding;
use halley_service::config::value::text::Secret;
use halley_service::config::value::words::DeValue;
use halley_service::config::value::{Fault, Value};
use halley_service::{files, shared_section, words};

use crate::bus::batch::Codec;
use crate::bus::kafka::check::Needs;
use crate::bus::kafka::produce::settings::Settings as ProducerSettings;
use crate::bus::kafka::settings::{
    self as client, Identity, Mechanism, Settings as ClientSettings, Tls, host_and_port,
};
use crate::bus::log::Edge;
use crate::consume::reader;

/// Bytes of the file with the password.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Where to begin to look for a cluster: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker(pub String);

/// How a password is proved to the brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sasl {
    /// Nobody logs in.
    None,
    /// By showing it.
    Plain,
    /// RFC 5802 with SHA-256.
    ScramSha256,
    /// RFC 5802 with SHA-512.
    ScramSha512,
}

/// How batches of records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// As gzip does.
    Gzip,
    /// As Snappy does.
    Snappy,
    /// As LZ4 does.
    Lz4,
    /// As Zstandard does.
    Zstd,
}

/// For whom records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// goim's jobs read them too.
    Goim,
    /// Halley's gateways alone.
    Halley,
}

words! {
    Sasl { None = "none", Plain = "plain", ScramSha256 = "scram-sha-256", ScramSha512 = "scram-sha-512" }
    Compression { None = "none", Gzip = "gzip", Snappy = "snappy", Lz4 = "lz4", Zstd = "zstd" }
    Records { Goim = "goim", Halley = "halley" }
}

impl Value for Broker {
    const PLACE: &'static str = "HOST:PORT";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Fault> {
        String::from_toml(value).and_then(|text| Self::from_text(&text))
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        let text = String::from_text(text)?;
        let text = text.trim();
        if host_and_port(text).is_some() {
            return Ok(Broker(text.to_owned()));
        }
        Err(Fault::Own(format!("must be host:port, such as \"kafka-1.example:9092\", not {text:?}")))
    }

    fn to_toml(&self) -> String {
        self.0.to_toml()
    }
}

/// Longest name of a topic (Kafka, `Topic.MAX_NAME_LENGTH`).
const TOPIC_BYTES_MAX: usize = 249;

shared_section! {
    /// The log of pushes, when several processes share it: an Apache Kafka cluster, 3.1 or newer. Without brokers
    /// pushes go over a log inside this process.
    "kafka" Kafka {
        /// Where to begin, each host:port, such as "kafka-1.example:9092"; the cluster itself says where its brokers
        /// are. Empty = no Kafka.
        restart brokers: Vec<Broker> = Vec::new();
        /// The topic of pushes; goim's name for it. Nobody here makes one.
        restart topic: String = "goim-push-topic".to_owned();
        /// What the brokers call us in their logs, metrics and quotas.
        restart client_id: String = "halley".to_owned();
        /// Encrypt connections to the brokers; needs tls_ca_file.
        restart tls: bool = false;
        /// PEM file of the authorities that signed the brokers' certificates.
        restart tls_ca_file: PathBuf = PathBuf::new();
        /// PEM file of our own certificate and its chain, where the brokers ask for one. Empty = none.
        restart tls_certificate_file: PathBuf = PathBuf::new();
        /// PEM file of its private key.
        restart tls_key_file: PathBuf = PathBuf::new();
        /// How we log in: "none", "plain", "scram-sha-256", "scram-sha-512".
        restart sasl_mechanism: Sasl = Sasl::None;
        /// As whom.
        restart sasl_user: String = String::new();
        /// File with the password, one line. It is read at the start.
        restart sasl_password_file: PathBuf = PathBuf::new();
        /// How batches are compressed: "none", "gzip", "snappy", "lz4", "zstd". Jobs of goim cannot read zstd.
        restart compression: Compression = Compression::None;
        /// For whom records are written: "goim" for its jobs too, "halley" for gateways alone. With "halley" the server
        /// of a record is left empty: a job of goim sees pushes to rooms and to everybody only.
        restart records: Records = Records::Goim;
        /// How long a push may wait for the brokers, in milliseconds. A broker that is killed is missed by its cluster
        /// after about nine seconds.
        restart publish_timeout_ms: u64 = 15_000, in 1_000..=300_000;
        /// Bytes of what is read and not yet delivered.
        restart memory_bytes: u64 = 64 * 1024 * 1024, in 4_194_304..=17_179_869_184;
        /// Least time between two reads of one broker, in milliseconds: what reads cost the brokers does not grow with
        /// pushes then. 5 is advised past ten gateways.
        restart fetch_interval_ms: u64 = 0, in 0..=1_000;
        /// How far behind the log a gateway may be and still catch up, in seconds. Farther behind it leaves the rest
        /// out, and sheds who is connected. Must be below the topic's retention. 0 = however far.
        restart catchup_max_seconds: u64 = 60, in 0..=86_400;
        /// The same in records, over all partitions. 0 = however many.
        restart catchup_max_records: u64 = 1_000_000, in 0..=1_000_000_000;
        /// Bytes read a second while behind. 0 = no bound.
        restart catchup_bytes_per_second: u64 = 0, in 0..=17_179_869_184;
        /// How long it takes to shed the clients that were connected when pushes were left out, in seconds.
        live gap_shed_seconds: u64 = 300, in 0..=86_400;
        /// How long the start waits for every partition of the topic before it ends, in seconds. Clients are let in
        /// when all are there. 0 = for ever.
        restart start_timeout_seconds: u64 = 0, in 0..=86_400;
        /// Let clients in after start_timeout_seconds though partitions are missing; what they hold is left out then.
        restart start_without: bool = false;
        /// Gateways that read the log together: the speed of a push to everybody is divided by it.
        live gateways: u32 = 1, in 1..=65_536;
    }
}

impl Kafka {
    /// Whether there is a shared log at all.
    pub fn is_used(&self) -> bool {
        !self.brokers.is_empty()
    }

    /// What the settings say together and that cannot stay.
    pub fn findings(&self) -> Vec<Finding> {
        let empty = |path: &PathBuf| path.as_os_str().is_empty();
        let mut findings = Vec::new();
        let mut find = |is: bool, about: &[&'static str], sentence: &str| {
            findings.extend(is.then(|| Finding::new(about, sentence)));
        };
        find(
            self.topic.is_empty(),
            &["kafka.topic"],
            "kafka.topic is empty: name the topic of pushes, goim's is \"goim-push-topic\"",
        );
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        find(
            !self.topic.bytes().all(is_legal)
                || self.topic.len() > TOPIC_BYTES_MAX
                || [".", ".."].contains(&&*self.topic),
            &["kafka.topic"],
            "kafka.topic can be no topic of Kafka: a name has up to 249 of a-z, A-Z, 0-9, \".\", \"_\" and \"-\"",
        );
        find(
            self.tls && empty(&self.tls_ca_file),
            &["kafka.tls", "kafka.tls_ca_file"],
            "kafka.tls needs kafka.tls_ca_file, the authorities that signed the brokers' certificates",
        );
        let of_tls = [&self.tls_ca_file, &self.tls_certificate_file, &self.tls_key_file];
        find(
            !self.tls && !of_tls.into_iter().all(empty),
            &["kafka.tls", "kafka.tls_ca_file", "kafka.tls_certificate_file", "kafka.tls_key_file"],
            "kafka.tls_ca_file, kafka.tls_certificate_file and kafka.tls_key_file are for TLS: set kafka.tls = true, \
             or take them out",
        );
        find(
            empty(&self.tls_certificate_file) != empty(&self.tls_key_file),
            &["kafka.tls_certificate_file", "kafka.tls_key_file"],
            "kafka.tls_certificate_file and kafka.tls_key_file belong together: give both, or neither",
        );
        let (mechanism, user, password) =
            (self.sasl_mechanism != Sasl::None, !self.sasl_user.is_empty(), !empty(&self.sasl_password_file));
        find(
            (mechanism || user || password) && !(mechanism && user && password),
            &["kafka.sasl_mechanism", "kafka.sasl_user", "kafka.sasl_password_file"],
            "kafka.sasl_mechanism, kafka.sasl_user and kafka.sasl_password_file belong together: give all, or none",
        );
        find(
            self.start_without && self.start_timeout_seconds == 0,
            &["kafka.start_without", "kafka.start_timeout_seconds"],
            "kafka.start_without lets clients in after kafka.start_timeout_seconds, which is 0, for ever: set that too",
        );
        findings
    }

    /// What is no error and should be known.
    pub fn notes(&self) -> Vec<String> {
        if !self.is_used() {
            return Vec::new();
        }
        let notes = [
            (self.sasl_mechanism == Sasl::Plain && !self.tls).then_some(
                "kafka.sasl_mechanism = \"plain\" without kafka.tls shows the password to whoever listens on the way",
            ),
            (self.tls).then_some(
                "kafka.tls costs the brokers more than encryption: they cannot hand the log on without copying it (no \
                 sendfile)",
            ),
            (self.compression == Compression::Zstd && self.records == Records::Goim).then_some(
                "kafka.compression = \"zstd\" cannot be read by jobs of goim: where they read, take another one",
            ),
            (self.records == Records::Halley).then_some(
                "kafka.records = \"halley\" leaves the server of a record empty: a job of goim that reads the same \
                 topic delivers pushes to rooms and to everybody only",
            ),
        ];
        notes.into_iter().flatten().map(str::to_owned).collect()
    }

    /// What a reader of the log is bounded by.
    pub fn reader(&self) -> reader::Settings {
        let defaults = reader::Settings::default();
        let bounded = |number: u64| if number == 0 { u64::MAX } else { number };
        let seconds = |seconds: u64| if seconds == 0 { Duration::MAX } else { Duration::from_secs(seconds) };
        reader::Settings {
            start: Edge::End,
            start_timeout: Duration::from_secs(self.start_timeout_seconds),
            start_without: self.start_without,
            memory_bytes: usize::try_from(self.memory_bytes).unwrap_or(usize::MAX),
            fetch_interval: Duration::from_millis(self.fetch_interval_ms),
            catchup_max: seconds(self.catchup_max_seconds),
            catchup_records_max: bounded(self.catchup_max_records),
            catchup_bytes_per_second: self.catchup_bytes_per_second,
            ..defaults
        }
    }

    /// How the cluster is reached; `password` is what the file of it holds.
    pub fn client(&self, password: Option<Secret>) -> ClientSettings {
        let mechanism = match self.sasl_mechanism {
            Sasl::None => None,
            Sasl::Plain => Some(Mechanism::Plain),
            Sasl::ScramSha256 => Some(Mechanism::ScramSha256),
            Sasl::ScramSha512 => Some(Mechanism::ScramSha512),
        };
        let sasl = mechanism.map(|mechanism| {
            let (user, password) = (self.sasl_user.clone(), password.unwrap_or_default());
            client::Sasl { mechanism, user, password }
        });
        let identity = (!self.tls_certificate_file.as_os_str().is_empty())
            .then(|| Identity { certificate: self.tls_certificate_file.clone(), key: self.tls_key_file.clone() });
        ClientSettings {
            topic: self.topic.clone(),
            client_id: self.client_id.clone(),
            tls: self.tls.then(|| Tls { ca: self.tls_ca_file.clone(), identity }),
            sasl,
            ..ClientSettings::new(self.brokers.iter().map(|broker| broker.0.clone()).collect())
        }
    }

    /// How pushes are written; so many of them, and so many bytes, may wait.
    pub fn producer(&self, records_max: usize, bytes_max: usize) -> ProducerSettings {
        let publish_timeout = Duration::from_millis(self.publish_timeout_ms);
        ProducerSettings { records_max, bytes_max, publish_timeout, ..ProducerSettings::default() }
    }

    /// How batches are compressed.
    pub fn codec(&self) -> Codec {
        match self.compression {
            Compression::None => Codec::None,
            Compression::Gzip => Codec::Gzip,
            Compression::Snappy => Codec::Snappy,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd => Codec::Zstd,
        }
    }

    /// What the check of a cluster asks of it, for a program that `reads` pushes too or one that only writes them.
    pub fn needs(&self, reads: bool) -> Needs {
        let bounded = self.catchup_max_seconds > 0;
        Needs { catchup_max: bounded.then(|| Duration::from_secs(self.catchup_max_seconds)), reads }
    }

    /// What the file of the password holds; none where none is named, or nobody is asked for it.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file.
    pub fn password(&self, known: &Known) -> Result<Option<Secret>, String> {
        let path = &self.sasl_password_file;
        if path.as_os_str().is_empty() || !self.is_used() || !known.all(&["kafka.sasl_password_file"]) {
            return Ok(None);
        }
        let said = |what: &str| format!("kafka.sasl_password_file {} {what}", path.display());
        let bytes = files::read(path, PASSWORD_BYTES_MAX).map_err(|why| said(&format!("cannot be read: {why}")))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| said("is not text"))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(said("holds no password")),
            line if line.contains(['\r', '\n']) => Err(said("holds several lines: the password is one")),
            line => Ok(Some(Secret(line.to_owned()))),
        }
    }

    /// The files that hold secrets and are used, each with its setting.
    pub fn secret_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let files =
            [("kafka.sasl_password_file", &*self.sasl_password_file), ("kafka.tls_key_file", &*self.tls_key_file)];
        files.into_iter().filter(|(_, path)| self.is_used() && !path.as_os_str().is_empty())
    }

    /// How a start line names the log.
    pub fn describe(&self) -> String {
        if !self.is_used() {
            return "embedded".to_owned();
        }
        let brokers: Vec<&str> = self.brokers.iter().map(|broker| broker.0.as_str()).collect();
        format!("kafka at {}, topic {}, gateways {}", brokers.join(" "), self.topic, self.gateways)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_a_host_and_a_port() {
        assert_eq!(Broker::from_text(" kafka-1.example:9092"), Ok(Broker("kafka-1.example:9092".to_owned())));
        let said = Broker::from_text("kafka-1.example").expect_err("no port").to_string();
        assert!(said.contains("host:port"), "{said}");
    }

    fn findings(edit: impl FnOnce(&mut Kafka)) -> Vec<String> {
        let mut kafka = Kafka::default();
        edit(&mut kafka);
        kafka.findings().into_iter().map(|finding| finding.sentence).collect()
    }

    /// Each half of something that needs the other half is found, and the whole is not.
    #[test]
    fn what_belongs_together_is_asked_for_together() {
        let none: [String; 0] = [];
        assert_eq!(findings(|_| ()), none);
        assert_eq!(findings(|kafka| kafka.topic = "t".repeat(TOPIC_BYTES_MAX)), none);
        let one = |edit: fn(&mut Kafka), part: &str| {
            let findings = findings(edit);
            assert!(matches!(&findings[..], [only] if only.contains(part)), "{part}: {findings:?}");
        };
        one(|kafka| kafka.topic.clear(), "kafka.topic is empty");
        one(|kafka| kafka.topic = "a b".to_owned(), "kafka.topic can be no topic of Kafka");
        one(|kafka| kafka.topic = "..".to_owned(), "kafka.topic can be no topic of Kafka");
        one(|kafka| kafka.topic = "t".repeat(TOPIC_BYTES_MAX + 1), "kafka.topic can be no topic of Kafka");
        one(|kafka| kafka.tls = true, "needs kafka.tls_ca_file");
        one(|kafka| kafka.tls_ca_file = "ca.pem".into(), "set kafka.tls = true");
        one(|kafka| kafka.sasl_mechanism = Sasl::ScramSha512, "give all, or none");
        one(|kafka| kafka.sasl_user = "halley".to_owned(), "give all, or none");
        one(|kafka| kafka.start_without = true, "which is 0, for ever");
        let certificate = |kafka: &mut Kafka| {
            kafka.tls = true;
            kafka.tls_ca_file = "ca.pem".into();
            kafka.tls_certificate_file = "own.pem".into();
        };
        one(certificate, "give both, or neither");
        let whole = |kafka: &mut Kafka| {
            certificate(kafka);
            kafka.tls_key_file = "own.key".into();
            kafka.sasl_mechanism = Sasl::Plain;
            kafka.sasl_user = "halley".to_owned();
            kafka.sasl_password_file = "password".into();
            kafka.start_without = true;
            kafka.start_timeout_seconds = 30;
        };
        assert_eq!(findings(whole), none);
    }

    /// A bound of 0 is none.
    #[test]
    fn the_reader_is_bounded_as_configured() {
        let reader = Kafka::default().reader();
        assert_eq!(reader, reader::Settings::default(), "the defaults are the reader's own");
        let free = Kafka { catchup_max_seconds: 0, catchup_max_records: 0, ..Kafka::default() }.reader();
        assert_eq!((free.catchup_max, free.catchup_records_max), (Duration::MAX, u64::MAX));
    }

    #[test]
    fn notes_are_for_those_who_use_it() {
        let doubtful = Kafka { sasl_mechanism: Sasl::Plain, records: Records::Halley, ..Kafka::default() };
        assert_eq!(doubtful.notes().len(), 0);
        let used = Kafka { brokers: vec![Broker("kafka:9092".to_owned())], ..doubtful };
        assert_eq!(used.notes().len(), 2);
        assert_eq!(used.describe(), "kafka at kafka:9092, topic goim-push-topic, gateways 1");
        assert_eq!(Kafka::default().describe(), "embedded");
    }
}
