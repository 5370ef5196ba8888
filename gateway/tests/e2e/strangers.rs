//! What strangers may do to the listeners of HTTP and gRPC: hold connections, begin what they never finish, send what
//! becomes large, read nothing. None of it shuts anybody out, and none of it holds more memory than is configured for
//! it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Instant;

use halley_protocol::proto::goim_comet::PushMsgReq;
use halley_protocol::proto::goim_protocol::Proto;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tonic::Code;

use crate::support::gateway::Start;
use crate::support::grpc::Grpc;
use crate::support::*;

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A connection that has said this much, and read an answer if there is one to what it said.
fn said(to: SocketAddr, words: &[u8], answered: bool) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    stream.write_all(words).expect("sent");
    if answered {
        assert!(stream.read(&mut [0; 1024]).expect("an answer") > 0);
    }
    stream
}

/// More idle connections than there are places, from one address, and then unfinished headers: health, pushes and
/// metrics are answered all the time, and that a bound was reached is said once.
#[test]
fn connections_that_are_held_shut_nobody_out() {
    let gateway = Gateway::with("[ingress]\nhttp_connections_max = 64");
    let began = Instant::now();
    let mut held: Vec<TcpStream> = (0..200).map(|_| said(gateway.http(), HEALTH, true)).collect();
    assert_eq!(gateway.get("/healthz").text(), "ok\n");
    assert_eq!(gateway.push_all(1000, "x"), 0);
    let evicted = |phase| gateway.metrics().sum("halley_http_evicted_total", &[("listener", "http"), ("phase", phase)]);
    assert!(evicted("idle") >= 136.0);
    held.extend((0..200).map(|_| said(gateway.http(), b"GET /metrics HTTP/1.1\r\nHost: lo", false)));
    // Unfinished headers have a second before they make room; health has a place of its own meanwhile.
    assert_eq!(gateway.get("/healthz").text(), "ok\n");
    eventually("a push finds a place again", || {
        (gateway.post("/goim/push/all?operation=1000", b"x").status == 200).then_some(())
    });
    assert!(gateway.metrics().sum("halley_http_connections", &[("listener", "http")]) <= 64.0 + 16.0);
    let told = || gateway.log().matches("as many connections are open as may be").count();
    eventually("the bound is told", || (told() > 0).then_some(()));
    // Once a minute, however long this takes.
    let minutes = usize::try_from(began.elapsed().as_secs() / 60).expect("few");
    assert!(told() <= 1 + minutes, "{}", gateway.log());
}

