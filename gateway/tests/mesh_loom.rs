//! Every interleaving, within loom's bounds, of the ring between threads and of the sleep flag with its wake-up. The
//! files of `mesh` are compiled here a second time, with loom's primitives under the names they use, so that the crate
//! and its dependencies need no build of their own for it.

#![allow(dead_code, reason = "the models use a part of what the gateway uses")]
#![allow(missing_docs)]

#[path = "../src/mesh/port.rs"]
mod port;
#[path = "../src/mesh/ring.rs"]
mod ring;
#[path = "../src/mesh/wake.rs"]
mod wake;

mod sync {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::sync::Arc;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
}

mod event {
    use loom::sync::{Condvar, Mutex};

    /// An eventfd as a counter: signalling adds one, waiting takes all.
    #[derive(Debug)]
    pub struct Event {
        signals: Mutex<u64>,
        signalled: Condvar,
    }

    impl Event {
        pub(super) fn new() -> std::io::Result<Event> {
            Ok(Event { signals: Mutex::new(0), signalled: Condvar::new() })
        }

        pub(super) fn signal(&self) {
            *self.signals.lock().unwrap() += 1;
            self.signalled.notify_one();
        }

        /// Sleeps until signalled. Loom reports a deadlock when that can never come.
        pub(super) fn wait(&self) {
            let mut signals = self.signals.lock().unwrap();
            while *signals == 0 {
                signals = self.signalled.wait(signals).unwrap();
            }
            *signals = 0;
        }
    }
}

use std::sync::Arc;

use loom::thread;
use port::{Receiver, channel};
use wake::Doorbell;

/// Takes one message, sleeping as a shard does.
fn take(receivers: &mut [Receiver<Box<u32>>], bell: &Doorbell) -> u32 {
    loop {
        if let Some(message) = receivers.iter_mut().find_map(Receiver::pop) {
            return *message;
        }
        bell.sleepy();
        if receivers.iter_mut().all(Receiver::is_empty) {
            bell.event().wait();
        }
        bell.awake();
    }
}

/// Messages arrive whole and in order while slots are reused, and one that is never taken is dropped: loom tracks every
/// access to a slot, and an access that is not ordered after the other side's is a failure of the model.
#[test]
fn slots_change_hands_without_a_race() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring::ring::<Box<u32>>(2);
        let writer = thread::spawn(move || {
            for number in 0..3u32 {
                let mut message = Box::new(number);
                while let Err(back) = producer.push(message) {
                    message = back;
                    producer.publish();
                    thread::yield_now();
                }
            }
        });
        for expected in 0..2 {
            let message = loop {
                if let Some(message) = consumer.pop() {
                    break message;
                }
                thread::yield_now();
            };
            assert_eq!(*message, expected);
        }
        drop(consumer);
        writer.join().unwrap();
    });
}

/// `free` never promises a slot that `push` then refuses.
#[test]
fn free_slots_stay_free_until_the_push() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring::ring::<u32>(1);
        producer.push(0).unwrap();
        producer.publish();
        let reader = thread::spawn(move || consumer.pop());
        if producer.free() > 0 {
            assert_eq!(producer.push(1), Ok(()));
        }
        assert_eq!(reader.join().unwrap(), Some(0));
    });
}

/// A reader that sleeps whenever it finds nothing gets every message of one writer.
#[test]
fn no_wake_up_is_lost_from_one_writer() {
    loom::model(|| {
        let bell = Arc::new(Doorbell::new().unwrap());
        let (mut sender, receiver) = channel(2, Arc::clone(&bell));
        let writer = thread::spawn(move || {
            for number in 0..2 {
                sender.push(Box::new(number)).unwrap();
                sender.flush();
            }
        });
        let mut receivers = [receiver];
        assert_eq!([take(&mut receivers, &bell), take(&mut receivers, &bell)], [0, 1]);
        writer.join().unwrap();
    });
}

/// The same with two rings into one doorbell, where one writer may find that the other has already woken the reader.
#[test]
fn no_wake_up_is_lost_from_two_writers() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let bell = Arc::new(Doorbell::new().unwrap());
        let (writers, mut receivers): (Vec<_>, Vec<_>) = (0..2)
            .map(|number| {
                let (mut sender, receiver) = channel(1, Arc::clone(&bell));
                let writer = thread::spawn(move || {
                    sender.push(Box::new(number)).unwrap();
                    sender.flush();
                });
                (writer, receiver)
            })
            .unzip();
        assert_eq!(take(&mut receivers, &bell) + take(&mut receivers, &bell), 1);
        for writer in writers {
            writer.join().unwrap();
        }
    });
}
