//! Proves on the real kernel that a port is shared between our own threads and with nobody else, that options reach
//! accepted connections, and that a socket file is private, replaced when stale and kept when in use.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use halley_service::listen::{
    BoundSockets, ListenError, SocketOptions, UnixSocket, bind_shared, listen_alone, listen_shared,
};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

/// Nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done` gives a value.
fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "did not happen within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn free() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn shared(address: SocketAddr, threads: usize) -> Result<Vec<TcpListener>, ListenError> {
    listen_shared(address, threads, &SocketOptions::default())
}

#[test]
fn port_0_is_picked_once_and_every_thread_gets_connections_on_it() {
    let listeners = shared(free(), 4).unwrap();
    let address = listeners[0].local_addr().unwrap();
    assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == address));
    let clients: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut accepted = [0; 4];
    // The kernel may still be about to queue the last ones.
    eventually("all are accepted", || {
        for (listener, accepted) in listeners.iter().zip(&mut accepted) {
            listener.set_nonblocking(true).unwrap();
            while listener.accept().is_ok() {
                *accepted += 1;
            }
        }
        (accepted.iter().sum::<usize>() == clients.len()).then_some(())
    });
    assert!(accepted.iter().all(|&count| count > 0), "{accepted:?}");
}

#[test]
fn a_second_process_on_the_port_is_refused_however_many_threads_either_has() {
    for (first, second) in [(1, 1), (4, 4), (1, 4), (4, 1)] {
        let listeners = shared(free(), first).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let error = shared(address, second).expect_err("shared in silence");
        assert!(matches!(error, ListenError::InUse { .. }), "{error:?}");
        let port = address.port().to_string();
        assert!(error.to_string().contains(&port) && error.to_string().contains("ss -ltnp"), "{error}");
        let every = SocketAddr::from(([0, 0, 0, 0], address.port()));
        assert!(matches!(shared(every, second), Err(ListenError::InUse { .. })), "on every address of the machine");
    }
}

#[test]
fn a_port_of_another_program_is_refused() {
    let other = TcpListener::bind(free()).unwrap();
    assert!(matches!(shared(other.local_addr().unwrap(), 2), Err(ListenError::InUse { .. })));
    assert!(matches!(listen_alone(other.local_addr().unwrap(), false), Err(ListenError::InUse { .. })));
}

/// Two processes that start in the same instant: one gets the port, never both, and not neither because each saw the
/// other try.
#[test]
fn of_two_processes_starting_together_one_gets_the_port() {
    // An address that nobody else uses, so that a port given back stays free.
    let [.., high, low] = std::process::id().to_be_bytes();
    for _ in 0..20 {
        let address = shared(SocketAddr::from(([127, 87, high, low], 0)), 1).unwrap()[0].local_addr().unwrap();
        let ready = AtomicUsize::new(0);
        let start = || {
            // A barrier would wake one of them late.
            ready.fetch_add(1, Ordering::SeqCst);
            while ready.load(Ordering::SeqCst) < 2 {
                std::hint::spin_loop();
            }
            shared(address, 3)
        };
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(start);
            (start(), other.join().unwrap())
        });
        assert!(one.is_ok() != two.is_ok(), "{address}: {one:?} {two:?}");
    }
}

#[test]
fn a_process_may_start_again_while_old_connections_linger() {
    // An address that nobody else uses, so that the port stays free until it is taken again.
    let [.., high, low] = std::process::id().to_be_bytes();
    let listeners = shared(SocketAddr::from(([127, 88, high, low], 0)), 2).unwrap();
    let address = listeners[0].local_addr().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let accept = |listener: &TcpListener| {
        listener.set_nonblocking(true).unwrap();
        listener.accept().ok()
    };
    // The side that closes first keeps the port in TIME-WAIT.
    drop(eventually("connected", || listeners.iter().find_map(accept)));
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    drop(client);
    drop(listeners);
    shared(address, 2).unwrap();
}

