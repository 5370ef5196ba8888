//! README.md as a newcomer follows it: every command is run, in order, against a gateway started by its first one, and
//! must print what stands below it. Ports are replaced by free ones; `…` in an expectation stands for anything.
//!
//! A `console` block holds commands (`$ …`, with their here-documents) and what they print. One marked `console waits`
//! goes on running in a terminal of its own until the end of the tour; what it prints is compared there. A `sh` block
//! holds commands alone; the one that starts the gateway is run for real, with ports of the test's own.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::gateway::Addresses;

/// The command that starts the gateway, and the one that runs the tests.
const START: &str = "cargo run --release";
const TEST: &str = "./test";
/// A release build from nothing may take this long.
const BUILD: Duration = Duration::from_secs(1800);

/// A block of commands.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    language: String,
    waits: bool,
    steps: Vec<Step>,
}

/// One command and what it prints.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    command: String,
    prints: Vec<String>,
}

#[test]
fn every_command_does_what_the_readme_says() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("a README");
    let blocks = blocks(&readme);
    let alone: Vec<&str> =
        blocks.iter().filter(|b| b.language == "sh").flat_map(|b| &b.steps).map(|s| s.command.as_str()).collect();
    assert!(alone.contains(&START) && alone.contains(&TEST), "the two commands stand in the README: {alone:?}");

    let folder = tempfile::tempdir().expect("a folder");
    let (mut gateway, addresses) = start(&root, folder.path());
    let ports = [
        ("3101", addresses.tcp[0]),
        ("3102", addresses.ws[0]),
        ("3111", addresses.http[0]),
        ("3109", addresses.grpc[0]),
    ];
    let cluster = Cluster::new(&root);
    let replaced = |text: &str| {
        let text = cluster.replaced(text);
        ports.iter().fold(text, |text, (port, address)| text.replace(port, &address.port().to_string()))
    };

    let mut waiting: Vec<(Terminal, Vec<String>)> = Vec::new();
    let mut ran = 0;
    for block in &blocks {
        for step in &block.steps {
            let command = replaced(&step.command);
            let expected: Vec<String> = step.prints.iter().map(|line| replaced(line)).collect();
            ran += 1;
            if block.language == "sh" {
                alone_command(&root, &cluster, &command);
            } else if block.waits {
                let terminal = Terminal::open(&root, &command);
                // It is ready when it has printed its first line.
                eventually(&format!("{command} prints something"), || (!terminal.lines().is_empty()).then_some(()));
                waiting.push((terminal, expected));
            } else {
                let output = shell(&root, &command).output().expect("bash runs");
                let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
                let lines: Vec<&str> = text.lines().collect();
                assert!(matches(&lines, &expected), "$ {command}\nprinted {lines:#?}\nREADME.md says {expected:#?}");
                assert!(output.status.success(), "$ {command}: {}", output.status);
            }
        }
    }
    assert!(ran >= 6, "the README has a tour: {ran} commands");
    for (terminal, expected) in &waiting {
        eventually(&format!("the waiting client printed {expected:#?}, not {:#?}", terminal.lines()), || {
            let lines = terminal.lines();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            matches(&lines, expected).then_some(())
        });
    }
    drop((waiting, cluster));
    let _ = gateway.kill();
    let _ = gateway.wait();
}

/// The commands that stand alone: the start has been run, the tests are running, others are run here.
fn alone_command(root: &std::path::Path, cluster: &Cluster, command: &str) {
    match command {
        START => {}
        command if command == TEST || command.starts_with("./test ") => {
            // This very test is part of it; that it is there and knows its parts is what can be seen from inside.
            assert!(shell(root, "./test list").output().expect("bash runs").status.success());
        }
        other if other.starts_with("./cluster ") => {
            assert!(cluster.own(shell(root, other)).status().expect("bash runs").success(), "$ {other}");
        }
        other => assert!(shell(root, other).status().expect("bash runs").success(), "$ {other}"),
    }
}

/// The cluster of the README, on ports and in a folder of its own, with the programs that the tests are compiled with.
struct Cluster {
    root: PathBuf,
    base: u16,
}

impl Cluster {
    /// The first of its ports in the README.
    const BASE: u16 = 4100;
    /// Where it listens, from the first port on.
    const OFFSETS: [u16; 10] = [1, 2, 9, 11, 101, 102, 109, 111, 211, 219];

    fn new(root: &std::path::Path) -> Cluster {
        let is_free = |base: &u16| {
            Cluster::OFFSETS.iter().all(|offset| std::net::TcpListener::bind(("127.0.0.1", base + offset)).is_ok())
        };
        let base = (11_000..20_000).step_by(1_000).find(is_free).expect("some ports are free");
        Cluster { root: root.to_owned(), base }
    }

    fn replaced(&self, text: &str) -> String {
        let ports = Cluster::OFFSETS.map(|offset| (Cluster::BASE + offset, self.base + offset));
        ports.iter().fold(text.to_owned(), |text, (shown, own)| text.replace(&shown.to_string(), &own.to_string()))
    }

    fn own(&self, mut command: Command) -> Command {
        let programs = std::path::Path::new(env!("CARGO_BIN_EXE_halley-gateway")).parent().expect("a folder");
        let home = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster");
        command.env("HALLEY_CLUSTER_PORTS", self.base.to_string()).env("HALLEY_CLUSTER_HOME", home);
        command.env("HALLEY_CLUSTER_PROGRAMS", programs);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Whatever a failure has left of it; it says so when there is nothing.
        let _ = self.own(shell(&self.root, "./cluster down")).output();
    }
}

