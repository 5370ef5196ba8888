//! Sleeping and being woken by other threads.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use halley_gateway::io::{Event, Io, Wait};
use halley_gateway::mesh::port::channel;

use crate::rig::{PATIENCE, Rig};

/// Without anything to do, `Wait::No` comes back at once and a bounded sleep comes back without an event.
#[test]
fn nothing_happens_when_nothing_happens() {
    let mut rig = Rig::new(8);
    let mut events = Vec::new();
    rig.io.turn(Wait::No, &mut events);
    rig.io.turn(Wait::AtMost(Duration::from_millis(5)), &mut events);
    rig.io.turn(Wait::AtMost(Duration::ZERO), &mut events);
    assert_eq!(events, []);
}

/// A ring of the bell ends a sleep that would otherwise outlast the test, again and again.
#[test]
fn the_doorbell_wakes_a_sleeper() {
    let mut rig = Rig::new(8);
    let bell = Arc::clone(&rig.bell);
    let (go, rung) = mpsc::channel();
    let ringer = std::thread::spawn(move || {
        for () in rung {
            std::thread::sleep(Duration::from_millis(2));
            bell.ring();
        }
    });
    for _ in 0..20 {
        rig.bell.sleepy();
        go.send(()).unwrap();
        let mut events = Vec::new();
        rig.io.turn(Wait::AtMost(PATIENCE), &mut events);
        rig.bell.awake();
        assert_eq!(events, [Event::Woken]);
    }
    drop(go);
    ringer.join().unwrap();
}

/// A shard's loop against a writer that never pauses: each message is found, although the shard sleeps whenever there
/// is none and nothing but the bell could wake it.
#[test]
fn no_wake_up_is_lost_under_load() {
    const MESSAGES: u64 = 200_000;
    let mut rig = Rig::new(8);
    let (mut sender, mut receiver) = channel(256, Arc::clone(&rig.bell));
    let (falls_asleep, asleep) = mpsc::sync_channel(1);
    let writer = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            // Once in the middle there is nothing to do until the shard goes to sleep, however slow this thread is
            // otherwise.
            if number == MESSAGES / 2 {
                sender.flush();
                asleep.recv_timeout(PATIENCE).expect("it goes to sleep when there is nothing left");
            }
            while sender.push(number).is_err() {
                sender.flush();
                std::thread::yield_now();
            }
            if number % (1 + number / 89 % 31) == 0 {
                sender.flush();
            }
        }
        sender.flush();
    });
    let mut expected = 0;
    while expected < MESSAGES {
        let before = expected;
        while let Some(number) = receiver.pop() {
            assert_eq!(number, expected);
            expected += 1;
        }
        if expected > before {
            continue;
        }
        let mut events = Vec::new();
        rig.bell.sleepy();
        if receiver.is_empty() {
            if expected == MESSAGES / 2 {
                let _ = falls_asleep.try_send(());
            }
            rig.io.turn(Wait::AtMost(PATIENCE), &mut events);
            assert_eq!(events.first(), Some(&Event::Woken), "slept {PATIENCE:?} at message {expected}");
        }
        rig.bell.awake();
    }
    writer.join().unwrap();
}