fn bound(address: SocketAddr, threads: usize) -> Result<BoundSockets, ListenError> {
    bind_shared(address, threads, &SocketOptions::default())
}

/// A bound address refuses clients until it is listened on; then every thread gets some.
#[test]
fn nobody_is_let_in_before_it_is_time() {
    let bound = bound(free(), 3).unwrap();
    let refused = TcpStream::connect(bound.address()).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    bound.listen().unwrap();
    let listeners: Vec<TcpListener> =
        bound.sockets().iter().map(|socket| TcpListener::from(socket.try_clone().unwrap())).collect();
    let clients: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(bound.address()).unwrap()).collect();
    let mut accepted = [0; 3];
    eventually("all are accepted", || {
        for (listener, accepted) in listeners.iter().zip(&mut accepted) {
            listener.set_nonblocking(true).unwrap();
            while listener.accept().is_ok() {
                *accepted += 1;
            }
        }
        (accepted.iter().sum::<usize>() == clients.len()).then_some(())
    });
    assert!(accepted.iter().all(|&count| count > 0), "{accepted:?}");
}

/// An address that is bound and not listened on is in use all the same, for those who would listen and for those who
/// would bind it as early; and so is one that somebody listens on.
#[test]
fn a_bound_address_is_in_use() {
    let waiting = bound(free(), 2).unwrap();
    assert!(matches!(bound(waiting.address(), 2), Err(ListenError::InUse { .. })));
    assert!(matches!(shared(waiting.address(), 2), Err(ListenError::InUse { .. })));
    waiting.listen().unwrap();
    assert!(matches!(bound(waiting.address(), 1), Err(ListenError::InUse { .. })));
    assert!(matches!(shared(waiting.address(), 1), Err(ListenError::InUse { .. })));
}

/// Connections of a predecessor that linger keep nobody from its address, whichever way either listened.
#[test]
fn an_address_may_be_bound_while_old_connections_linger() {
    let [.., high, low] = std::process::id().to_be_bytes();
    let mut address = SocketAddr::from(([127, 89, high, low], 0));
    for _ in 0..2 {
        let bound = bound(address, 1).unwrap();
        address = bound.address();
        bound.listen().unwrap();
        let listener = TcpListener::from(bound.sockets()[0].try_clone().unwrap());
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        // The side that closes first keeps the port in TIME-WAIT.
        drop(listener.accept().unwrap());
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }
    shared(address, 1).unwrap();
}

#[test]
fn a_dual_stack_listener_takes_both_families_unless_told_otherwise() {
    let every: SocketAddr = "[::]:0".parse().unwrap();
    for (ipv6_only, reachable) in [(false, true), (true, false)] {
        let options = SocketOptions { ipv6_only, ..SocketOptions::default() };
        let listeners = listen_shared(every, 2, &options).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        assert!(TcpStream::connect(("::1", port)).is_ok());
        assert_eq!(TcpStream::connect(("127.0.0.1", port)).is_ok(), reachable);
    }
}

#[test]
fn accepted_connections_inherit_the_options() {
    let options = SocketOptions {
        keepalive: Some(socket2::TcpKeepalive::new().with_time(Duration::from_secs(77)).with_retries(3)),
        user_timeout: Some(Duration::from_millis(12_345)),
        send_buffer_bytes: Some(8 * 1024),
        receive_buffer_bytes: Some(6 * 1024),
        ..SocketOptions::default()
    };
    let listeners = listen_shared(free(), 1, &options).unwrap();
    let _client = TcpStream::connect(listeners[0].local_addr().unwrap()).unwrap();
    let (accepted, _) = listeners[0].accept().unwrap();
    let accepted = SockRef::from(&accepted);
    assert!(accepted.tcp_nodelay().unwrap() && accepted.keepalive().unwrap());
    assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
    assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 3);
    assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(Duration::from_millis(12_345)));
    // The kernel doubles what it is told.
    assert_eq!(accepted.send_buffer_size().unwrap(), 16 * 1024);
    assert_eq!(accepted.recv_buffer_size().unwrap(), 12 * 1024);
}

