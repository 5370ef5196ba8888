//! The program `halley-dispatcher` as a process of a test. Owns its start, its addresses, its log and its end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take on a machine that is busy with other tests. Only failures wait so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A dispatcher that runs; dropping it kills it.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    /// HTTP.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
}

/// The program with these arguments, in this folder, without variables of the test's own environment.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halley-dispatcher"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HALLEY_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// What it printed, and how it ended.
pub fn run(folder: &Path, arguments: &[&str]) -> (ExitStatus, String) {
    let output = command(folder, arguments).output().expect("it starts");
    (output.status, String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
}

impl Program {
    /// Starts it on free ports; it listens then.
    pub fn start(folder: &Path, arguments: &[&str]) -> Program {
        let ports = ["--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"];
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let mut command = command(folder, &[&ports, arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = Program { child, lines, http: unknown, grpc: unknown };
        program.http = program.address("http");
        program.grpc = program.address("grpc");
        program
    }

    /// The address after this word in the start lines.
    fn address(&self, name: &str) -> SocketAddr {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("no line of {name}: {error}"));
            let mut words = line.split_whitespace();
            if words.next() == Some(name) {
                return words.next().expect("an address").parse().expect("an address");
            }
        }
    }

    /// Status and body of an answer; `headers` end with a line end each.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(self.http).expect("it listens");
        connection.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\n\
             {headers}content-length: {length}\r\n\r\n{body}"
        );
        connection.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("it answers");
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        (status, body.to_owned())
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "", "")
    }

    /// A push to a room.
    pub fn push(&self, text: &str) -> (u16, String) {
        let push = serde_json::json!({ "target": { "room": "live://1" }, "op": 1000, "text": text });
        self.ask("POST", "/v1/push", "", &push.to_string())
    }

    /// Waits until a path is answered with this status.
    pub fn wait_status(&self, path: &str, status: u16) {
        let deadline = Instant::now() + PATIENCE;
        while self.get(path).0 != status {
            assert!(Instant::now() < deadline, "{path} is not answered with {status} within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the answer to a path has this in it.
    pub fn wait_body(&self, path: &str, part: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.get(path).1.contains(part) {
            assert!(Instant::now() < deadline, "{path} does not tell of {part} within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends it a signal, by the name that kill(1) has for it.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs").success());
    }

    /// Waits until it has ended by itself.
    pub fn wait_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
