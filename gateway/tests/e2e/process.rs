//! The life of the process, from its first moment to its last: signals before it serves, signals without a meaning, two
//! stops close together, files that do not answer, and the files it leaves behind, which are none.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::gateway::{Addresses, Start};
use crate::support::*;

/// A gateway that need not come to serve. Dropping it kills the process.
struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    /// With a configuration file that `configure` puts at a path.
    fn start(start: &Start, configure: impl FnOnce(&Path)) -> Process {
        let folder = tempfile::Builder::new().prefix("halley-test-").tempdir().expect("a folder");
        let mut command = start.command(folder.path());
        let config = folder.path().join("halley.toml");
        fs::remove_file(&config).expect("it was written");
        configure(&config);
        let log = fs::File::create(folder.path().join("log")).expect("a log file");
        let child = command.stdout(log.try_clone().expect("twice")).stderr(log).spawn().expect("it starts");
        Process { child, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).expect("UTF-8")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it can be signalled");
    }

    /// A set of signals of its state in /proc.
    fn signals(&self, name: &str) -> u64 {
        signals(self.child.id(), name)
    }

    /// Waits until a signal does not kill it any more. Before that no program can help itself.
    fn wait_for_handler(&self, signal: Signal) {
        eventually("the signal is handled", || (self.signals("SigCgt") & bit(signal) != 0).then_some(()));
    }

    fn wait_log(&self, part: &str) {
        eventually(part, || self.log().contains(part).then_some(()));
    }

    fn wait_ready(&self) -> Addresses {
        let ready = || fs::read_to_string(self.path("ready.json")).ok();
        Addresses::parse(&eventually("it serves", ready))
    }

    fn has_thread(&self, name: &str) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("a process");
        let mut names = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
        names.any(|other| other.trim_end() == name)
    }

    fn wait_exit(&mut self) -> ExitStatus {
        eventually("it ends", || self.child.try_wait().expect("a child"))
    }

    fn left_behind(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).expect("a folder");
        let names = names.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        names.filter(|name| !["log", "halley.toml"].contains(&name.as_str())).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the gateway\n{}---", self.log());
        }
    }
}

fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

fn signals(process: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a set of signals");
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("hexadecimal")
}

fn pipe(path: &Path) {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).expect("a pipe");
}

/// Writes to a pipe as soon as somebody reads.
fn feed(path: &Path, text: &str) {
    let (path, text) = (path.to_owned(), text.to_owned());
    let writer = std::thread::spawn(move || fs::write(path, text));
    eventually("somebody reads", || writer.is_finished().then_some(()));
    writer.join().expect("no panic").expect("written");
}

/// Whoever rotates certificates or logs sends SIGHUP whenever it suits him. However early it comes, the gateway serves,
/// and reads its configuration again once.
#[test]
fn a_reload_during_the_start_waits_for_its_end() {
    let process = Process::start(&Start::new(), pipe);
    process.wait_for_handler(Signal::HUP);
    for _ in 0..5 {
        process.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(20));
    }
    feed(&process.path("halley.toml"), "");
    let addresses = process.wait_ready();
    feed(&process.path("halley.toml"), "push_token = \"token-0123456789\"");
    eventually("it was read again", || {
        let answer = http::request(addresses.http[0], "POST", "/goim/push/all?operation=1", &[], b"x");
        (answer.status == 401).then_some(())
    });
    // The token is in force a little before the reload is over.
    process.wait_log("configuration read again");
    assert_eq!(process.log().matches("configuration read again").count(), 1, "{}", process.log());
}

/// The same on the way from the first instruction to serving, wherever it is met.
#[test]
fn a_reload_at_any_moment_of_the_start_kills_nobody() {
    for wait_ms in (0..20).step_by(2).chain((20..=600).step_by(58)) {
        let mut process = Process::start(&Start::new(), |config| fs::write(config, "").expect("written"));
        process.wait_for_handler(Signal::HUP);
        std::thread::sleep(Duration::from_millis(wait_ms));
        process.signal(Signal::HUP);
        process.wait_ready();
        process.wait_log("configuration read again");
        process.signal(Signal::TERM);
        assert_eq!(process.wait_exit().code(), Some(0), "{wait_ms} ms: {}", process.log());
    }
}

/// Before it serves there is nothing to drain.
#[test]
fn a_stop_during_the_start_ends_it_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::start(&Start::new(), pipe);
        process.wait_for_handler(signal);
        process.signal(signal);
        assert_eq!(process.wait_exit().code(), Some(0));
        // There is no log yet whose form it could have.
        assert_eq!(process.log(), "halley-gateway: told to stop before anything is served: ending now\n");
        assert_eq!(process.left_behind(), [""; 0]);
    }
}