#[test]
fn an_address_of_another_machine_is_refused_with_a_reason() {
    let error = shared("192.0.2.1:0".parse().unwrap(), 1).unwrap_err().to_string();
    assert!(error.contains("no interface of this machine has this address"), "{error}");
}

#[test]
fn a_socket_file_is_private_and_goes_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let socket = UnixSocket::listen(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    socket.listener.set_nonblocking(false).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"x").unwrap();
    assert_eq!(socket.listener.accept().unwrap().0.read(&mut [0; 1]).unwrap(), 1);
    drop(socket);
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_file_is_replaced_a_live_one_and_a_plain_file_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let stale = directory.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    let replaced = UnixSocket::listen(&stale).unwrap();
    assert!(UnixStream::connect(&stale).is_ok());

    let error = UnixSocket::listen(&stale).unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }) && error.to_string().contains("ss -lxp"), "{error}");
    drop(replaced);

    let plain = directory.path().join("plain");
    std::fs::write(&plain, "precious").unwrap();
    assert!(UnixSocket::listen(&plain).is_err());
    assert_eq!(std::fs::read_to_string(&plain).unwrap(), "precious");
}

/// Somebody who listens and accepts nobody holds the file all the same, and nobody waits to be accepted.
#[test]
fn a_live_socket_with_a_full_backlog_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let address = SockAddr::unix(&path).unwrap();
    let stream = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let other = stream();
    other.bind(&address).unwrap();
    other.listen(1).unwrap();
    let mut waiting = Vec::new();
    let full = loop {
        waiting.push(stream());
        if let Err(error) = waiting[waiting.len() - 1].connect(&address) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let listening = thread::spawn({
        let path = path.clone();
        move || UnixSocket::listen(&path)
    });
    eventually("it is said", || listening.is_finished().then_some(()));
    assert!(matches!(listening.join().unwrap(), Err(ListenError::InUse { .. })));
    assert!(path.exists());
}

/// A start takes a socket file that nobody listens on for one that is left behind: no file of ours is ever seen so.
#[test]
fn a_socket_file_is_listened_on_from_its_first_moment() {
    const SOCKETS: usize = 1000;
    let directory = tempfile::tempdir().unwrap();
    let path = |number: usize| directory.path().join(format!("{number}.sock"));
    let sockets = thread::scope(|scope| {
        let listening =
            scope.spawn(|| (0..SOCKETS).map(|number| UnixSocket::listen(&path(number))).collect::<Vec<_>>());
        for number in 0..SOCKETS {
            let deadline = Instant::now() + PATIENCE;
            while let Err(error) = UnixStream::connect(path(number)) {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{number}");
                assert!(Instant::now() < deadline, "{number} is never there");
            }
        }
        listening.join().unwrap()
    });
    assert!(sockets.iter().all(Result::is_ok));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), SOCKETS, "no other name is left");
}

/// The path of a socket is short: the name under which it begins must not make it longer than it may be.
#[test]
fn a_path_as_long_as_can_be_is_listened_on() {
    let directory = tempfile::tempdir().unwrap();
    let name = "s".repeat(107 - directory.path().as_os_str().len() - 1);
    let socket = UnixSocket::listen(&directory.path().join(name)).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    drop(socket);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// A path of the largest length can be connected to; one byte more is refused before anything is made.
#[test]
fn a_socket_has_a_path_that_can_be_connected_to() {
    let folder = tempfile::tempdir().unwrap();
    let of_length = |bytes: usize| {
        let room = bytes - folder.path().as_os_str().len() - 1;
        folder.path().join("s".repeat(room))
    };
    let longest = of_length(107);
    let socket = UnixSocket::listen(&longest).unwrap();
    assert!(std::os::unix::net::UnixStream::connect(&longest).is_ok());
    drop(socket);
    let error = UnixSocket::listen(&of_length(108)).unwrap_err();
    assert!(error.to_string().contains("has at most 107 bytes"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
