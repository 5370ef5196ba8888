//! A program of ours as a process of the test. Owns its addresses, its log and its end; judges nothing.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};

/// How long a start may take on a machine that is busy. Only failures wait so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program, started again and again at the same addresses.
pub struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    /// Clients over TCP; of a gateway.
    pub tcp: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
}

/// A free address of this machine, outside of the range from which clients' ports come, so that it stays free while its
/// program is away.
fn free_address() -> SocketAddr {
    let mut rng = SmallRng::from_os_rng();
    let free = || {
        let port = rng.random_range(10_000..20_000_u16);
        TcpListener::bind(("127.0.0.1", port)).ok().map(|socket| socket.local_addr().expect("an address"))
    };
    std::iter::repeat_with(free).flatten().next().expect("some port is free")
}

impl Program {
    /// A gateway of this cluster.
    pub fn gateway(name: &str, folder: &Path, settings: &[String]) -> Program {
        let own = PathBuf::from(env!("CARGO_BIN_EXE_halley-gateway"));
        let (tcp, http) = (free_address(), free_address());
        let arguments = [
            format!("--tcp-listen={tcp}"),
            format!("--http-listen={http}"),
            "--ws-listen=127.0.0.1:0".to_owned(),
            "--grpc-listen=127.0.0.1:0".to_owned(),
            "--shards=1".to_owned(),
            format!("--set=node.server_id={name}"),
        ];
        Program::new(name, own, folder, [&arguments, settings].concat(), tcp, http)
    }

    /// A dispatcher of this cluster; it is compiled beside the gateway.
    pub fn dispatcher(folder: &Path, settings: &[String]) -> Program {
        let own = PathBuf::from(env!("CARGO_BIN_EXE_halley-gateway")).with_file_name("halley-dispatcher");
        assert!(own.exists(), "{} is missing: `cargo build --all-features -p halley-dispatcher`", own.display());
        let http = free_address();
        let arguments = [format!("--http-listen={http}"), "--grpc-listen=127.0.0.1:0".to_owned()];
        Program::new("dispatcher", own, folder, [&arguments, settings].concat(), http, http)
    }

    fn new(
        name: &str,
        path: PathBuf,
        folder: &Path,
        arguments: Vec<String>,
        tcp: SocketAddr,
        http: SocketAddr,
    ) -> Program {
        let log = folder.join(format!("{name}.log"));
        Program { name: name.to_owned(), path, arguments, log, child: None, tcp, http }
    }

    /// Starts it, unless it runs, and waits until it is ready.
    pub async fn start(&mut self) {
        if !self.runs() {
            let log = File::options().create(true).append(true).open(&self.log).expect("a log");
            let mut command = Command::new(&self.path);
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with("HALLEY_") {
                    command.env_remove(name);
                }
            }
            command.args(&self.arguments).current_dir(self.log.parent().expect("a folder")).stdin(Stdio::null());
            command.stdout(log.try_clone().expect("the log twice")).stderr(log);
            self.child = Some(command.spawn().expect("it starts"));
        }
        let deadline = Instant::now() + PATIENCE;
        while !crate::pushes::is_ready(self.http).await {
            assert!(self.runs(), "{} has ended:\n{}", self.name, self.log_end());
            assert!(Instant::now() < deadline, "{} is not ready within {PATIENCE:?}:\n{}", self.name, self.log_end());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("ours").is_none())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("ours");
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until it has ended in order.
    pub async fn wait_end(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.runs() {
            assert!(Instant::now() < deadline, "{} does not end within {PATIENCE:?}:\n{}", self.name, self.log_end());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let status = self.child.take().and_then(|mut child| child.wait().ok());
        assert!(status.is_some_and(|status| status.success()), "{}: {status:?}\n{}", self.name, self.log_end());
    }

    /// The last of what it wrote.
    pub fn log_end(&self) -> String {
        let text = std::fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}\n---", self.name, self.log_end());
        }
        self.kill();
    }
}
