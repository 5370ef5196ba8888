//! Receiving: edges, provided buffers and what happens when there are none.

use std::io::Write;

use halley_gateway::io::{Event, Io};

use crate::rig::{LISTENER, Rig, pattern};

/// Every byte comes, in order, however it is cut; an edge is enough for all of them; the end is told once it is
/// reached.
#[test]
fn everything_received_is_what_was_sent() {
    let mut rig = Rig::new(8);
    let (conn, mut client) = rig.accept_single();
    rig.io.poll_readable(conn);
    let sent = pattern(1 << 20, 3);
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || {
            for piece in sent.chunks(70_001) {
                client.write_all(piece).unwrap();
            }
        }
    });
    let mut received = Vec::new();
    loop {
        let armed = rig.until("Readable", |event| match event {
            Event::Readable { conn: of, armed } if *of == conn => Some(*armed),
            _ => None,
        });
        assert!(armed, "the poll goes on");
        let (bytes, ended) = rig.drain(conn);
        received.extend(bytes);
        if ended {
            break;
        }
    }
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    writer.join().unwrap();
}

/// With nothing to read a receive says so at once instead of waiting.
#[test]
fn an_empty_socket_is_told() {
    let mut rig = Rig::new(8);
    let (conn, _client) = rig.accept_single();
    rig.io.receive(conn);
    rig.until("ReceiveEmpty", |event| (*event == Event::ReceiveEmpty { conn }).then_some(()));
}

/// When the shard holds all buffers, a receive is told so, and succeeds after one went back: no byte is lost.
#[test]
fn running_out_of_buffers_loses_nothing() {
    let mut rig = Rig::with(16, None, |config| {
        config.receive_buffers = 4;
        config.receive_buffer_bytes = 64;
    });
    rig.io.accept_many(LISTENER);
    let mut conns: Vec<_> = (0..8u8).map(|_| rig.accept()).collect();
    for (index, (conn, client)) in conns.iter_mut().enumerate() {
        client.write_all(format!("message {index}").as_bytes()).unwrap();
        rig.io.poll_readable(*conn);
    }
    for (conn, _) in &conns {
        let conn = *conn;
        rig.until("Readable", |event| matches!(event, Event::Readable { conn: of, .. } if *of == conn).then_some(()));
        rig.io.receive(conn);
    }
    let mut received = vec![None; conns.len()];
    let mut held = Vec::new();
    let mut hungry = Vec::new();
    for _ in 0..conns.len() {
        let event = rig.until("result", |event| {
            matches!(event, Event::Received { .. } | Event::ReceiveNoBuffer { .. }).then_some(*event)
        });
        match event {
            Event::Received { conn, buffer, bytes, more } => {
                assert!(!more);
                held.push((conn, buffer, bytes));
            }
            Event::ReceiveNoBuffer { conn } => hungry.push(conn),
            _ => unreachable!(),
        }
    }
    assert_eq!((held.len(), hungry.len()), (4, 4));
    assert_eq!(rig.io.counters().no_buffers, 4);
    let mut note = |rig: &mut Rig, (conn, buffer, bytes)| {
        let index = conns.iter().position(|(of, _)| *of == conn).unwrap();
        received[index] = Some(String::from_utf8(rig.io.buffer(buffer, bytes).to_vec()).unwrap());
        rig.io.recycle(buffer);
    };
    for one in held {
        note(&mut rig, one);
    }
    for conn in hungry {
        rig.io.receive(conn);
        let one = rig.until("Received", |event| match event {
            Event::Received { conn, buffer, bytes, .. } => Some((*conn, *buffer, *bytes)),
            _ => None,
        });
        note(&mut rig, one);
    }
    let expected: Vec<_> = (0..conns.len()).map(|index| Some(format!("message {index}"))).collect();
    assert_eq!(received, expected);
}

/// A buffer is the caller's from its event to its recycling, and no longer.
#[test]
#[should_panic(expected = "holds no data")]
fn a_buffer_that_was_given_back_cannot_be_read() {
    let mut rig = Rig::new(8);
    let (conn, mut client) = rig.accept_single();
    client.write_all(b"x").unwrap();
    rig.io.poll_readable(conn);
    rig.until("Readable", |event| matches!(event, Event::Readable { .. }).then_some(()));
    rig.io.receive(conn);
    let buffer = rig.until("Received", |event| match event {
        Event::Received { buffer, .. } => Some(*buffer),
        _ => None,
    });
    assert_eq!(rig.io.buffer(buffer, 1), b"x");
    rig.io.recycle(buffer);
    rig.io.buffer(buffer, 1);
}

/// A reset is told as a failure of the receive, not as an end.
#[test]
fn a_reset_is_a_failure() {
    let mut rig = Rig::new(8);
    let (conn, client) = rig.accept_single();
    rig.io.poll_readable(conn);
    rig.turn();
    socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    rig.until("Readable", |event| matches!(event, Event::Readable { .. }).then_some(()));
    rig.io.receive(conn);
    let error = rig.until("ReceiveFailed", |event| match event {
        Event::ReceiveFailed { error, .. } => Some(error.0),
        _ => None,
    });
    assert_eq!(error, libc::ECONNRESET);
}

/// A reset that came right behind data, before anybody looked, has no edge of its own: it is found because the receive
/// that takes the data says that there is more.
#[test]
fn a_reset_behind_data_is_found() {
    let mut rig = Rig::new(8);
    for _ in 0..20 {
        let (conn, mut client) = rig.accept_single();
        client.write_all(b"data").unwrap();
        socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        rig.io.poll_readable(conn);
        rig.until("Readable", |event| matches!(event, Event::Readable { .. }).then_some(()));
        let failed = loop {
            rig.io.receive(conn);
            let event = rig.until("result", |event| {
                matches!(event, Event::Received { .. } | Event::ReceiveEmpty { .. } | Event::ReceiveFailed { .. })
                    .then_some(*event)
            });
            match event {
                Event::Received { buffer, more, .. } => {
                    rig.io.recycle(buffer);
                    if !more {
                        break false;
                    }
                }
                other => break matches!(other, Event::ReceiveFailed { .. }),
            }
        };
        assert!(failed, "a shard would wait for an edge that never comes");
        rig.io.close(conn);
        rig.closed(conn);
        rig.seen.clear();
    }
}
