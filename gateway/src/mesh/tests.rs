//! What the rings and the doorbell promise, on real threads and a real eventfd. `tests/mesh_loom.rs` explores the
//! interleavings; here are the properties of one thread, the drops and the wake-ups under load.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;

use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::port::{Receiver, Sender, channel};
use super::wake::Doorbell;

fn doorbell() -> Arc<Doorbell> {
    Arc::new(Doorbell::new().expect("an eventfd"))
}

/// Whether the doorbell was rung since it was last cleared, waiting for it up to `patience_s`.
fn rung(bell: &Doorbell, patience_s: i64) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(bell.event().as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: patience_s, tv_nsec: 0 })).expect("poll") > 0
}

/// Consume what was rung.
fn clear(bell: &Doorbell) {
    // EAGAIN only says that nobody rang.
    let _ = rustix::io::read(bell.event(), &mut [0; 8]);
}

#[derive(Clone, Debug)]
enum Step {
    Push,
    Flush,
    Pop,
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![4 => Just(Step::Push), 2 => Just(Step::Flush), 4 => Just(Step::Pop), 1 => Just(Step::Look)];
    prop::collection::vec(step, 0..400)
}

proptest! {
    /// Any sequence of calls does what a `VecDeque` with a staging area does, and every message is dropped once.
    #[test]
    fn a_ring_is_a_bounded_queue_with_staging(steps in steps(), slots_log2 in 0u32..5) {
        let slots = 1usize << slots_log2;
        let alive = Arc::new(());
        let (mut sender, mut receiver): (Sender<(u64, Arc<()>)>, Receiver<_>) = channel(slots, doorbell());
        let (mut staged, mut visible) = (VecDeque::new(), VecDeque::new());
        let mut next = 0u64;
        for step in steps {
            match step {
                Step::Push => {
                    let full = staged.len() + visible.len() == slots;
                    prop_assert_eq!(sender.push((next, Arc::clone(&alive))).is_err(), full);
                    if !full {
                        staged.push_back(next);
                    }
                    next += 1;
                }
                Step::Flush => {
                    sender.flush();
                    visible.append(&mut staged);
                }
                Step::Pop => prop_assert_eq!(receiver.pop().map(|message| message.0), visible.pop_front()),
                Step::Look => {
                    prop_assert_eq!(receiver.is_empty(), visible.is_empty());
                    prop_assert_eq!(receiver.depth(), visible.len());
                    prop_assert_eq!(sender.free(), slots - staged.len() - visible.len());
                }
            }
            prop_assert_eq!(Arc::strong_count(&alive), 1 + staged.len() + visible.len());
        }
        drop(sender);
        visible.append(&mut staged);
        prop_assert_eq!(receiver.depth(), visible.len(), "what was staged outlives its writer");
        drop(receiver);
        prop_assert_eq!(Arc::strong_count(&alive), 1);
    }
}

/// Messages of no size need no memory, but are still counted and dropped.
#[test]
fn messages_without_size_travel_too() {
    let (mut sender, mut receiver) = channel(2, doorbell());
    assert_eq!([sender.push(()), sender.push(()), sender.push(())], [Ok(()), Ok(()), Err(())]);
    sender.flush();
    assert_eq!([receiver.pop(), receiver.pop(), receiver.pop()], [Some(()), Some(()), None]);
}

#[test]
#[should_panic(expected = "power of two")]
fn a_ring_of_three_slots_is_refused() {
    channel::<u8>(3, doorbell());
}

/// The syscall is paid only for a reader that announced sleep, once for each sleep, and never for a flush without news.
#[test]
fn the_doorbell_is_rung_only_for_a_sleeping_reader() {
    let bell = doorbell();
    let (mut sender, _receiver) = channel(8, Arc::clone(&bell));
    sender.push(1).unwrap();
    sender.flush();
    assert!(!rung(&bell, 0), "the reader is awake");
    bell.sleepy();
    sender.flush();
    assert!(!rung(&bell, 0), "nothing new was written");
    sender.push(2).unwrap();
    assert!(!rung(&bell, 0), "nothing is published yet");
    sender.flush();
    assert!(rung(&bell, 0));
    clear(&bell);
    sender.push(3).unwrap();
    sender.flush();
    assert!(!rung(&bell, 0), "it was woken already");
    bell.sleepy();
    bell.awake();
    sender.push(4).unwrap();
    sender.flush();
    assert!(!rung(&bell, 0), "it went on instead of sleeping");
    clear(&bell);
}

/// Two writers into one reader that sleeps whenever it finds nothing: every message arrives, in the order of its
/// writer. A lost wake-up would leave the reader asleep beyond any doubt.
#[test]
fn no_wake_up_is_lost_under_load() {
    const MESSAGES: u64 = 200_000;
    let bell = doorbell();
    let mut writers = Vec::new();
    let mut receivers = Vec::new();
    for writer in 0..2u64 {
        let (mut sender, receiver) = channel(64, Arc::clone(&bell));
        receivers.push(receiver);
        writers.push(std::thread::spawn(move || {
            for number in 0..MESSAGES {
                while sender.push(number).is_err() {
                    sender.flush();
                    std::thread::yield_now();
                }
                // Batches of changing length, so that the reader falls asleep at every possible place.
                if number % (1 + (number / 97 + writer) % 23) == 0 {
                    sender.flush();
                }
            }
            sender.flush();
        }));
    }
    let mut expected = [0u64; 2];
    while expected.iter().sum::<u64>() < 2 * MESSAGES {
        let mut took = 0;
        for (receiver, expected) in receivers.iter_mut().zip(&mut expected) {
            while let Some(number) = receiver.pop() {
                assert_eq!(number, *expected);
                *expected += 1;
                took += 1;
            }
        }
        if took == 0 {
            bell.sleepy();
            if receivers.iter_mut().all(Receiver::is_empty) {
                assert!(rung(&bell, 60), "asleep although {expected:?} of {MESSAGES} had arrived");
                clear(&bell);
            }
            bell.awake();
        }
    }
    for writer in writers {
        writer.join().unwrap();
    }
}
