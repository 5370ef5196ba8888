//! Real Kafka for a test: a cluster of one or three brokers on this machine, which lives as long as its [`Brokers`].
//! Owns the pipe to `serve.py`, which owns the processes: when the pipe closes, by a panic or a kill, the brokers end.
//! Judges nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};

/// The versions that are tested against.
pub const VERSIONS: [&str; 2] = ["3.9.1", "4.3.1"];
/// Who may do everything on listeners with SASL: name and password.
pub const USER: (&str, &str) = ("halley", "secret-of-halley");
/// Who may log in there, and do nothing.
pub const GUEST: (&str, &str) = ("guest", "secret-of-guest");

/// A first start fetches Kafka.
const START: Duration = Duration::from_secs(600);
/// What is asked ends by itself sooner.
const ANSWER: Duration = Duration::from_secs(150);

/// What to start.
#[derive(Clone, Debug)]
pub struct Setup {
    version: &'static str,
    nodes: u8,
    sasl: bool,
    tls: Option<PathBuf>,
    properties: Vec<String>,
}

/// A listener of every broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Neither TLS nor SASL; everything is allowed.
    Plaintext,
    /// SASL: PLAIN and SCRAM.
    Sasl,
    /// TLS.
    Tls,
    /// TLS that asks for a client certificate.
    MutualTls,
    /// SASL over TLS.
    SaslTls,
}

/// A record as librdkafka writes or reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Where it is; not used for writing.
    pub offset: i64,
    /// Milliseconds since 1970; 0 for writing: now.
    pub timestamp: i64,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value; none is a tombstone.
    pub value: Option<Vec<u8>>,
}

impl Setup {
    /// The newest version, on its plaintext listener alone.
    pub fn new(nodes: u8) -> Setup {
        Setup { version: VERSIONS[1], nodes, sasl: false, tls: None, properties: Vec::new() }
    }

    /// Another one of [`VERSIONS`].
    pub fn version(mut self, version: &'static str) -> Setup {
        self.version = version;
        self
    }

    /// With the listener [`Listener::Sasl`], and an authorizer that lets [`GUEST`] do nothing.
    pub fn sasl(mut self) -> Setup {
        self.sasl = true;
        self
    }

    /// With listeners for TLS; the folder holds ca.pem, and server.pem with its key and certificate, for 127.0.0.1.
    pub fn tls(mut self, folder: &Path) -> Setup {
        self.tls = Some(folder.to_owned());
        self
    }

    /// A line of server.properties, `name=value`.
    pub fn property(mut self, line: &str) -> Setup {
        self.properties.push(line.to_owned());
        self
    }

    /// Starts it and waits until every broker serves.
    pub fn start(self) -> Brokers {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dispatcher/tests/kafka/serve.py");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("below the build folder");
        let mut command = Command::new("python3");
        command.arg(here).arg("--target").arg(target).args(["--version", self.version]);
        command.args(["--nodes", &self.nodes.to_string()]).args(self.sasl.then_some("--sasl"));
        if let Some(folder) = &self.tls {
            command.arg("--tls").arg(folder);
        }
        for line in &self.properties {
            command.args(["--property", line]);
        }
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.expect("python3 is there: on Debian `apt-get install python3`");
        let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (sender, lines) = sync_channel(1);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut brokers = Brokers { child, pipe: Mutex::new(Some(Pipe { stdin, lines })), ports: Vec::new() };
        let started = brokers.pipe.lock().expect("nobody panicked").as_ref().expect("open").answer(START);
        let ports = started.unwrap_or_else(|error| panic!("{error}"))["ports"].take();
        brokers.ports = ports.as_array().expect("a list of nodes").clone();
        brokers
    }
}

struct Pipe {
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Pipe {
    fn answer(&self, within: Duration) -> Result<Value, String> {
        let line = self.lines.recv_timeout(within).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("Kafka did not answer within {within:?}"),
            RecvTimeoutError::Disconnected => "Kafka's keeper ended: what it wrote stands above".to_owned(),
        })?;
        let mut answer: Value = serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }
}

/// A running cluster; dropping it ends it.
pub struct Brokers {
    child: Child,
    pipe: Mutex<Option<Pipe>>,
    ports: Vec<Value>,
}

impl Brokers {
    /// The addresses of a listener, one for each node, by node id from 1.
    pub fn addresses(&self, listener: Listener) -> Vec<SocketAddr> {
        let name = match listener {
            Listener::Plaintext => "PLAINTEXT",
            Listener::Sasl => "SASL",
            Listener::Tls => "TLS",
            Listener::MutualTls => "MTLS",
            Listener::SaslTls => "SASLTLS",
        };
        let port = |node: &Value| u16::try_from(node[name].as_u64().expect("the setup has this listener"));
        self.ports.iter().map(|node| ([127, 0, 0, 1], port(node).expect("a port")).into()).collect()
    }

    /// Those of the plaintext listener, as configurations want them.
    pub fn bootstrap(&self) -> Vec<String> {
        self.addresses(Listener::Plaintext).iter().map(SocketAddr::to_string).collect()
    }

