//! The contract of `io::Io`, kept by the kernel and by its fake alike: one random script, one caller that keeps its
//! side, one checker that believes no event it did not ask for. What the fake may do and the kernel never does is fine;
//! the other way round would make every simulation worthless.

#![allow(missing_docs)]

mod caller;
mod ends;
mod obligations;

use caller::Caller;
use ends::{Clients, FakeClients, KernelClients};
use halley_gateway::io::sim::Faults;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// One run: clients that connect, talk, dawdle, leave and vanish, and a caller that echoes, talks and closes.
fn run(mut clients: impl Clients, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut caller = Caller::new();
    for _ in 0..random.random_range(30..150) {
        match random.random_range(0..100) {
            0..20 => caller.connect(&mut clients),
            20..50 => caller.client_writes(&mut clients, &mut random),
            50..65 => caller.client_reads(&mut clients, &mut random),
            65..85 => caller.queue_bytes(&mut random),
            85..90 => caller.client_finishes(&mut clients, &mut random),
            90..95 => caller.client_resets(&mut clients, &mut random),
            _ => caller.close_one(clients.io(), &mut random),
        }
        caller.turn(&mut clients);
    }
    caller.finish(&mut clients);
}

/// The fake, at its worst and at its best.
#[test]
fn the_fake_keeps_the_contract() {
    for seed in 0..1_000 {
        for faults in [Faults::ALL, Faults::NONE] {
            run(FakeClients::new(seed, faults), seed);
        }
    }
}

/// The kernel.
#[test]
fn the_kernel_keeps_the_contract() {
    for seed in 0..200 {
        run(KernelClients::new(), seed);
    }
}

/// The checker sees what breaks the contract: an event that nobody asked for.
#[test]
#[should_panic(expected = "Writable")]
fn an_event_nobody_asked_for_is_noticed() {
    let mut clients = FakeClients::new(1, Faults::NONE);
    let mut caller = Caller::new();
    caller.connect(&mut clients);
    caller.turn(&mut clients);
    caller.turn(&mut clients);
    let conn = caller.some_connection();
    clients.io().poll_writable(conn);
    caller.turn(&mut clients);
}

/// The checker sees bytes that differ.
#[test]
#[should_panic(expected = "differ")]
fn bytes_that_nobody_wrote_are_noticed() {
    let mut clients = FakeClients::new(1, Faults::NONE);
    let mut caller = Caller::new();
    caller.connect(&mut clients);
    caller.turn(&mut clients);
    caller.turn(&mut clients);
    clients.write(0, b"forged");
    caller.finish(&mut clients);
}
