//! Sending: a send that works leaves no trace, one that does not says how far it came, and no byte is lost or doubled.

use std::io::Read;
use std::sync::Arc;

use halley_gateway::io::{Event, Io, SEND_COPY_BYTES_MAX};
use halley_gateway::limits::SUBMISSIONS_PER_ENTER;
use halley_gateway::mesh::msg::ConnRef;
use halley_protocol::payload::Payload;

use crate::rig::{LISTENER, Rig, pattern, read};

/// Sends `bytes` from `from` on as a shard does: what a short send left waits for room.
fn send_all(rig: &mut Rig, conn: ConnRef, bytes: &[u8]) -> usize {
    let mut from = 0;
    let mut shorts = 0;
    while from < bytes.len() {
        let queued = rig.io.send_copy(conn, &mut std::iter::once(&bytes[from..])) as usize;
        from += queued;
        rig.turn();
        let short = rig.seen.iter().position(|event| matches!(event, Event::SendShort { conn: of, .. } if *of == conn));
        let Some(short) = short else { continue };
        let Event::SendShort { sent, .. } = rig.seen.remove(short) else { unreachable!() };
        assert!((sent as usize) < queued, "a send that took everything says nothing");
        from -= queued - sent as usize;
        shorts += 1;
        rig.io.poll_writable(conn);
        rig.until("Writable", |event| (*event == Event::Writable { conn }).then_some(()));
    }
    shorts
}

/// Against a reader slower than us every byte arrives once and in order, through short sends and full sockets.
#[test]
fn a_slow_reader_gets_every_byte() {
    let mut rig = Rig::with(8, Some(8 * 1024), |_| {});
    let (conn, mut client) = rig.accept_single();
    let all = pattern(4 << 20, 9);
    let reader = std::thread::spawn({
        let total = all.len();
        move || {
            let mut received = Vec::new();
            let mut piece = vec![0; 30_011];
            while received.len() < total {
                let count = client.read(&mut piece).unwrap();
                assert!(count > 0, "ended after {}", received.len());
                received.extend_from_slice(&piece[..count]);
                std::thread::yield_now();
            }
            received
        }
    });
    let mut shorts = 0;
    let sizes = [1usize, 26, 999, 4096, 60_000, 65_536, 200_000];
    let mut rest = &all[..];
    for size in sizes.iter().cycle() {
        let (piece, left) = rest.split_at((*size).min(rest.len()));
        shorts += send_all(&mut rig, conn, piece);
        rest = left;
        if rest.is_empty() {
            break;
        }
    }
    let received = reader.join().unwrap();
    assert!(received == all, "the bytes differ");
    assert!(shorts > 10, "only {shorts} sends were short: the test proves nothing");
}

/// A socket that takes nothing any more answers with a short send of 0 bytes, not with a failure.
#[test]
fn a_full_socket_is_short_by_everything() {
    let mut rig = Rig::with(8, Some(4096), |_| {});
    let (conn, mut client) = rig.accept_single();
    let piece = pattern(60_000, 5);
    let mut taken = 0;
    let mut answers = Vec::new();
    while answers.last() != Some(&0) {
        let queued = rig.io.send_copy(conn, &mut std::iter::once(&piece[..]));
        rig.turn();
        let sent = rig.seen.iter().find_map(|event| match event {
            Event::SendShort { sent, .. } => Some(*sent),
            _ => None,
        });
        rig.seen.clear();
        taken += sent.unwrap_or(queued) as usize;
        if let Some(sent) = sent {
            answers.push(sent);
            if sent > 0 {
                // The socket is full now; room for the small rest of its buffer may come without any reading.
                rig.io.poll_writable(conn);
                rig.turn();
                if !rig.seen.iter().any(|event| matches!(event, Event::Writable { .. })) {
                    break;
                }
            }
        }
    }
    assert!(!answers.is_empty());
    // Whatever was told, the client finds exactly what was said to be taken.
    rig.io.close(conn);
    rig.closed(conn);
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), taken);
}