    /// Anything that `serve.py` can do.
    ///
    /// # Errors
    /// What it says.
    pub fn ask(&self, what: &Value) -> Result<Value, String> {
        let mut pipe = self.pipe.lock().expect("nobody panicked");
        let pipe = pipe.as_mut().expect("open until it is dropped");
        writeln!(pipe.stdin, "{what}").map_err(|error| format!("Kafka's keeper is gone: {error}"))?;
        pipe.answer(ANSWER)
    }

    fn must(&self, what: &Value) -> Value {
        self.ask(what).unwrap_or_else(|error| panic!("{}: {error}", what["do"]))
    }

    /// Kills a node as a crash would.
    pub fn kill(&self, node: i32) {
        self.must(&json!({ "do": "kill", "node": node }));
    }

    /// Ends a node in order: it hands its partitions over first.
    pub fn stop(&self, node: i32) {
        self.must(&json!({ "do": "stop", "node": node }));
    }

    /// Stops a node in its tracks.
    pub fn pause(&self, node: i32) {
        self.must(&json!({ "do": "pause", "node": node }));
    }

    /// Lets it go on.
    pub fn resume(&self, node: i32) {
        self.must(&json!({ "do": "resume", "node": node }));
    }

    /// Starts a node that was ended, with its data; see [`Brokers::wait_ready`].
    pub fn run(&self, node: i32) {
        self.must(&json!({ "do": "run", "node": node }));
    }

    /// Waits until every node that runs serves and knows the others.
    pub fn wait_ready(&self) {
        self.must(&json!({ "do": "wait_ready" }));
    }

    /// With as many replicas as there are nodes; waits for leaders. `config` is an object of topic settings.
    pub fn create_topic(&self, topic: &str, partitions: u32, config: &Value) {
        self.must(&json!({
            "do": "create_topic", "topic": topic, "partitions": partitions, "replicas": self.ports.len(),
            "config": config,
        }));
    }

    /// Deletes it; a new one of its name can be made at once.
    pub fn delete_topic(&self, topic: &str) {
        self.must(&json!({ "do": "delete_topic", "topic": topic }));
    }

    /// Lets it grow to so many partitions.
    pub fn add_partitions(&self, topic: &str, partitions: u32) {
        self.must(&json!({ "do": "add_partitions", "topic": topic, "partitions": partitions }));
    }

    /// Sets these settings of a topic.
    pub fn alter_config(&self, topic: &str, config: &Value) {
        self.must(&json!({ "do": "alter_config", "topic": topic, "config": config }));
    }

    /// Deletes every record below this offset.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        self.must(&json!({ "do": "delete_records", "topic": topic, "partition": partition, "before": before }));
    }

    /// The node that leads a partition; none while nobody does.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        let leaders = self.must(&json!({ "do": "leaders", "topic": topic }));
        leaders[partition.to_string()].as_i64().and_then(|node| i32::try_from(node).ok()).filter(|node| *node >= 0)
    }

    /// The first offset that is there, and the one after the last.
    pub fn edges(&self, topic: &str, partition: i32) -> (i64, i64) {
        let edges = self.must(&json!({ "do": "edges", "topic": topic, "partition": partition }));
        (edges[0].as_i64().expect("an offset"), edges[1].as_i64().expect("an offset"))
    }

    /// Writes these with librdkafka, whose settings `config` is an object of; their offsets. `transaction` is `commit`,
    /// `abort` or `hang`.
    pub fn produce(
        &self,
        topic: &str,
        partition: i32,
        records: &[Record],
        config: &Value,
        transaction: Option<&str>,
    ) -> Vec<i64> {
        let records: Vec<Value> = records.iter().map(|record| record.to_json(partition)).collect();
        let offsets = self.must(&json!({
            "do": "produce", "topic": topic, "records": records, "config": config, "transaction": transaction,
        }));
        offsets.as_array().expect("a list").iter().map(|offset| offset.as_i64().expect("an offset")).collect()
    }

    /// Reads with librdkafka, uncommitted, from an offset to the end, or as far as below `until`, waiting for it.
    pub fn consume(&self, topic: &str, partition: i32, start: i64, until: Option<i64>) -> Vec<Record> {
        let records = self.must(&json!({
            "do": "consume", "topic": topic, "partition": partition, "start": start, "until": until,
        }));
        records.as_array().expect("a list").iter().map(Record::from_json).collect()
    }

    /// Runs a class of Kafka's own: what it printed.
    pub fn java(&self, main: &str, arguments: &[&str]) -> String {
        self.must(&json!({ "do": "java", "main": main, "arguments": arguments })).as_str().expect("text").to_owned()
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        // The closed pipe ends it, and the brokers with it.
        drop(self.pipe.lock().map(|mut pipe| pipe.take()));
        let _ = self.child.wait();
    }
}

impl Record {
    /// One to write.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Record {
        Record { key: Some(key.into()), value: Some(value.into()), ..Record::default() }
    }

    fn to_json(&self, partition: i32) -> Value {
        let (key, value) = (self.key.as_deref().map(hex), self.value.as_deref().map(hex));
        json!({ "partition": partition, "timestamp": self.timestamp, "key": key, "value": value })
    }

    fn from_json(record: &Value) -> Record {
        let number = |name: &str| record[name].as_i64().expect("a number");
        let bytes = |name: &str| record[name].as_str().map(unhex);
        Record { offset: number("offset"), timestamp: number("timestamp"), key: bytes("key"), value: bytes("value") }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}
