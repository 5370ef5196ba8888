//! Accepting: the kernel chooses slots, a full table or a cancel ends an accept, and nothing ends a listener.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use halley_gateway::io::uring::{StartError, UringConfig, UringIo};
use halley_gateway::io::{Errno, Event, Io};
use halley_gateway::mesh::wake::Doorbell;

use crate::rig::{LISTENER, Rig, listen};

/// One armed accept serves many clients, each in a slot of its own below the bound.
#[test]
fn a_multishot_accept_goes_on() {
    let mut rig = Rig::new(64);
    rig.io.accept_many(LISTENER);
    let accepted: Vec<_> = (0..64).map(|_| rig.accept()).collect();
    let slots: HashSet<u32> = accepted.iter().map(|(conn, _)| conn.slot).collect();
    assert_eq!(slots.len(), 64);
    assert!(slots.iter().all(|&slot| slot < rig.io.slots()));
    assert_eq!(rig.seen, [], "nothing else happened");
}

/// A full table ends the accept with ENFILE. Armed again after a slot became free, it takes the next client into that
/// slot.
#[test]
fn a_full_table_ends_the_accept_and_it_can_be_armed_again() {
    let mut rig = Rig::new(2);
    rig.io.accept_many(LISTENER);
    let (first, _one) = rig.accept();
    let (_, _two) = rig.accept();
    let _lost = TcpStream::connect(rig.address).unwrap();
    let error = rig.until("AcceptEnded", |event| match event {
        Event::AcceptEnded { error, .. } => Some(*error),
        _ => None,
    });
    assert_eq!(error, Some(Errno(libc::ENFILE)));
    rig.io.poll_readable(first);
    rig.io.close(first);
    rig.closed(first);
    rig.io.accept_many(LISTENER);
    let (again, _three) = rig.accept();
    assert_eq!(again.slot, first.slot);
}

/// A single accept takes one client and says that it is over; the next client waits in the backlog for the next accept.
#[test]
fn a_single_accept_takes_one() {
    let mut rig = Rig::new(8);
    rig.io.accept_one(LISTENER);
    let _first = rig.accept();
    let _waiting = TcpStream::connect(rig.address).unwrap();
    rig.until("AcceptEnded", |event| (*event == Event::AcceptEnded { listener: LISTENER, error: None }).then_some(()));
    for _ in 0..3 {
        rig.turn();
    }
    assert_eq!(rig.seen, [], "nobody asked for a second one");
    rig.io.accept_one(LISTENER);
    rig.until("Accepted", |event| matches!(event, Event::Accepted { .. }).then_some(()));
}

/// Both kinds of accept can be cancelled, and what comes later waits for the next one.
#[test]
fn a_cancelled_accept_leaves_clients_in_the_backlog() {
    let mut rig = Rig::new(8);
    for many in [true, false] {
        if many {
            rig.io.accept_many(LISTENER);
        } else {
            rig.io.accept_one(LISTENER);
        }
        rig.turn();
        rig.io.cancel_accept(LISTENER);
        rig.until("AcceptEnded", |event| {
            (*event == Event::AcceptEnded { listener: LISTENER, error: None }).then_some(())
        });
        let _waiting = TcpStream::connect(rig.address).unwrap();
        rig.turn();
        rig.io.cancel_accept(LISTENER);
        rig.turn();
        assert_eq!(rig.seen, [], "cancelling nothing changes nothing");
        rig.io.accept_one(LISTENER);
        rig.until("Accepted", |event| matches!(event, Event::Accepted { .. }).then_some(()));
        rig.until("AcceptEnded", |event| matches!(event, Event::AcceptEnded { .. }).then_some(()));
    }
}

/// A backlog larger than the completion queue overflows it. That ends the multishot, is counted, and loses nobody.
#[test]
fn an_overflowing_accept_loses_nobody() {
    let mut rig = Rig::with(1024, None, |config| config.completion_entries = 256);
    let clients: Vec<_> = (0..700).map(|_| TcpStream::connect(rig.address).unwrap()).collect();
    let mut slots = HashSet::new();
    let mut ended = 0;
    rig.io.accept_many(LISTENER);
    while slots.len() < clients.len() {
        let slot = rig.until("Accepted or AcceptEnded", |event| match event {
            Event::Accepted { slot, .. } => Some(Some(*slot)),
            Event::AcceptEnded { error, .. } => {
                assert_eq!(*error, Some(Errno(libc::EOVERFLOW)));
                Some(None)
            }
            _ => None,
        });
        match slot {
            Some(slot) => assert!(slots.insert(slot), "slot {slot} came twice"),
            None => {
                ended += 1;
                rig.io.accept_many(LISTENER);
            }
        }
    }
    assert!(ended > 0, "700 clients do not fit into 256 completions");
    assert!(rig.io.counters().completion_overflows > 0);
}

