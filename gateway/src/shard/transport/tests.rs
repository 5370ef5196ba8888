//! What becomes of a connection when the library that reads its upgrade request panics.

use std::sync::Arc;

use super::*;
use crate::io::sim::{ClientId, Faults, SimIo};
use crate::limits::{SPARE_SLOTS, ShardSettings};
use crate::mesh::port;
use crate::mesh::wake::Doorbell;
use crate::shard::application::Goim;
use crate::shard::{Listener, Now, Shard, ShardLinks, ShardParts, Transport};

const CAPACITY: u32 = 16;

/// A shard with one WebSocket listener, whose feed and control are silent.
fn shard() -> Shard<SimIo> {
    let doorbell = Arc::new(Doorbell::new().expect("an eventfd"));
    let links = ShardLinks {
        from_feed: port::channel(16, doorbell.clone()).1,
        to_feed: port::channel(16, doorbell.clone()).0,
        from_control: port::channel(16, doorbell.clone()).1,
        to_control: port::channel(16, doorbell.clone()).0,
        doorbell,
    };
    let parts = ShardParts {
        index: 0,
        listeners: vec![Listener { owner: 0, transport: Transport::WebSocket, tls: false }],
        open: true,
        capacity: CAPACITY,
        settings: Arc::new(ShardSettings::default()),
        quota: Arc::default(),
        stats: Arc::default(),
        seed: [1; 32],
        application: Goim,
    };
    Shard::new(SimIo::new(1, Faults::NONE, CAPACITY + SPARE_SLOTS, 1), links, parts)
}

/// Connects, and sends half of a request; returns the client and its slot.
fn half_a_request(shard: &mut Shard<SimIo>) -> (ClientId, u32) {
    let client = shard.io().connect(0, 1 << 16);
    shard.io().write(client, b"GET /sub HTTP/1.1\r\nHost: x\r\n");
    turns(shard);
    let waits = |slot: &u32| {
        let conn = shard.core.conns.peek(*slot);
        conn.state == ConnState::Upgrade && conn.partial.is_some()
    };
    let slots: Vec<u32> = (0..shard.core.conns.end()).filter(waits).collect();
    (client, *slots.last().expect("it waits for the other half"))
}

fn turns(shard: &mut Shard<SimIo>) {
    for _ in 0..6 {
        shard.turn(Now::default());
    }
}

#[test]
fn a_panic_on_an_upgrade_request_ends_its_connection_only() {
    let mut shard = shard();
    let (victim, slot) = half_a_request(&mut shard);
    let contained = halley_service::panics::contained_total();
    let taken = shard.core.upgrade(slot, b"GET", |_, _| panic!("planted in the library"));
    assert_eq!(taken, None);
    assert!(halley_service::panics::contained_total() > contained);
    let (neighbour, _) = half_a_request(&mut shard);
    shard.io().write(
        neighbour,
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    turns(&mut shard);
    assert!(shard.io().read(victim).starts_with(b"HTTP/1.1 500 "), "a browser is told");
    assert!(shard.io().read(neighbour).starts_with(b"HTTP/1.1 101 "), "the next one is let in");
    let closes = shard.counts().closes;
    assert_eq!((closes[CloseReason::InternalError as usize], closes.iter().sum::<u64>()), (1, 1));
}