/// Sends that work produce no event, one entry each, and many of them go in batches of the limit.
#[test]
fn whole_sends_are_silent_and_batched() {
    const CLIENTS: usize = 600;
    let mut rig = Rig::new(1024);
    rig.io.accept_many(LISTENER);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| rig.accept()).collect();
    rig.turn();
    let before = rig.io.counters();
    for round in 0..20u8 {
        for (conn, _) in &clients {
            assert_eq!(rig.io.send_copy(*conn, &mut [&b"frame "[..], &[round], b"!"].into_iter()), 8);
        }
        rig.io.turn(halley_gateway::io::Wait::No, &mut rig.seen);
    }
    assert_eq!(rig.seen, []);
    let after = rig.io.counters();
    assert_eq!(after.sends - before.sends, 20 * CLIENTS as u64);
    assert_eq!(after.submissions - before.submissions, 20 * CLIENTS as u64, "one entry a send");
    assert_eq!(after.enters - before.enters, 20 * CLIENTS.div_ceil(SUBMISSIONS_PER_ENTER) as u64);
    let expected: Vec<u8> = (0..20u8).flat_map(|round| [b"frame ", &[round][..], b"!"].concat()).collect();
    for (_, client) in &mut clients {
        assert_eq!(read(client, expected.len()), expected);
    }
}

/// A payload is kept alive until the kernel has copied it, and let go of right after: the shard may drop its own
/// reference at once.
#[test]
fn payloads_are_held_for_one_enter() {
    let mut rig = Rig::new(16);
    rig.io.accept_many(LISTENER);
    let mut clients: Vec<_> = (0..10).map(|_| rig.accept()).collect();
    for round in 0..50u8 {
        let payload = Arc::new(Payload::plain(1, 1000, i32::from(round), &[round; 100]));
        let weak = Arc::downgrade(&payload);
        let bytes = payload.bytes(false).to_vec();
        for (conn, _) in &clients {
            rig.io.send_payload(*conn, &payload, false, 0);
        }
        assert_eq!(Arc::strong_count(&payload), 2, "one reference for all sends of it");
        drop(payload);
        assert_eq!(weak.strong_count(), 1, "held by the io");
        rig.turn();
        assert_eq!(weak.strong_count(), 0, "and released");
        for (_, client) in &mut clients {
            assert_eq!(read(client, bytes.len()), bytes);
        }
    }
}

/// Both forms of a payload go out, from any byte on.
#[test]
fn payloads_are_sent_in_their_form_from_their_offset() {
    let mut rig = Rig::new(8);
    let (conn, mut client) = rig.accept_single();
    let payload = Arc::new(Payload::message(1000, b"body"));
    for websocket in [false, true] {
        let whole = payload.bytes(websocket).to_vec();
        for from in [0, 1, whole.len() - 1] {
            rig.io.send_payload(conn, &payload, websocket, u32::try_from(from).unwrap());
            rig.turn();
            assert_eq!(read(&mut client, whole.len() - from), whole[from..]);
        }
    }
}

/// A coalesced send is cut at its limit, and says how much was queued.
#[test]
fn a_copy_is_cut_at_its_limit() {
    let mut rig = Rig::new(8);
    let (conn, mut client) = rig.accept_single();
    let part = pattern(40_000, 2);
    let queued = rig.io.send_copy(conn, &mut [&part[..], &part[..], &part[..]].into_iter());
    assert_eq!(queued as usize, SEND_COPY_BYTES_MAX);
    rig.turn();
    let mut expected = [&part[..], &part[..]].concat();
    expected.truncate(SEND_COPY_BYTES_MAX);
    assert!(read(&mut client, SEND_COPY_BYTES_MAX) == expected);
    assert_eq!(rig.io.send_copy(conn, &mut std::iter::empty()), 0, "nothing to send is no send");
    rig.turn();
    assert_eq!(rig.seen, []);
}

/// More scratch memory than is kept for one enter: the kernel is entered early, and everything arrives.
#[test]
fn copies_beyond_the_scratch_memory_arrive_too() {
    let mut rig = Rig::with(64, Some(1 << 20), |_| {});
    rig.io.accept_many(LISTENER);
    let mut clients: Vec<_> = (0..40u8).map(|_| rig.accept()).collect();
    let copies: Vec<_> = (0..40u8).map(|seed| pattern(50_000, seed)).collect();
    for ((conn, _), copy) in clients.iter().zip(&copies) {
        assert_eq!(rig.io.send_copy(*conn, &mut copy.chunks(7_000)) as usize, copy.len());
    }
    rig.turn();
    assert_eq!(rig.seen, []);
    for ((_, client), copy) in clients.iter_mut().zip(&copies) {
        assert!(read(client, copy.len()) == *copy);
    }
}

/// Sending to a client that reset the connection fails for good.
#[test]
fn a_reset_fails_the_send() {
    let mut rig = Rig::new(8);
    let (conn, client) = rig.accept_single();
    rig.io.poll_readable(conn);
    rig.turn();
    socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    rig.until("Readable", |event| matches!(event, Event::Readable { .. }).then_some(()));
    rig.io.send_copy(conn, &mut std::iter::once(&b"hello"[..]));
    let error = rig.until("SendFailed", |event| match event {
        Event::SendFailed { error, .. } => Some(error.0),
        _ => None,
    });
    assert!([libc::EPIPE, libc::ECONNRESET].contains(&error), "{error}");
}

