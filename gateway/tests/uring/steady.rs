//! In steady state the io allocates nothing: counted by the allocator, on the thread that turns.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::sync::Arc;

use halley_gateway::io::{Event, Io, Wait};
use halley_gateway::mesh::msg::ConnRef;
use halley_protocol::payload::Payload;

use crate::rig::{LISTENER, PATIENCE, Rig};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged; counting touches no memory of its own.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised us.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised us.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One round of a shard: every client's message is received and echoed, and a payload goes to everybody.
fn round(rig: &mut Rig, conns: &[ConnRef], payload: &Arc<Payload>, events: &mut Vec<Event>) {
    let mut echoed = 0;
    while echoed < conns.len() {
        rig.io.turn(Wait::AtMost(PATIENCE), events);
        for event in events.drain(..) {
            match event {
                Event::Readable { conn, armed } => {
                    assert!(armed);
                    rig.io.receive(conn);
                }
                Event::Received { conn, buffer, bytes, .. } => {
                    let mut copy = [0; 64];
                    let copy = &mut copy[..bytes as usize];
                    copy.copy_from_slice(rig.io.buffer(buffer, bytes));
                    rig.io.recycle(buffer);
                    rig.io.send_copy(conn, &mut std::iter::once(&*copy));
                    echoed += 1;
                }
                Event::ReceiveEmpty { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    rig.io.turn(Wait::No, events);
    for &conn in conns {
        rig.io.send_payload(conn, payload, false, 0);
    }
    rig.io.turn(Wait::No, events);
}

#[test]
fn a_warm_ring_allocates_nothing() {
    let mut rig = Rig::new(64);
    rig.io.accept_many(LISTENER);
    let mut clients: Vec<_> = (0..50).map(|_| rig.accept()).collect();
    let conns: Vec<_> = clients.iter().map(|(conn, _)| *conn).collect();
    for &conn in &conns {
        rig.io.poll_readable(conn);
    }
    let payload = Arc::new(Payload::plain(1, 1000, 1, &[7; 200]));
    let reply_bytes = 4 + payload.bytes(false).len();
    let mut reply = vec![0; reply_bytes];
    let mut events = Vec::with_capacity(1024);
    let mut counted = 0;
    for number in 0..200 {
        for (_, client) in &mut clients {
            client.write_all(b"ping").unwrap();
        }
        let before = ALLOCATIONS.get();
        round(&mut rig, &conns, &payload, &mut events);
        // The first rounds let every buffer grow to its size.
        if number >= 20 {
            counted += ALLOCATIONS.get() - before;
        }
        for (_, client) in &mut clients {
            client.read_exact(&mut reply).unwrap();
            assert_eq!((&reply[..4], &reply[4..]), (&b"ping"[..], payload.bytes(false)));
        }
    }
    assert_eq!(counted, 0);
    assert_eq!(Arc::strong_count(&payload), 1);
}
