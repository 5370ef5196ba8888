//! A shared log that is not there: clients wait outside until it is, whoever asks is told what is missing, and the
//! start ends or goes on without it as configured.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::gateway::Start;
use crate::support::http;
use crate::support::*;

/// An address of this machine where nobody listens.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// While the log is not there the admin side answers and says what is missing, the address of clients is taken, and no
/// client gets in; a stop ends it at once.
#[test]
fn clients_wait_outside_until_the_log_is_read() {
    let (broker, clients, http) = (free(), free(), free());
    let config = format!(
        "tcp_listen = \"{clients}\"\nws_listen = []\ngrpc_listen = []\nhttp_listen = \"{http}\"\n\
         [kafka]\nbrokers = \"{broker}\"\n"
    );
    let folder = tempfile::Builder::new().prefix("halley-test-").tempdir().expect("a folder");
    let log = File::create(folder.path().join("log")).expect("a log file");
    let mut command = Start::new().own_ports().config(&config).command(folder.path());
    let mut running = Running(command.stdout(log.try_clone().expect("twice")).stderr(log).spawn().expect("it starts"));
    let said = eventually("it says what is missing", || {
        http::try_status(http, "/readyz").ok()?;
        let answer = http::request(http, "GET", "/readyz", &[], b"");
        Some(answer.text().to_owned()).filter(|text| answer.status == 503 && text.contains(&broker.to_string()))
    });
    assert!(said.starts_with("starting\n"), "{said}");
    assert_eq!(http::request(http, "GET", "/healthz", &[], b"").status, 200, "every thread lives");
    let metrics = http::request(http, "GET", "/metrics", &[], b"").text().to_owned();
    for of in ["reading", "writing"] {
        let name = format!("halley_kafka_connections_failed_total{{for=\"{of}\"}} ");
        let failed =
            metrics.lines().find_map(|line| line.strip_prefix(&name)).and_then(|text| text.parse::<u64>().ok());
        assert!(failed.is_some_and(|failed| failed > 0), "attempts for {of} are counted: {metrics}");
    }
    assert!(metrics.contains("halley_produce_records_total 0"), "{metrics}");
    let refused = TcpStream::connect(clients).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(TcpListener::bind(clients).expect_err("it is taken").kind(), ErrorKind::AddrInUse);
    assert!(!folder.path().join("ready.json").exists(), "nobody is told that clients can connect");
    let pid = Pid::from_child(&running.0);
    kill_process(pid, Signal::TERM).expect("it runs");
    assert_eq!(running.0.wait().expect("it ends").code(), Some(0));
}

/// A start that may not wait for ever ends with the name of what is missing.
#[test]
fn a_start_without_its_log_ends_in_time() {
    let broker = free();
    let config = format!("[kafka]\nbrokers = \"{broker}\"\nstart_timeout_seconds = 1\n");
    let (status, text) = Start::new().config(&config).refused();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("kafka.start_timeout_seconds") && text.contains(&broker.to_string()), "{text}");
}

/// A gateway that may do without its log lets clients in after that time; it is not ready all the same, and drains as
/// any other.
#[test]
fn a_gateway_may_open_without_its_log() {
    let broker = free();
    let kafka = format!("brokers = \"{broker}\"\nstart_timeout_seconds = 1\nstart_without = true\n");
    let mut gateway = Start::new().shards(2).config(&format!("drain_seconds = 0\n[kafka]\n{kafka}")).run();
    let mut clients: Vec<Client> =
        (0..8).map(|n| Transport::BOTH[n % 2].login(&gateway, 0, &format!("k{n}"), "", &[1000])).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.heartbeat(), 0, "client {number} is served");
    }
    let readiness = gateway.get("/readyz");
    assert_eq!(readiness.status, 503);
    let said = readiness.text().to_owned();
    assert!(said.starts_with("not ready\n") && said.contains(&broker.to_string()), "{said}");
    assert!(gateway.log().contains(&format!("kafka at {broker}, topic goim-push-topic")), "{}", gateway.log());
    gateway.signal(Signal::TERM);
    for client in &mut clients {
        client.wait_end();
    }
    drop(clients);
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.log());
}