/// Within one turn all failed and short sends are told before anything else, however they mixed in the kernel.
#[test]
fn failures_of_sends_come_first() {
    let mut rig = Rig::with(64, Some(4096), |_| {});
    rig.io.accept_many(LISTENER);
    let clients: Vec<_> = (0..40).map(|_| rig.accept()).collect();
    let piece = vec![0; SEND_COPY_BYTES_MAX];
    let mut stalled = std::collections::HashSet::new();
    let mut mixed = 0;
    for _ in 0..400 {
        if stalled.len() == clients.len() {
            break;
        }
        for (conn, mut client) in clients.iter().map(|(conn, client)| (*conn, client)) {
            if !stalled.contains(&conn) {
                rig.io.send_copy(conn, &mut std::iter::once(&piece[..]));
                std::io::Write::write_all(&mut client, b"x").unwrap();
                rig.io.receive(conn);
            }
        }
        let mut events = Vec::new();
        let mut open: usize = clients.len() - stalled.len();
        while open > 0 {
            let mut turn = Vec::new();
            rig.io.turn(halley_gateway::io::Wait::AtMost(crate::rig::PATIENCE), &mut turn);
            let is_failure = |event: &Event| matches!(event, Event::SendShort { .. } | Event::SendFailed { .. });
            let failures = turn.iter().take_while(|event| is_failure(event)).count();
            assert!(!turn[failures..].iter().any(is_failure), "{turn:?}");
            mixed += usize::from(failures > 0 && failures < turn.len());
            for event in &turn {
                match event {
                    Event::Received { buffer, .. } => {
                        rig.io.recycle(*buffer);
                        open -= 1;
                    }
                    Event::ReceiveEmpty { .. } => open -= 1,
                    Event::SendShort { conn, .. } => {
                        stalled.insert(*conn);
                    }
                    other => panic!("{other:?}"),
                }
            }
            events.extend(turn);
        }
    }
    assert_eq!(stalled.len(), clients.len(), "every socket filled up");
    assert!(mixed > 0, "no turn mixed failures with other events: the test proves nothing");
}

/// A client that has sent FIN but reads on is told of room like any other: its FIN, which ends every poll at once, must
/// not turn waiting for room into a busy loop.
#[test]
fn waiting_for_room_is_quiet_after_the_peers_fin() {
    let mut rig = Rig::with(8, Some(4096), |_| {});
    let (conn, mut client) = rig.accept_single();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    rig.io.poll_readable(conn);
    rig.until("Readable", |event| matches!(event, Event::Readable { .. }).then_some(()));
    assert_eq!(rig.drain(conn), (Vec::new(), true));
    let piece = pattern(SEND_COPY_BYTES_MAX, 4);
    let mut received = 0;
    let mut taken = 0;
    for round in 0..10 {
        // Fill the socket until it takes nothing at all; one `Writable` for what is left of its buffer is fine each
        // time.
        let mut refused = 0;
        let mut tries = 0;
        while refused < 3 {
            tries += 1;
            assert!(tries < 2_000, "round {round}: told of room that is not there");
            let queued = rig.io.send_copy(conn, &mut std::iter::once(&piece[..]));
            rig.turn();
            let short = rig.seen.iter().position(|event| matches!(event, Event::SendShort { .. }));
            let Some(short) = short else {
                taken += queued as usize;
                continue;
            };
            let Event::SendShort { sent, .. } = rig.seen.remove(short) else { unreachable!() };
            taken += sent as usize;
            rig.io.poll_writable(conn);
            let mut told = false;
            for _ in 0..5 {
                rig.turn();
                told |= rig.seen.iter().any(|event| matches!(event, Event::Writable { .. }));
            }
            if !told {
                break;
            }
            rig.seen.retain(|event| !matches!(event, Event::Writable { .. }));
            refused += usize::from(sent == 0);
        }
        assert!(refused < 3, "round {round}: told of room that is not there");
        while received < taken {
            let mut part = vec![0; (taken - received).min(50_000)];
            client.read_exact(&mut part).unwrap();
            received += part.len();
        }
        rig.until("Writable", |event| (*event == Event::Writable { conn }).then_some(()));
    }
    rig.io.close(conn);
    rig.closed(conn);
}