/// Whoever waits for the ready file may stop the gateway at once, and clients are sent away all the same.
#[test]
fn a_stop_right_after_the_ready_file_is_in_order() {
    for _ in 0..10 {
        let mut process = Process::start(&Start::new(), |config| fs::write(config, "").expect("written"));
        process.wait_ready();
        process.signal(Signal::TERM);
        assert_eq!(process.wait_exit().code(), Some(0));
        assert!(process.log().contains("every client was sent away"), "{}", process.log());
        assert_eq!(process.left_behind(), [""; 0]);
    }
}

/// What has no meaning ends nobody's connection, and is said.
#[test]
fn signals_without_a_meaning_are_said_and_ignored() {
    let gateway = Start::new().run();
    let mut client = Transport::Tcp.login(&gateway, 0, "k", "", &[]);
    let process = gateway.pid().to_string();
    let named = ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR", "STKFLT", "XFSZ", "XCPU", "SYS", "TRAP"];
    for signal in named.iter().copied().map(str::to_owned).chain((34..=64).map(|number| number.to_string())) {
        let line = format!("kill -{signal} {process}");
        assert!(Command::new("bash").args(["-c", &line]).status().expect("bash").success(), "{signal}");
    }
    for signal in named {
        eventually(signal, || gateway.log().contains(&format!("signal=\"SIG{signal}\"")).then_some(()));
    }
    eventually("a real-time signal", || gateway.log().contains("SIGRTMIN+").then_some(()));
    assert_eq!(client.heartbeat(), 0);
}

/// The second of two stops counts however close it follows the first, however busy the machine.
#[test]
fn two_stops_close_together_end_every_drain() {
    for _ in 0..3 {
        let mut gateways: Vec<Gateway> = (0..8).map(|_| Start::new().config("drain_seconds = 3600").run()).collect();
        let clients: Vec<Client> =
            gateways.iter().map(|gateway| Transport::Tcp.login(gateway, 0, "k", "", &[])).collect();
        gateways.iter().for_each(|gateway| gateway.signal(Signal::TERM));
        for gateway in &gateways {
            // Two that the kernel has not delivered yet are one.
            let deadline = Instant::now() + PATIENCE;
            while signals(gateway.pid(), "ShdPnd") & bit(Signal::TERM) != 0 {
                assert!(Instant::now() < deadline, "the first is never delivered");
                std::thread::yield_now();
            }
            gateway.signal(Signal::TERM);
        }
        for gateway in &mut gateways {
            assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.log());
        }
        drop(clients);
    }
}

/// An end that waits for nobody leaves nothing behind that says the gateway were there.
#[test]
fn a_second_stop_leaves_no_file_behind() {
    let start = Start::new().config("drain_seconds = 3600");
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("admin.sock");
    let start = start.argument("--admin-listen").argument(format!("unix:{}", socket.display()));
    let mut process = Process::start(&start, |config| fs::write(config, "drain_seconds = 3600").expect("written"));
    let addresses = process.wait_ready();
    let _client = std::net::TcpStream::connect(addresses.tcp[0]).expect("it listens");
    assert!(socket.exists());
    process.signal(Signal::TERM);
    process.wait_log("clients are sent away");
    process.signal(Signal::INT);
    assert_eq!(process.wait_exit().code(), Some(0));
    assert!(!socket.exists());
    assert_eq!(process.left_behind(), [""; 0]);
}

/// A failure is an end like any other: what belongs to threads that go on is removed, too.
#[test]
fn a_failure_leaves_no_socket_file_behind() {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("admin.sock");
        let start = Start::new().argument("--admin-listen").argument(format!("unix:{}", socket.display()));
        let mut process = Process::start(&start, |config| fs::write(config, "").expect("written"));
        while !process.has_thread("control") {
            assert!(Instant::now() < deadline, "it never comes so far");
            std::thread::yield_now();
        }
        // What is no file cannot be replaced by the ready file, and nobody expects it so late.
        if fs::create_dir(process.path("ready.json")).is_err() {
            continue;
        }
        assert_eq!(process.wait_exit().code(), Some(2), "{}", process.log());
        assert!(process.log().contains("something that is no file is there"), "{}", process.log());
        assert!(!socket.exists());
        return assert_eq!(process.left_behind(), ["ready.json"]);
    }
}

