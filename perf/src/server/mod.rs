//! The programs under measurement, behind one face: a process with a TCP or WebSocket address that fans pushes out to
//! all who logged in, told to by a [`Push`]. Owns how each is started and spoken to; measures nothing (`scenarios`
//! does).

pub(crate) mod child;
pub(crate) mod metrics;
mod push;
pub(crate) mod stepping;
pub(crate) mod usage;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

pub(crate) use self::push::Push;
use crate::baselines::bare_ring::{Totals, hex_of_bytes};
use crate::failure::{Doing, Failure, Result};
use crate::wire::{Round, Transport};
use child::Child;

/// How long a program may take until it accepts.
const READY: Duration = Duration::from_secs(20);
/// The CPU of the bare ring, and of the gateway's only shard: the first one.
pub(crate) const SERVER_CPU: usize = 0;
/// The CPU of the clients and of everything that measures.
pub(crate) const CLIENT_CPU: usize = 1;

/// A program to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The least that a push server on io_uring must do: the floor that others are measured against.
    BareRing,
    /// A build of the gateway.
    Gateway(PathBuf),
}

impl fmt::Display for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Program::BareRing => out.write_str("bare ring"),
            Program::Gateway(path) => write!(out, "gateway {}", path.display()),
        }
    }
}

/// How to start it.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// How clients talk to it.
    pub transport: Transport,
    /// Shards of a gateway.
    pub shards: u32,
    /// Connections a gateway is set up for.
    pub connections_max: u32,
    /// Other settings of a gateway, `name=value` each.
    pub settings: Vec<String>,
}

/// A program that runs. Ends with this value.
pub(crate) struct Server {
    child: Child,
    ready: Ready,
    transport: Transport,
    program: Program,
    // Last, so that the folder goes after the process that writes to it.
    _folder: TempDir,
}

/// The ready file of the gateway; the bare ring writes the part it has.
#[derive(Clone, Debug, Deserialize)]
struct Ready {
    tcp: Vec<SocketAddr>,
    #[serde(default)]
    ws: Vec<SocketAddr>,
    #[serde(default)]
    http: Vec<SocketAddr>,
    #[serde(default)]
    grpc: Vec<SocketAddr>,
    #[serde(default)]
    admin: Vec<String>,
}

impl Server {
    /// Start a program. The bare ring is told now what its rounds will send.
    pub(crate) fn start(program: &Program, setup: &Setup, round: Round) -> Result<Server> {
        let folder = TempDir::new().doing(|| "make a folder for a server's files")?;
        let ready_file = folder.path().join("ready.json");
        let (name, arguments) = match program {
            Program::BareRing => ("bare-ring", bare_ring_command(setup, round, &ready_file)?),
            Program::Gateway(path) => ("gateway", gateway_command(path, setup, folder.path(), &ready_file)?),
        };
        let mut words = arguments.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        // A process inherits where its parent may run; only then it narrows that down for itself.
        usage::unpin()?;
        let started = Child::start(command, name, folder.path());
        usage::pin_to_cpu(CLIENT_CPU)?;
        let mut child = started?;
        let ready: Ready = child.wait_ready(&ready_file, READY)?;
        Ok(Server { child, ready, transport: setup.transport, program: program.clone(), _folder: folder })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// What it is.
    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// How clients must talk to it: the bare ring knows TCP alone and is given WebSocket's bytes to send.
    pub(crate) fn transport(&self) -> Transport {
        match self.program {
            Program::BareRing => Transport::Tcp,
            Program::Gateway(_) => self.transport,
        }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        let addresses = match self.transport() {
            Transport::Tcp => &self.ready.tcp,
            Transport::Websocket => &self.ready.ws,
        };
        addresses.first().copied().ok_or_else(|| Failure::new("the server's ready file names no address for clients"))
    }

    /// Where pushes come in over HTTP.
    pub(crate) fn http(&self) -> Result<SocketAddr> {
        self.ready.http.first().copied().ok_or_else(|| Failure::new("the server's ready file names no HTTP address"))
    }

    /// Where its metrics are; `None` for a program that has none.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        self.ready.admin.iter().find_map(|address| address.parse().ok())
    }

    /// The way to make it send rounds.
    pub(crate) fn push(&mut self, round: Round, room: &str) -> Result<Push> {
        match self.program {
            Program::BareRing => {
                let input = self.child.take_input().ok_or_else(|| Failure::new("the bare ring is pushed to twice"))?;
                Ok(Push::pipe(input))
            }
            Program::Gateway(_) => {
                let grpc =
                    self.ready.grpc.first().ok_or_else(|| Failure::new("the ready file names no gRPC address"))?;
                Push::grpc(*grpc, round, room)
            }
        }
    }

    /// An error when it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.child.check()
    }

    /// What the bare ring says it did. The [`Push`] must be gone: that ends its input, and so the process.
    pub(crate) fn totals(mut self) -> Result<Totals> {
        self.child.wait_end()?;
        serde_json::from_str(&self.child.output()).doing(|| "read the bare ring's totals")
    }
}

fn bare_ring_command(setup: &Setup, round: Round, ready_file: &Path) -> Result<Vec<OsString>> {
    let own = std::env::current_exe().doing(|| "find the path of this program")?;
    Ok(vec![
        own.into(),
        "bare-ring".into(),
        "--slots".into(),
        (setup.connections_max + 64).to_string().into(),
        "--payload".into(),
        hex_of_bytes(&round.wire(setup.transport)).into(),
        "--cpu".into(),
        SERVER_CPU.to_string().into(),
        "--ready-file".into(),
        ready_file.into(),
    ])
}

fn gateway_command(path: &Path, setup: &Setup, folder: &Path, ready: &Path) -> Result<Vec<OsString>> {
    if !path.is_file() {
        return Err(Failure::new(format!(
            "there is no {}: build it with `cargo build --release -p halley-gateway`, or name another with --gateway",
            path.display()
        )));
    }
    // An empty file: a halley.toml that lies about must not change what is measured.
    let config = folder.join("halley.toml");
    std::fs::write(&config, "").doing(|| format!("write {}", config.display()))?;
    let mut words = vec![path.into(), "--config".into(), config.into()];
    for listen in ["--tcp-listen", "--ws-listen", "--http-listen", "--grpc-listen", "--admin-listen"] {
        words.extend([listen.into(), "127.0.0.1:0".into()]);
    }
    words.extend(["--shards".into(), setup.shards.to_string().into()]);
    words.extend(["--max-connections".into(), setup.connections_max.to_string().into()]);
    // Ending is not measured: no time for clients to go elsewhere.
    words.extend(["--set".into(), "drain_seconds=0".into()]);
    words.extend(setup.settings.iter().flat_map(|setting| ["--set".into(), setting.into()]));
    words.extend(["--ready-file".into(), ready.into()]);
    Ok(words)
}
