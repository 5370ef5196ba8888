//! That a program stands on this crate: the example `hello`, as a process, with everything a server of ours is expected
//! to do. It takes its settings from a file and the environment, serves, is watched, reloads, keeps what is right, and
//! drains.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// The process, ended with the value whatever the test does.
struct Hello {
    process: Child,
    log: BufReader<ChildStderr>,
    address: String,
    /// Ends the watch over the process.
    _done: mpsc::Sender<()>,
}

/// The example, beside the folder of this test's own program, where cargo puts examples. Cargo builds it with the
/// tests, unless one of them was named: then it is built here, once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let own = std::env::current_exe().expect("a path");
        let program = own.ancestors().nth(2).expect("two folders").join("examples/hello");
        if !program.exists() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--workspace", "--all-features", "--example", "hello"]);
            let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        }
        assert!(program.exists(), "{}: `cargo build --all-features --example hello` makes it", program.display());
        program
    })
}

fn pid(process: &Child) -> Pid {
    i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("a pid")
}

impl Drop for Hello {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

impl Hello {
    fn start(folder: &Path) -> Hello {
        let mut command = Command::new(program());
        command.current_dir(folder).env("HELLO_HTTP_LISTEN", "127.0.0.1:0").stderr(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let log = BufReader::new(process.stderr.take().expect("piped"));
        // Whoever waits for a line that never comes hears the end of the log then.
        let (pid, (done, ended)) = (pid(&process), mpsc::channel::<()>());
        std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        let mut hello = Hello { process, log, address: String::new(), _done: done };
        let line = hello.line_with("listening");
        let from = line.find("127.0.0.1:").expect("an address");
        hello.address = line[from..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
        hello
    }

    /// The next line of the log with this word. The end of the log is a failure.
    fn line_with(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).expect("text") > 0, "the log ended before {word:?}");
            if line.contains(word) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(pid(&self.process), signal).expect("ours");
    }

    /// Status and body of one answer.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a bound");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.get("/readyz").0 != 200 {
            assert!(Instant::now() < deadline, "not ready in time");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_program_of_sixty_lines_serves_reloads_and_drains() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hello.toml");
    std::fs::write(&file, "greeting = \"good morning\"").expect("written");
    let mut hello = Hello::start(folder.path());
    hello.wait_until_ready();
    assert_eq!(hello.get("/hello"), (200, "good morning".to_owned()));
    assert_eq!(hello.get("/healthz"), (200, "ok\n".to_owned()));
    let (status, metrics) = hello.get("/metrics");
    assert!(status == 200 && metrics.contains("process_resident_memory_bytes "), "{metrics}");

    std::fs::write(&file, "greeting = \"good night\"\nhttp_listen = \"127.0.0.1:1\"").expect("written");
    hello.signal(Signal::HUP);
    let line = hello.line_with("configuration read again");
    assert!(line.contains("good night") && !line.contains("127.0.0.1:1"), "the environment gives the address: {line}");
    assert_eq!(hello.get("/hello").1, "good night");

    for _ in 0..2 {
        std::fs::write(&file, "greeting = \"good night\"\nlog_format = \"json\"").expect("written");
        hello.signal(Signal::HUP);
        let line = hello.line_with("need a restart");
        assert!(line.contains("log_format") && !line.starts_with('{'), "what needs one stays as it is: {line}");
    }

    std::fs::write(&file, "greetin = \"\"").expect("written");
    hello.signal(Signal::HUP);
    assert!(hello.line_with("the old one stays").contains("did you mean"), "what is wrong is said");
    assert_eq!(hello.get("/hello").1, "good night");

    hello.signal(Signal::TERM);
    assert!(hello.process.wait().expect("it ends").success());
}

/// What there is to write for a program: less and it would be more than what it does, more and it would be a burden.
#[test]
fn what_runs_the_example_has_sixty_lines() {
    let text = include_str!("../examples/hello.rs");
    let code = text.split_once("fn main()").expect("it has one").1.lines().map(str::trim);
    let lines = code.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    assert!((40..=60).contains(&lines), "{lines}");
}

#[test]
fn the_settings_in_force_are_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut check = Command::new(program());
    check.current_dir(folder.path()).args(["check-config", "--effective"]).env("HELLO_GREETING", "hi");
    let ended = check.env("HALLEY_GREETING", "").output().expect("it runs");
    let shown = String::from_utf8(ended.stdout).expect("text");
    assert!(ended.status.success() && shown.starts_with("# the configuration is right: "), "{shown}");
    assert!(shown.contains("greeting = \"hi\"  # environment\n"), "{shown}");
}

#[test]
fn a_configuration_that_is_wrong_is_said_in_sentences_and_exit_2() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("hello.toml"), "greeting = \"\"\nhttp_listen = \":1\"").expect("written");
    let ended = Command::new(program()).current_dir(folder.path()).output().expect("it runs");
    let said = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(ended.status.code(), Some(2), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "hello: hello.toml, line 2: http_listen must name an address: write 0.0.0.0:1, or [::]:1 with IPv6",
            "hello: greeting is empty: say something",
        ]
    );
}
