//! A cluster under faults: three brokers, two gateways and a dispatcher as real processes, clients with their own
//! sequence numbers, and pushes that come when they come and that nobody sends again. Of pushes that were answered with
//! success nothing is lost, doubled or out of order on connections that stay up; what was refused never appears, and
//! what is in doubt appears once or not at all. `./test faults` does each fault once, `./test chaos` ten times;
//! `HALLEY_CHAOS_ROUNDS` says how often, `HALLEY_CHAOS_FAULTS` which.

#[allow(dead_code, reason = "other test programs use the rest")]
#[path = "../../../dispatcher/tests/kafka/brokers.rs"]
mod brokers;
mod clients;
mod drain;
mod faults;
mod ledger;
mod process;
mod pushes;
mod verdict;
mod world;

use std::sync::{Mutex, PoisonError};

use faults::Fault;
use verdict::Verdict;
use world::World;

/// One Kafka at a time: the machine is small.
static KAFKA: Mutex<()> = Mutex::new(());

/// Runs it alone.
fn run(story: impl Future<Output = ()>) {
    let _alone = KAFKA.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(story);
}

/// S5: a gateway that drains refuses new pushes by name, answers those under way, and reads on for the clients that are
/// left, each of which gets every push until it is sent away.
#[test]
fn s5_a_drain_reads_on_until_the_last_client_is_gone() {
    run(drain::story());
}

/// S5: a gateway without clients that is told to stop while a push is under way goes on until the push is answered,
/// however fast it is otherwise.
#[test]
fn s5_a_drain_waits_until_the_push_under_way_is_answered() {
    run(drain::story_without_clients());
}

/// Every fault, as often as was asked for, one after the other on one cluster.
#[test]
fn no_fault_loses_doubles_or_reorders_a_push() {
    let rounds: usize = std::env::var("HALLEY_CHAOS_ROUNDS").map_or(1, |rounds| rounds.parse().expect("a number"));
    let wanted = std::env::var("HALLEY_CHAOS_FAULTS").unwrap_or_default();
    let is_wanted = |fault: &&Fault| wanted.is_empty() || wanted.split(',').any(|name| name == fault.name());
    let faults: Vec<Fault> = Fault::ALL.iter().filter(is_wanted).copied().collect();
    assert!(!faults.is_empty(), "HALLEY_CHAOS_FAULTS names none of {:?}", Fault::ALL.map(Fault::name));
    run(async {
        let mut world = World::start().await;
        let mut total = Verdict::default();
        eprintln!("{}", Verdict::HEAD);
        for fault in faults {
            let mut sum = Verdict::default();
            for _ in 0..rounds {
                let seen = world.round(fault).await;
                assert!(seen.proves_something(), "nothing was proved:\n{}\n{}", Verdict::HEAD, seen.row(fault.name()));
                sum.add(&seen);
            }
            eprintln!("{}", sum.row(fault.name()));
            total.add(&sum);
        }
        eprintln!("{}", total.row("all"));
        assert!(total.is_clean(), "pushes were lost, doubled or out of order: {}", total.examples.join("; "));
    });
}
