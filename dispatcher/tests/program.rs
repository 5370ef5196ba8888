//! The program `halley-dispatcher` without any broker: what it says of itself and of a configuration, and how it is
//! while nobody takes its records.

#[path = "kafka/process.rs"]
#[allow(dead_code, reason = "the tests with brokers use the rest")]
mod process;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use process::{PATIENCE, Program, command, run};

/// Every command does what its help says, and the help teaches: examples, answers, signals, exit codes.
#[test]
fn it_says_what_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (status, help) = run(folder.path(), &["--help"]);
    assert!(status.success());
    for part in ["Examples:", "kafka.brokers", "it appears once, or not at all", "SIGHUP", "Exit codes:"] {
        assert!(help.contains(part), "{part}");
    }
    let (status, file) = run(folder.path(), &["default-config"]);
    assert!(status.success() && file.contains("[kafka]") && file.contains("#http_listen = "));
    std::fs::write(folder.path().join("halley-dispatcher.toml"), file).expect("written");
    let (status, said) = run(folder.path(), &["check-config", "--set", "kafka.brokers=127.0.0.1:9092"]);
    assert!(status.success() && said.contains("the configuration is right"), "{said}");
    assert!(run(folder.path(), &["version"]).1.starts_with("halley-dispatcher "));
}

/// Everything that is wrong with a configuration is said at once, a sentence each, and nothing runs.
#[test]
fn a_wrong_configuration_is_refused_with_a_sentence_for_each_mistake() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong =
        "http_listen = [\"0.0.0.0:0\"]\npush_tokn = \"x\"\n[kafka]\nbrokers = [\"nowhere\"]\n[log]\nlevel = \"loud\"\n";
    std::fs::write(folder.path().join("halley-dispatcher.toml"), wrong).expect("written");
    let (status, said) = run(folder.path(), &[]);
    assert_eq!(status.code(), Some(2), "{said}");
    for part in ["push_tokn", "kafka.brokers", "log.level"] {
        assert!(
            said.lines().any(|line| line.starts_with("halley-dispatcher: ") && line.contains(part)),
            "{part}: {said}"
        );
    }
    let (status, said) = run(folder.path(), &["--config", "/dev/null"]);
    assert_eq!(status.code(), Some(2));
    assert!(said.contains("kafka.brokers"), "without brokers there is nobody to give a push to: {said}");
}

/// With no broker it lives, is not ready, and refuses a push at once for what will not appear; a stop ends it in order.
#[test]
fn without_brokers_it_lives_and_refuses() {
    let folder = tempfile::tempdir().expect("a folder");
    // Nobody listens on port 1.
    let mut program = Program::start(folder.path(), &["--set", "kafka.brokers=127.0.0.1:1"]);
    assert_eq!(program.get("/healthz"), (200, "ok\n".to_owned()));
    let started = Instant::now();
    // Once it has tried the broker it says which.
    while !program.get("/readyz").1.contains("127.0.0.1:1") {
        assert!(started.elapsed() < PATIENCE, "{:?}", program.get("/readyz"));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(program.get("/readyz").0, 503);
    let began = Instant::now();
    let (status, said) = program.push("nobody hears it");
    assert_eq!(status, 503, "{said}");
    assert!(began.elapsed() < PATIENCE && said.contains("127.0.0.1:1"), "{said}");
    let (status, said) = program.get("/v1/online");
    assert!(status == 501 && said.contains("ask a gateway"), "{said}");
    assert_eq!(program.get("/goim/nodes/weighted").0, 501);
    let (status, metrics) = program.get("/metrics");
    assert!(status == 200 && metrics.contains("halley_ingress_pushes_total"), "{metrics}");
    let failed =
        metrics.lines().find_map(|line| line.strip_prefix("halley_kafka_connections_failed_total{for=\"writing\"} "));
    assert!(failed.is_some_and(|failed| failed.parse::<u64>().is_ok_and(|failed| failed > 0)), "{metrics}");
    program.signal("TERM");
    assert!(program.wait_end().success());
}

/// Of two on one address the second ends at once, with its own exit code.
#[test]
fn an_address_in_use_is_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Program::start(folder.path(), &["--set", "kafka.brokers=127.0.0.1:1"]);
    let taken = first.http.to_string();
    let mut second = command(folder.path(), &["--set", "kafka.brokers=127.0.0.1:1", "--http-listen", &taken]);
    let output = second.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && said.contains("http_listen") && said.contains(&taken), "{said}");
    assert_eq!(first.get("/healthz").0, 200, "the first goes on");
}

/// A limit on open files that is too low ends the start with one sentence, `check-config` names it, and what the
/// sentence asks for is enough to serve, with fewer connections, which is said.
#[test]
fn the_limit_on_open_files_bounds_connections() {
    let folder = tempfile::tempdir().expect("a folder");
    let limited = |limit: u32, arguments: &[&str]| {
        let line = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_halley-dispatcher")]).args(arguments);
        command.args(["--set", "kafka.brokers=127.0.0.1:1", "--http-listen", "127.0.0.1:0"]);
        command.args(["--grpc-listen", "127.0.0.1:0"]).current_dir(folder.path()).stdin(Stdio::null());
        command
    };
    let refused = limited(157, &[]).output().expect("it starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.starts_with("halley-dispatcher: the limit on open files is 157, at least 158 are needed: "), "{said}");
    assert_eq!((refused.status.code(), said.lines().count()), (Some(4), 1), "{said}");
    let checked = limited(157, &["check-config"]).output().expect("it starts");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && said.contains("at least 158 are needed"), "{said}");
    let said = limited(158, &["check-config"]).output().expect("it starts").stdout;
    assert!(String::from_utf8_lossy(&said).contains("connections together instead of"), "{said:?}");

    let mut child = limited(158, &[]).stdout(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut lines = lines.skip_while(|line| !line.trim_start().starts_with("http "));
    let http = lines.next().and_then(|line| line.split_whitespace().nth(1).map(str::to_owned));
    let served = http.as_ref().map(|http| {
        let mut connection = TcpStream::connect(http).expect("it listens");
        connection.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).map(|_| answer)
    });
    child.kill().and_then(|()| child.wait()).expect("ours");
    let is_noted = lines.any(|line| line.contains("connections together instead of"));
    assert!(is_noted && matches!(&served, Some(Ok(answer)) if answer.contains(" 200 ")), "{http:?} {served:?}");
}
