//! The real program as a process: started on ports of its own, ended by its process id, its log kept for the case of a
//! failure.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::PATIENCE;
use super::http::{self, Response};
use super::metrics::Metrics;

/// Where the gateway listens, from its ready file.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    pub tcp: Vec<SocketAddr>,
    pub ws: Vec<SocketAddr>,
    pub tls: Vec<SocketAddr>,
    pub wss: Vec<SocketAddr>,
    pub http: Vec<SocketAddr>,
    pub grpc: Vec<SocketAddr>,
}

impl Addresses {
    /// From the text of a ready file.
    pub fn parse(ready: &str) -> Addresses {
        let ready: serde_json::Value = serde_json::from_str(ready).expect("the ready file is whole JSON");
        let list = |name: &str| -> Vec<SocketAddr> {
            let entries = ready[name].as_array().cloned().unwrap_or_default();
            entries.iter().map(|a| a.as_str().expect("text").parse().expect("an address")).collect()
        };
        Addresses {
            tcp: list("tcp"),
            ws: list("ws"),
            tls: list("tls"),
            wss: list("wss"),
            http: list("http"),
            grpc: list("grpc"),
        }
    }
}

/// A running gateway. Dropping it kills the process; when the test is failing its log is printed first.
pub struct Gateway {
    child: Child,
    pub addresses: Addresses,
    folder: TempDir,
    config: PathBuf,
    ended: Option<ExitStatus>,
}

/// How to start one.
#[derive(Clone, Debug, Default)]
pub struct Start {
    config: String,
    arguments: Vec<String>,
    ports: bool,
    ready_file: Option<PathBuf>,
}

impl Start {
    /// One shard, every listener on a free loopback port.
    pub fn new() -> Start {
        Start { ports: true, ..Start::default() }.argument("--shards").argument("1")
    }