/// Runs the README's own start command; the ports come behind it.
fn start(root: &std::path::Path, folder: &std::path::Path) -> (Child, Addresses) {
    let ready = folder.join("ready.json");
    let mut command = START.split(' ');
    let mut gateway = Command::new(command.next().expect("a program"));
    gateway.args(command).args(["--", "--ready-file"]).arg(&ready);
    for listener in ["tcp", "ws", "http", "grpc"] {
        gateway.arg(format!("--{listener}-listen")).arg("127.0.0.1:0");
    }
    let log = std::fs::File::create(folder.join("log")).expect("a log");
    gateway.current_dir(root).stdin(Stdio::null()).stdout(log.try_clone().expect("the log twice")).stderr(log);
    let mut gateway = gateway.spawn().expect("cargo runs");
    let deadline = Instant::now() + BUILD;
    loop {
        if let Ok(text) = std::fs::read_to_string(&ready) {
            return (gateway, Addresses::parse(&text));
        }
        let ended = gateway.try_wait().expect("the child can be waited for");
        let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(ended.is_none() && Instant::now() < deadline, "`{START}` does not start a gateway:\n{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn shell(root: &std::path::Path, command: &str) -> Command {
    // One that never ends is killed.
    let mut shell = Command::new("timeout");
    shell.args(["--signal=KILL", "300", "bash", "-c", command]).current_dir(root).stdin(Stdio::null());
    shell
}

/// A command that goes on running while its output is read.
struct Terminal {
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open(root: &std::path::Path, command: &str) -> Terminal {
        let mut child = shell(root, &format!("exec {command}")).stdout(Stdio::piped()).spawn().expect("bash runs");
        let output = Arc::new(Mutex::new(Vec::new()));
        let mut pipe = child.stdout.take().expect("piped");
        let copy = Arc::clone(&output);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(got @ 1..) = pipe.read(&mut piece) {
                copy.lock().expect("nobody panicked").extend_from_slice(&piece[..got]);
            }
        });
        Terminal { child, output }
    }

    fn lines(&self) -> Vec<String> {
        let output = self.output.lock().expect("nobody panicked");
        String::from_utf8_lossy(&output).lines().map(str::to_owned).collect()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The blocks of a Markdown text that hold commands.
fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let mut words = info.split(' ');
        let language = words.next().unwrap_or_default();
        let waits = words.next() == Some("waits");
        let steps = match language {
            "sh" => inside.iter().map(|line| Step { command: (*line).to_owned(), prints: Vec::new() }).collect(),
            "console" => console(&inside),
            _ => continue,
        };
        blocks.push(Block { language: language.to_owned(), waits, steps });
    }
    blocks
}

/// The commands of a console block. A command with `<<'END'` goes on to the line `END`.
fn console(lines: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("$ ") else {
            steps.last_mut().expect("a block begins with a command").prints.push((*line).to_owned());
            continue;
        };
        let mut command = command.to_owned();
        if command.ends_with("<<'END'") {
            for line in lines.by_ref() {
                command.push('\n');
                command.push_str(line);
                if *line == "END" {
                    break;
                }
            }
        }
        while command.ends_with('\\') {
            command.push('\n');
            command.push_str(lines.next().expect("a command goes on after a backslash"));
        }
        steps.push(Step { command, prints: Vec::new() });
    }
    steps
}

/// Whether the lines are those expected.
fn matches(lines: &[&str], expected: &[String]) -> bool {
    lines.len() == expected.len() && lines.iter().zip(expected).all(|(line, expected)| matches_line(line, expected))
}

/// Whether a line is the expected one, in which `…` stands for any text.
fn matches_line(line: &str, expected: &str) -> bool {
    let mut pieces = expected.split('…');
    let Some(mut rest) = pieces.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut pieces = pieces.peekable();
    let mut open = false;
    while let Some(piece) = pieces.next() {
        open = true;
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    !open && rest.is_empty()
}

/// The reader of blocks finds what it must and refuses what differs: without this the test above could be empty.
#[test]
fn blocks_are_read_and_compared() {
    let text = "x\n```sh\ncargo run --release\n```\n```console waits\n$ python3 - <<'END'\na\nEND\nop \
        8\n```\n```json\n{}\n```\n```console\n$ a \\\n  b\nx…z\n$ c\n```\n";
    let read = blocks(text);
    let commands: Vec<(&str, bool, usize)> =
        read.iter().flat_map(|b| b.steps.iter().map(|s| (s.command.as_str(), b.waits, s.prints.len()))).collect();
    let expected = [
        ("cargo run --release", false, 0),
        ("python3 - <<'END'\na\nEND", true, 1),
        ("a \\\n  b", false, 1),
        ("c", false, 0),
    ];
    assert_eq!(commands, expected);
    assert!(matches_line("xyz", "x…z") && matches_line("xz", "x…z") && matches_line("abc", "…"));
    assert!(!matches_line("xyz!", "x…z") && !matches_line("xy", "xyz") && !matches_line("xyzz", "xyz"));
    assert!(!matches(&["a", "b"], &["a".to_owned()]));
}
