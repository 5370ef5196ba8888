//! What a panic ends, seen from outside: this program is started again as the process that panics.

use std::io::{PipeReader, PipeWriter, Write as _};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use halley_service::panics::{contain, contained_total, end_process};

/// Names the way in which the started process panics.
const WAY: &str = "PANICS_TEST_WAY";
const EXIT_CODE: i32 = 7;
/// Nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

fn last_words() {
    println!("last words");
}

/// The process that panics; as a test of its own it does nothing.
#[test]
fn child() {
    let Ok(way) = std::env::var(WAY) else { return };
    end_process("the program", EXIT_CODE, last_words);
    let contained = contain("a library", || panic!("on a peer's bytes")).map_err(|error| error.to_string());
    println!("{contained:?} {}", contained_total());
    match way.as_str() {
        "here" => panic!("our own"),
        // Nobody waits for the thread, as nobody waits for a shard.
        _ => {
            let thread = std::thread::Builder::new().name("worker".to_owned());
            let _ = thread.spawn(|| panic!("our own")).map(std::thread::JoinHandle::join);
            println!("goes on");
        }
    }
}

fn command(way: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "child", "--nocapture", "--test-threads", "1"]).env(WAY, way).env_remove("RUST_BACKTRACE");
    command
}

fn run(way: &str) -> Output {
    command(way).output().expect("it starts")
}

/// A contained panic is silent and ends nothing; any other, on any thread, ends the process with one sentence after its
/// last words.
#[test]
fn a_panic_ends_the_process_unless_it_is_contained() {
    for (way, thread) in [("here", "child"), ("there", "worker")] {
        let output = run(way);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(EXIT_CODE), "{out}{err}");
        assert!(out.contains("Err(\"a library panicked: on a peer's bytes at "), "{out}");
        assert!(out.contains("last words") && !out.contains("goes on"), "{out}");
        let sentence = format!("the program: internal error on thread {thread} at ");
        assert!(err.starts_with(&sentence) && err.ends_with(": our own; please report this\n"), "{err}");
        assert_eq!(err.lines().count(), 1, "one sentence, and none about what was contained: {err}");
    }
}

/// A pipe that is full, and its reader, who does not read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let flags = rustix::fs::fcntl_getfl(&writer).expect("a pipe");
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).expect("a pipe");
    for bytes in [4096, 1] {
        while writer.write(&vec![0; bytes]).is_ok() {}
    }
    rustix::fs::fcntl_setfl(&writer, flags).expect("a pipe");
    (reader, writer)
}

/// A process that has panicked must not live on because nobody reads what it says.
#[test]
fn a_panic_ends_the_process_though_nobody_reads_of_it() {
    for way in ["here", "there"] {
        let (_reader, writer) = full_pipe();
        let mut child = command(way).stdout(Stdio::null()).stderr(writer).spawn().expect("it starts");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break Some(status);
            }
            if Instant::now() > deadline {
                child.kill().and_then(|()| child.wait()).expect("it can be killed");
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.map(|status| status.code()), Some(Some(EXIT_CODE)), "{way}: it lives on");
    }
}