    /// Lines of the configuration file.
    pub fn config(mut self, toml: &str) -> Start {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    pub fn argument(mut self, argument: impl Into<String>) -> Start {
        self.arguments.push(argument.into());
        self
    }

    /// Shards in place of one.
    pub fn shards(mut self, shards: u16) -> Start {
        let at = self.arguments.iter().position(|a| a == "--shards").expect("every start names its shards");
        self.arguments[at + 1] = shards.to_string();
        self
    }

    /// Leaves the listeners as the program, the configuration and the arguments have them.
    pub fn own_ports(mut self) -> Start {
        self.ports = false;
        self
    }

    /// Says that it serves in this file, in place of one in a folder of its own.
    pub fn ready_file(mut self, path: &Path) -> Start {
        self.ready_file = Some(path.to_owned());
        self
    }

    pub fn command(&self, folder: &Path) -> Command {
        let config = folder.join("halley.toml");
        std::fs::write(&config, &self.config).expect("the configuration is written");
        let mut command = Command::new(program());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HALLEY_") {
                command.env_remove(name);
            }
        }
        let ready_file = self.ready_file.clone().unwrap_or_else(|| folder.join("ready.json"));
        command.arg("--config").arg(config).arg("--ready-file").arg(ready_file);
        if self.ports {
            for listener in ["tcp", "ws", "http", "grpc"] {
                command.arg(format!("--{listener}-listen")).arg("127.0.0.1:0");
            }
        }
        command.args(&self.arguments).stdin(Stdio::null());
        command
    }

    /// Starts and waits until every listener accepts.
    pub fn run(self) -> Gateway {
        let folder = tempfile::Builder::new().prefix("halley-test-").tempdir().expect("a folder for the gateway");
        let log = File::create(folder.path().join("log")).expect("a log file");
        let child = self
            .command(folder.path())
            .stdout(log.try_clone().expect("the log file twice"))
            .stderr(log)
            .spawn()
            .expect("the gateway starts");
        let config = folder.path().join("halley.toml");
        let mut gateway = Gateway { child, addresses: Addresses::default(), folder, config, ended: None };
        gateway.addresses = gateway.wait_ready();
        gateway
    }

    /// Starts what must refuse to run: its exit status and everything it wrote.
    pub fn refused(self) -> (ExitStatus, String) {
        let folder = tempfile::tempdir().expect("a folder for the gateway");
        let path = folder.path().join("log");
        let log = File::create(&path).expect("a log file");
        let mut command = self.command(folder.path());
        let mut child =
            command.stdout(log.try_clone().expect("the log file twice")).stderr(log).spawn().expect("it starts");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = || std::fs::read_to_string(&path).expect("messages are UTF-8");
            if let Some(status) = child.try_wait().expect("the child can be waited for") {
                return (status, text());
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the gateway runs, though it should have refused to:\n{}", text());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The program under test; `HALLEY_TEST_PROGRAM` names another build of it.
pub fn program() -> PathBuf {
    std::env::var_os("HALLEY_TEST_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_halley-gateway").into(), PathBuf::from)
}

impl Gateway {
    /// One shard with the defaults.
    pub fn start() -> Gateway {
        Start::new().run()
    }

    /// One shard with these configuration lines.
    pub fn with(toml: &str) -> Gateway {
        Start::new().config(toml).run()
    }

    fn wait_ready(&mut self) -> Addresses {
        let path = self.folder.path().join("ready.json");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(text) = std::fs::read_to_string(&path) {
                return Addresses::parse(&text);
            }
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                panic!("the gateway ended with {status} before it was ready:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "the gateway was not ready within {PATIENCE:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn tcp(&self) -> SocketAddr {
        self.addresses.tcp[0]
    }

    pub fn ws(&self) -> SocketAddr {
        self.addresses.ws[0]
    }

    pub fn http(&self) -> SocketAddr {
        self.addresses.http[0]
    }

    pub fn grpc(&self) -> SocketAddr {
        self.addresses.grpc[0]
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the process wrote so far.
    pub fn log(&self) -> String {
        std::fs::read(self.folder.path().join("log"))
            .map(|text| String::from_utf8_lossy(&text).into())
            .unwrap_or_default()
    }

    pub fn get(&self, path: &str) -> Response {
        http::request(self.http(), "GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Response {
        http::request(self.http(), "POST", path, &[], body)
    }

    /// `POST /v1/push`, which must succeed: its answer.
    pub fn push(&self, push: &serde_json::Value) -> serde_json::Value {
        let json = [("content-type", "application/json")];
        let response = http::request(self.http(), "POST", "/v1/push", &json, push.to_string().as_bytes());
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }

    /// Pushes text to one room (its full name) over `/v1/push`; how many connections matched.
    pub fn push_room(&self, room: &str, op: i32, text: &str) -> u64 {
        matched(&self.push(&serde_json::json!({ "target": { "room": room }, "op": op, "text": text })))
    }

    /// Pushes text to one key over `/v1/push`; how many connections matched.
    pub fn push_key(&self, key: &str, op: i32, text: &str) -> u64 {
        matched(&self.push(&serde_json::json!({ "target": { "key": key }, "op": op, "text": text })))
    }

    /// Pushes text to one user over `/v1/push`; how many connections matched.
    pub fn push_mid(&self, mid: i64, op: i32, text: &str) -> u64 {
        matched(&self.push(&serde_json::json!({ "target": { "mid": mid }, "op": op, "text": text })))
    }

    /// Pushes text to everybody over `/v1/push`; how many connections matched.
    pub fn push_all(&self, op: i32, text: &str) -> u64 {
        matched(&self.push(&serde_json::json!({ "target": { "all": true }, "op": op, "text": text })))
    }

    pub fn metrics(&self) -> Metrics {
        let response = self.get("/metrics");
        assert_eq!(response.status, 200, "{}", response.text());
        Metrics::parse(response.text())
    }

    /// Waits until the sum of a metric's samples with these labels is `value`.
    pub fn wait_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.metrics().sum(name, labels);
            if now == value {
                return;
            }
            assert!(Instant::now() < deadline, "{name}{labels:?} is {now}, not {value}, after {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until connections ended for this reason (a label of the close metric) `count` times.
    pub fn wait_closes(&self, reason: &str, count: u32) {
        self.wait_metric("halley_closes_total", &[("reason", reason)], f64::from(count));
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the gateway can be signalled");
    }

    /// Writes a new configuration file in place of the one it was started with.
    pub fn rewrite_config(&self, toml: &str) {
        let mut file = File::create(&self.config).expect("the configuration can be replaced");
        file.write_all(toml.as_bytes()).expect("the configuration can be replaced");
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the child can be waited for").is_some()
    }

    /// Waits until the process has ended by itself.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                self.ended = Some(status);
                return status;
            }
            assert!(Instant::now() < deadline, "the gateway did not end within {PATIENCE:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let died = self.ended.is_none() && self.child.try_wait().ok().flatten().is_some();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the gateway{}\n{}---", if died { ", which had died" } else { "" }, self.log());
        } else {
            assert!(!died, "the gateway died during the test:\n{}", self.log());
        }
    }
}

fn matched(answer: &serde_json::Value) -> u64 {
    assert!(answer["id"].as_str().is_some_and(|id| !id.is_empty()), "a push has an id: {answer}");
    answer["matched"].as_u64().expect("a standalone gateway tells how many connections matched")
}