/// A key file that does not answer hangs nobody: the gateway serves on, says which file it is, takes no second harm
/// from a second reload, stops when it is told to, and reads the file once it answers.
#[test]
fn a_file_that_does_not_answer_hangs_no_reload() {
    for stopped_meanwhile in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = folder.path().join("tokens");
        fs::write(&tokens, "token-0123456789\n").expect("written");
        let mut gateway = Start::new().config(&format!("push_token_file = \"{}\"", tokens.display())).run();
        fs::remove_file(&tokens).expect("removed");
        pipe(&tokens);
        gateway.signal(Signal::HUP);
        if stopped_meanwhile {
            gateway.signal(Signal::TERM);
            assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.log());
            continue;
        }
        assert_eq!(gateway.get("/healthz").status, 200);
        eventually("it is said", || gateway.log().contains("tokens is not over after").then_some(()));
        gateway.signal(Signal::HUP);
        eventually("it is said again", || gateway.log().contains("still does not answer").then_some(()));
        assert_eq!(gateway.get("/healthz").status, 200);
        // What it reads now comes too late for the reload that wanted it.
        feed(&tokens, "token-of-too-late\n");
        let push = |token: &str| {
            let headers = [("authorization", format!("Bearer {token}"))];
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            http::request(gateway.http(), "POST", "/goim/push/all?operation=1", &headers, b"x").status
        };
        assert_eq!((push("token-0123456789"), push("token-of-too-late")), (200, 401));
        fs::remove_file(&tokens).expect("removed");
        fs::write(&tokens, "token-of-another-day\n").expect("written");
        eventually("it is read", || {
            gateway.signal(Signal::HUP);
            (push("token-of-another-day") == 200).then_some(())
        });
    }
}

/// The same at the start, where there is nothing else to do.
#[test]
fn a_file_that_does_not_answer_ends_the_start() {
    let mut process = Process::start(&Start::new(), pipe);
    assert_eq!(process.wait_exit().code(), Some(2));
    let log = process.log();
    assert!(log.lines().count() == 1 && log.contains("halley.toml is not over after"), "{log}");
}

/// A start that fails takes nothing from the gateway that serves, and one that does not fail takes its place in the
/// file: whoever reads it finds a gateway that serves.
#[test]
fn a_ready_file_belongs_to_whoever_serves() {
    let config = |config: &Path| fs::write(config, "").expect("written");
    let mut first = Process::start(&Start::new(), config);
    let ready = first.path("ready.json");
    let addresses = first.wait_ready();
    let identity = || fs::metadata(&ready).map(|about| (about.ino(), about.mode() & 0o777)).expect("it is there");
    let before = identity();
    assert_eq!(before.1, 0o600);
    let again = |address: &str| {
        let free = ["--ws-listen", "--http-listen", "--grpc-listen"].map(|listener| format!("{listener}=127.0.0.1:0"));
        let start = Start::new().own_ports().ready_file(&ready).argument(format!("--tcp-listen={address}"));
        free.into_iter().fold(start, Start::argument)
    };
    let (status, log) = again(&addresses.tcp[0].to_string()).refused();
    assert_eq!((status.code(), identity()), (Some(3), before), "{log}");
    let mut second = Process::start(&again("127.0.0.1:0"), config);
    eventually("the second serves", || (identity() != before).then_some(()));
    first.signal(Signal::TERM);
    assert_eq!(first.wait_exit().code(), Some(0));
    assert_eq!(Addresses::parse(&fs::read_to_string(&ready).expect("it stays")).tcp.len(), 1);
    second.signal(Signal::TERM);
    assert_eq!(second.wait_exit().code(), Some(0));
    assert!(!ready.exists());
}

/// A path may be mistyped: a file that no gateway has written stays, and nothing starts. One that a dead gateway has
/// left is removed by a start that has its addresses, not by one that fails.
#[test]
fn only_what_a_gateway_has_written_is_replaced_and_only_by_one_that_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("halley.toml");
    fs::write(&path, "drain_seconds = 7\n").expect("written");
    let (status, log) = Start::new().ready_file(&path).refused();
    let refusal = "the file that is there is not a gateway's: name another path, or remove it";
    assert!(status.code() == Some(2) && log.contains(refusal), "{status} {log}");
    assert_eq!(fs::read_to_string(&path).expect("it stays"), "drain_seconds = 7\n");

    let path = folder.path().join("ready.json");
    let mut process = Process::start(&Start::new().ready_file(&path), |config| fs::write(config, "").expect("written"));
    eventually("it serves", || path.exists().then_some(()));
    process.signal(Signal::KILL);
    process.wait_exit();
    let left = fs::read_to_string(&path).expect("what a dead one leaves");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let (status, log) = Start::new().ready_file(&path).argument("--admin-listen").argument(&address).refused();
    assert_eq!((status.code(), fs::read_to_string(&path).expect("it stays")), (Some(3), left.clone()), "{log}");
    let mut process = Process::start(&Start::new().ready_file(&path), |config| fs::write(config, "").expect("written"));
    eventually("another serves", || fs::read_to_string(&path).is_ok_and(|now| now != left).then_some(()));
    process.signal(Signal::TERM);
    assert_eq!(process.wait_exit().code(), Some(0));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

/// A socket file that another process has put in the place of ours stays.
#[test]
fn a_socket_file_of_a_successor_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let mut gateway = Start::new().argument("--admin-listen").argument(format!("unix:{}", path.display())).run();
    fs::remove_file(&path).expect("removed");
    let _successor = UnixListener::bind(&path).expect("bound");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert!(path.exists());
}