/// One address takes its share and no more: another one finds places, whatever the first is busy with.
#[test]
fn one_address_leaves_places_to_others() {
    let gateway = Gateway::with("[ingress]\nhttp_connections_max = 64\nhttp_connections_per_address = 8");
    // Bodies that never come: places that do not make room within a second.
    let body = b"POST /goim/push/all?operation=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
    let _held: Vec<TcpStream> = (0..30).map(|_| said(gateway.http(), body, false)).collect();
    let mut other = TcpClient::connect_from(Ipv4Addr::new(127, 0, 0, 2), gateway.http());
    other.send_bytes(b"GET /goim/online/total HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    let answer = client::read_to_end(&mut other, PATIENCE);
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(gateway.get("/healthz").text(), "ok\n", "the first address too is told how we are");
}

/// Resident memory of the gateway, in bytes.
fn resident(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("process_resident_memory_bytes", &[])
}

/// Headers and bodies that are never finished hold what is configured for them, and no more.
#[test]
fn unfinished_requests_hold_no_more_than_their_bound() {
    let gateway = Gateway::with("[ingress]\nbodies_bytes_max = 2_097_152\nbody_bytes_max = 1_000_000");
    let before = resident(&gateway);
    let head = [b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ".as_slice(), &[b'x'; 100_000]].concat();
    let body = b"POST /goim/push/all?operation=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n";
    let body = [body.as_slice(), &[b'x'; 800_000]].concat();
    let mut held = Vec::new();
    for _ in 0..100 {
        for words in [&head, &body] {
            let mut stream = TcpStream::connect(gateway.http()).expect("it listens");
            stream.set_nonblocking(true).expect("set");
            // What does not fit the socket's buffers is not sent: nobody reads it.
            let _ = stream.write(words);
            held.push(stream);
        }
        assert_eq!(gateway.get("/healthz").text(), "ok\n");
    }
    let bytes = gateway.metrics().sum("halley_ingress_bodies_bytes", &[]);
    assert!(bytes <= 2_097_152.0, "{bytes}");
    let grown = resident(&gateway) - before;
    assert!(grown < 64e6, "{grown} bytes for 90 MB of unfinished requests");
    drop(held);
    eventually("all is given back", || {
        (gateway.metrics().sum("halley_ingress_bodies_bytes", &[]) == 0.0).then_some(())
    });
}

/// Fifteen kilobytes that unpack to eight million empty keys, twenty at once: all are refused, clients are served
/// meanwhile, and memory stays.
#[test]
fn packed_keys_are_counted_before_they_are_made() {
    let gateway = Gateway::start();
    let mut online = Transport::Tcp.login(&gateway, 0, "k", "", &[1000]);
    let before = resident(&gateway);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&[0x0a, 0x00].repeat(8_000_000)).expect("in memory");
    let packed = packer.finish().expect("in memory");
    assert!(packed.len() < 20_000, "{}", packed.len());
    let length = u32::try_from(packed.len()).expect("short").to_be_bytes();
    let bomb = bytes::Bytes::from([&[1], &length[..], &packed].concat());
    let codes = Grpc::connect(gateway.grpc()).wait(async {
        let io = tokio::net::TcpStream::connect(gateway.grpc()).await.expect("it listens");
        let (send, connection) = h2::client::handshake(io).await.expect("HTTP/2");
        tokio::spawn(connection);
        let calls = (0..20).map(|_| {
            let (send, bomb) = (send.clone(), bomb.clone());
            async move {
                let request = ::http::Request::post("http://localhost/goim.comet.Comet/PushMsg")
                    .header("content-type", "application/grpc")
                    .header("grpc-encoding", "gzip");
                let mut send = send.ready().await.expect("a stream");
                let (answer, mut body) = send.send_request(request.body(()).expect("a call"), false).expect("sent");
                body.send_data(bomb, true).expect("sent");
                let answer = tokio::time::timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
                answer.headers()["grpc-status"].to_str().expect("digits").to_owned()
            }
        });
        futures_util::future::join_all(calls).await
    });
    assert!(codes.iter().all(|code| *code == (Code::ResourceExhausted as i32).to_string()), "{codes:?}");
    assert_eq!(online.heartbeat(), 0);
    assert_eq!(gateway.push_key("k", 1000, "still here"), 1);
    assert_eq!(online.receive().text(), "still here");
    let grown = resident(&gateway) - before;
    assert!(grown < 256e6, "{grown} bytes");
}

/// Idle gRPC connections from everywhere keep no job out.
#[test]
fn idle_grpc_connections_keep_no_job_out() {
    let gateway = Gateway::with("[ingress]\ngrpc_connections_max = 16");
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut held = Vec::new();
    for last in 2..6 {
        for _ in 0..10 {
            let mut stream = TcpClient::connect_from(Ipv4Addr::new(127, 0, 0, last), gateway.grpc());
            stream.send_bytes(PREFACE);
            held.push(stream);
        }
    }
    let grpc = Grpc::connect(gateway.grpc());
    let push = PushMsgReq { keys: vec!["k".to_owned()], proto_op: 1, proto: Some(Proto { op: 1, ..Proto::default() }) };
    grpc.wait(grpc.comet().push_msg(push)).expect("the job is served");
}

/// A thread of the gateway, stopped as long as the value lives.
struct Stopped(Pid);

impl Stopped {
    fn new(gateway: &Gateway, name: &str) -> Stopped {
        let tasks = format!("/proc/{}/task", gateway.pid());
        let thread = std::fs::read_dir(&tasks).expect("its threads").map(|task| task.expect("a thread").path());
        let named = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        let path = thread.into_iter().find(named).unwrap_or_else(|| panic!("no thread {name}"));
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let thread = Pid::from_raw(number.expect("a number"));
        ptrace::seize(thread, ptrace::Options::empty()).expect("a child may be traced");
        ptrace::interrupt(thread).expect("it can be stopped");
        waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
        Stopped(thread)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = ptrace::detach(self.0, None);
    }
}

/// Whichever thread stands still, health says so, asked of another one; and nothing else than one word.
#[test]
fn every_thread_that_stands_still_is_seen_by_health() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let gateway = Start::new().argument("--admin-listen").argument(format!("unix:{}", path.display())).run();
    let over_socket = || {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    for (thread, ask) in [
        ("ingress", Box::new(over_socket) as Box<dyn Fn() -> String>),
        ("feed", Box::new(over_socket)),
        ("shard-0", Box::new(over_socket)),
        ("control", Box::new(|| gateway.get("/healthz").text().to_owned())),
    ] {
        eventually("all is well", || ask().contains("ok\n").then_some(()));
        let stopped = Stopped::new(&gateway, thread);
        eventually(thread, || ask().contains("stuck\n").then_some(()));
        drop(stopped);
        eventually("the log names it", || gateway.log().contains(&format!("threads=\"{thread}\"")).then_some(()));
    }
}
