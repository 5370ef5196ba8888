//! Closing: a join with everything outstanding, no FIN lost, no event of a former owner for the next one.

use std::io::{Read, Write};
use std::time::Instant;

use halley_gateway::io::{Event, Io, Wait};

use crate::rig::{LISTENER, PATIENCE, Rig, read};

/// Closing under an armed poll sends FIN, and `Closed` is the connection's last event.
#[test]
fn no_fin_is_lost_under_an_armed_poll() {
    let mut rig = Rig::new(8);
    rig.io.accept_many(LISTENER);
    for send_first in [false, true] {
        let (conn, mut client) = rig.accept();
        rig.io.poll_readable(conn);
        rig.turn();
        if send_first {
            rig.io.send_copy(conn, &mut std::iter::once(&b"bye"[..]));
        }
        rig.io.close(conn);
        rig.closed(conn);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, if send_first { &b"bye"[..] } else { b"" });
        for _ in 0..3 {
            rig.turn();
        }
        assert_eq!(rig.seen, [], "nothing after Closed");
    }
}

/// Everything a connection can have outstanding at once, queued in the very turn of its close.
#[test]
fn close_joins_whatever_is_outstanding() {
    const BUFFERS: u16 = 8;
    let mut rig = Rig::with(8, Some(4096), |config| config.receive_buffers = BUFFERS);
    rig.io.accept_many(LISTENER);
    for round in 0..100 {
        let (conn, mut client) = rig.accept();
        client.write_all(b"unread").unwrap();
        if round % 2 == 0 {
            rig.io.poll_readable(conn);
            rig.io.poll_writable(conn);
            rig.turn();
            rig.until("Writable", |event| matches!(event, Event::Writable { .. }).then_some(()));
        } else {
            rig.io.poll_readable(conn);
        }
        rig.io.peer_name(conn);
        rig.io.receive(conn);
        rig.io.send_copy(conn, &mut std::iter::once(&b"last words"[..]));
        rig.io.shutdown_write(conn);
        if round % 3 == 0 {
            rig.io.poll_writable(conn);
        }
        rig.io.close(conn);
        rig.closed(conn);
        assert_eq!(read(&mut client, 10), b"last words");
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0, "then the end");
        rig.seen.retain(|event| !matches!(event, Event::Readable { .. }));
        assert_eq!(rig.seen, [], "a closed connection's other events are swallowed");
    }
    // The buffers filled for closed connections are all free again: as many as there are can be held at once.
    let (conn, mut client) = rig.accept();
    rig.io.poll_readable(conn);
    for _ in 0..BUFFERS {
        client.write_all(b"x").unwrap();
        rig.until("Readable", |event| matches!(event, Event::Readable { .. }).then_some(()));
        rig.io.receive(conn);
        rig.until("Received", |event| match event {
            Event::Received { .. } => Some(()),
            Event::ReceiveNoBuffer { .. } => panic!("a buffer was lost"),
            _ => None,
        });
    }
}

/// With one slot, each `Closed` stands before the `Accepted` that uses the slot again, and every event carries the
/// generation of its own connection.
#[test]
fn a_slot_has_one_owner_at_a_time() {
    let mut rig = Rig::new(1);
    let mut owner = None;
    let mut served = 0;
    let mut clients = std::collections::VecDeque::new();
    let mut events = Vec::new();
    rig.io.accept_one(LISTENER);
    while served < 300 {
        while clients.len() < 3 {
            let mut client = std::net::TcpStream::connect(rig.address).unwrap();
            client.write_all(b"hello").unwrap();
            clients.push_back(client);
        }
        rig.io.turn(Wait::AtMost(PATIENCE), &mut events);
        for event in events.drain(..) {
            match event {
                Event::Accepted { slot, .. } => {
                    assert_eq!(owner, None, "accepted before Closed");
                    let conn = rig.own(slot);
                    owner = Some(conn);
                    rig.io.poll_readable(conn);
                }
                Event::Readable { conn, .. } => {
                    assert_eq!(Some(conn), owner);
                    // The next accept is queued right behind the close, so that both run in few enters.
                    rig.io.close(conn);
                }
                Event::Closed { conn } => {
                    assert_eq!(Some(conn), owner.take());
                    served += 1;
                    clients.pop_front();
                    rig.io.accept_one(LISTENER);
                }
                Event::AcceptEnded { error, .. } => assert_eq!(error, None),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A client that waits while a slot is freed may get that slot within the same enter: `Closed` is told first even then.
#[test]
fn closed_comes_before_the_accept_into_the_same_slot() {
    let mut rig = Rig::new(64);
    rig.io.accept_many(LISTENER);
    let (mut conn, mut client) = rig.accept();
    let mut at_once = 0;
    let deadline = Instant::now() + PATIENCE;
    // Whether it does is the kernel's affair: until it has, nothing is proved.
    for round in 0.. {
        if round >= 100 && at_once > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "no slot was used again within its enter: the test proves nothing");
        rig.io.close(conn);
        let next = std::net::TcpStream::connect(rig.address).unwrap();
        let mut events = Vec::new();
        rig.io.turn(Wait::AtMost(PATIENCE), &mut events);
        let closed = events.iter().position(|event| *event == Event::Closed { conn });
        let accepted =
            events.iter().position(|event| matches!(event, Event::Accepted { slot, .. } if *slot == conn.slot));
        if let Some(accepted) = accepted {
            assert!(closed.is_some_and(|closed| closed < accepted), "{events:?}");
            at_once += 1;
        }
        rig.seen.append(&mut events);
        let slot = rig.until("Accepted", |event| match event {
            Event::Accepted { slot, .. } => Some(*slot),
            _ => None,
        });
        rig.closed(conn);
        conn = rig.own(slot);
        client = next;
    }
    drop(client);
}

/// After FIN the other direction still works.
#[test]
fn shutting_down_our_side_leaves_theirs_open() {
    let mut rig = Rig::new(8);
    let (conn, mut client) = rig.accept_single();
    rig.io.poll_readable(conn);
    rig.io.shutdown_write(conn);
    rig.turn();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    client.write_all(b"still here").unwrap();
    drop(client);
    let mut received = Vec::new();
    loop {
        rig.until("Readable", |event| matches!(event, Event::Readable { .. }).then_some(()));
        let (bytes, ended) = rig.drain(conn);
        received.extend(bytes);
        if ended {
            break;
        }
    }
    assert_eq!(received, b"still here");
    rig.io.close(conn);
    rig.closed(conn);
}

/// Dropping the io ends its connections: nothing keeps the ring alive behind our back.
#[test]
fn dropping_the_ring_closes_its_connections() {
    let mut rig = Rig::new(8);
    let (conn, mut client) = rig.accept_single();
    rig.io.poll_readable(conn);
    rig.turn();
    drop(rig);
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
}