/// Ten thousand clients come and go through 64 slots, ended by either side: every slot comes back, and a slot is
/// accepted into only after its `Closed`.
#[test]
fn slots_are_used_again_ten_thousand_times() {
    const BATCH: usize = 50;
    let mut rig = Rig::new(64);
    rig.io.accept_many(LISTENER);
    let mut open = HashSet::new();
    for round in 0..10_000 / BATCH {
        let mut clients: Vec<Option<TcpStream>> =
            (0..BATCH).map(|_| Some(TcpStream::connect(rig.address).unwrap())).collect();
        for client in clients.iter().flatten() {
            // No TIME_WAIT: this is about our slots, not about ports.
            socket2::SockRef::from(client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
        let mut conns = Vec::new();
        while conns.len() < BATCH {
            let slot = rig.until("Accepted", |event| match event {
                Event::Accepted { slot, .. } => Some(*slot),
                Event::AcceptEnded { error, .. } => panic!("{error:?}"),
                _ => None,
            });
            assert!(open.insert(slot), "slot {slot} was accepted into before its Closed");
            let conn = rig.own(slot);
            rig.io.poll_readable(conn);
            conns.push(conn);
        }
        if round % 2 == 0 {
            clients.clear();
        }
        for &conn in &conns {
            rig.io.close(conn);
        }
        for &conn in &conns {
            rig.closed(conn);
            assert!(open.remove(&conn.slot));
        }
        rig.seen.retain(|event| !matches!(event, Event::Readable { .. }));
    }
    assert_eq!(rig.seen, []);
}

/// The peer's address by family: IPv4, IPv6, and IPv4 through a dual-stack listener, named as IPv4.
#[test]
fn peers_are_named() {
    let v6: SocketAddr = "[::1]:0".parse().unwrap();
    let both: SocketAddr = "[::]:0".parse().unwrap();
    for (on, from) in [(crate::rig::loopback(), "127.0.0.1"), (v6, "::1"), (both, "127.0.0.1"), (both, "::1")] {
        let (listener, address) = listen(on, None);
        let mut rig = Rig::with(8, None, |config| config.listeners = vec![listener]);
        rig.address = SocketAddr::new(from.parse().unwrap(), address.port());
        rig.io.accept_many(LISTENER);
        for _ in 0..3 {
            let (conn, client) = rig.accept();
            rig.io.peer_name(conn);
            let named = rig.until("PeerName", |event| match event {
                Event::PeerName { conn: of, address } if *of == conn => Some(*address),
                _ => None,
            });
            assert_eq!(named, Some(client.local_addr().unwrap()));
        }
    }
}

/// A Unix socket's client has no address.
#[test]
fn a_unix_client_has_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let local = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut rig = Rig::with(8, None, |config| config.listeners.push(Arc::new(OwnedFd::from(local))));
    rig.io.accept_many(halley_gateway::io::ListenerId(1));
    let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let slot = rig.until("Accepted", |event| match event {
        Event::Accepted { slot, .. } => Some(*slot),
        _ => None,
    });
    let conn = rig.own(slot);
    rig.io.peer_name(conn);
    rig.until("PeerName", |event| (*event == Event::PeerName { conn, address: None }).then_some(()));
    // Nothing says how much is left in a Unix socket, so all of it must come even so.
    rig.io.poll_readable(conn);
    let sent = crate::rig::pattern(20_000, 1);
    std::io::Write::write_all(&mut client, &sent).unwrap();
    rig.until("Readable", |event| matches!(event, Event::Readable { .. }).then_some(()));
    assert_eq!(rig.drain(conn).0, sent);
}

/// More slots than the process may have descriptors: refused at start, with both numbers.
#[test]
fn too_many_slots_are_refused_with_both_numbers() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.expect("a limit");
    let slots = u32::try_from(limit).unwrap() + 1;
    let config = UringConfig::new(slots, Vec::new(), Arc::new(Doorbell::new().unwrap()));
    let error = UringIo::new(config).err().expect("refused");
    assert_eq!(error, StartError::DescriptorTable { slots, descriptors_max: Some(limit) });
}
