//! A caller that breaks its side of the contract is stopped by the fake at the very call.

use halley_gateway::io::sim::{ClientId, Faults, SimIo};
use halley_gateway::io::{Event, Io, ListenerId, Wait};
use halley_gateway::mesh::msg::ConnRef;

fn send(io: &mut SimIo, conn: ConnRef, bytes: &[u8]) {
    io.send_copy(conn, &mut std::iter::once(bytes));
}

fn turn(io: &mut SimIo) -> Vec<Event> {
    let mut events = Vec::new();
    io.turn(Wait::No, &mut events);
    events
}

/// A connection to a client that takes 8 bytes.
fn connected() -> (SimIo, ConnRef, ClientId) {
    let mut io = SimIo::new(1, Faults::NONE, 4, 1);
    let client = io.connect(0, 8);
    io.accept_many(ListenerId(0));
    let events = turn(&mut io);
    let [Event::Accepted { slot, .. }] = events[..] else { panic!("{events:?}") };
    (io, ConnRef { slot, generation: 1 }, client)
}

#[test]
#[should_panic(expected = "two sends of one connection in one turn")]
fn one_send_a_turn() {
    let (mut io, conn, _) = connected();
    send(&mut io, conn, b"a");
    send(&mut io, conn, b"b");
}

#[test]
#[should_panic(expected = "before the socket was writable again")]
fn no_send_while_a_short_one_waits() {
    let (mut io, conn, _) = connected();
    send(&mut io, conn, b"more than eight");
    assert_eq!(turn(&mut io), [Event::SendShort { conn, sent: 8 }]);
    send(&mut io, conn, b"x");
}

#[test]
#[should_panic(expected = "a FIN before the tail of a short send")]
fn no_fin_while_a_short_send_waits() {
    let (mut io, conn, _) = connected();
    send(&mut io, conn, b"more than eight");
    turn(&mut io);
    io.shutdown_write(conn);
}

/// What is allowed instead: wait for room, then send the rest.
#[test]
fn the_rest_of_a_short_send_goes_when_there_is_room() {
    let (mut io, conn, client) = connected();
    send(&mut io, conn, b"more than eight");
    turn(&mut io);
    io.poll_writable(conn);
    assert_eq!(turn(&mut io), []);
    assert_eq!(io.read(client), b"more tha");
    assert_eq!(turn(&mut io), [Event::Writable { conn }]);
    send(&mut io, conn, b"n eight");
    assert_eq!(turn(&mut io), []);
    assert_eq!(io.read(client), b"n eight");
}

#[test]
#[should_panic(expected = "two receives on one connection")]
fn one_receive_at_a_time() {
    let (mut io, conn, _) = connected();
    io.receive(conn);
    io.receive(conn);
}

#[test]
#[should_panic(expected = "a receive buffer was kept over a turn")]
fn buffers_go_back_in_their_turn() {
    let (mut io, conn, client) = connected();
    io.write(client, b"hello");
    io.receive(conn);
    assert!(matches!(turn(&mut io)[..], [Event::Received { bytes: 5, more: false, .. }]));
    turn(&mut io);
}

#[test]
#[should_panic(expected = "a buffer that holds no data")]
fn a_free_buffer_cannot_be_read() {
    let (mut io, conn, client) = connected();
    io.write(client, b"hello");
    io.receive(conn);
    let events = turn(&mut io);
    let [Event::Received { buffer, .. }] = events[..] else { panic!("{events:?}") };
    io.recycle(buffer);
    io.buffer(buffer, 5);
}

#[test]
#[should_panic(expected = "operation after close")]
fn nothing_after_close() {
    let (mut io, conn, _) = connected();
    io.close(conn);
    io.poll_readable(conn);
}

#[test]
#[should_panic(expected = "operation on a free slot")]
fn nothing_after_closed() {
    let (mut io, conn, _) = connected();
    io.close(conn);
    assert_eq!(turn(&mut io), [Event::Closed { conn }]);
    io.receive(conn);
}

#[test]
#[should_panic(expected = "operation of an earlier owner")]
fn nothing_in_the_name_of_an_earlier_owner() {
    let (mut io, conn, _) = connected();
    io.receive(conn);
    io.poll_readable(ConnRef { generation: 0, ..conn });
}
