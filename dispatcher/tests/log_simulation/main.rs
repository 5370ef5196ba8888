//! Proves the promise of the shared log on virtual time: what is answered with success reaches every gateway's memory
//! once and in order, whatever happens to brokers, network, publishers and gateways; what is refused never appears;
//! what is left out is told. Seeded runs of the shipped producer and reader over a model of Kafka's replication, which
//! does all that Kafka may do. A failing seed prints the command that replays it.

mod asks;
mod batch;
mod chance;
mod chaos;
mod clients;
mod cluster;
mod faults;
mod feed;
mod gateways;
mod intake;
mod lies;
mod network;
mod oracle;
mod producers;
mod queue;
mod replica;
mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use faults::Fault;
use oracle::Trace;
use world::World;

/// Runs in one `cargo test`; `HALLEY_SIMULATIONS` sets another number.
const RUNS: u64 = 2_000;
/// Runs in which each planted fault is found.
const FAULT_RUNS: u64 = 600;
/// Failing seeds after which no further one is looked for.
const FAILURES_MAX: usize = 10;
/// Lines of the trace that a failing run prints; `HALLEY_TRACE` sets another number.
const TRACE_LINES: u64 = 60;

fn number_in(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

thread_local! {
    /// Why the run of this thread failed, while one is under way.
    static WHY: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of a run are kept for whoever tells of them; all others are told as ever.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = take_hook();
        set_hook(Box::new(move |panic| {
            let is_run = WHY.with_borrow(Option::is_some);
            if is_run { WHY.set(Some(panic.to_string())) } else { tell(panic) }
        }));
    });
}

/// One run: what it came to, or why it failed; with its trace, if that is wanted.
fn run(seed: u64, fault: Option<Fault>, is_traced: bool) -> (Result<(usize, usize), String>, Trace) {
    keep_panics();
    let mut world = World::new(seed, fault);
    world.oracle.trace.is_kept = is_traced;
    WHY.set(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let why = WHY.take().unwrap_or_default();
    (outcome.map_err(|_| why), world.oracle.trace)
}

/// A run that failed, once more, with what happened in it.
fn explain(seed: u64) {
    let (outcome, trace) = run(seed, fault(), true);
    let lines = number_in("HALLEY_TRACE").unwrap_or(TRACE_LINES);
    trace.last(usize::try_from(lines).expect("64 bits")).iter().for_each(|line| eprintln!("{line}"));
    eprintln!("seed {seed} failed: {}", outcome.expect_err("two runs of one seed are the same"));
    eprintln!("replay it with:");
    eprintln!("    HALLEY_SEED={seed} cargo test -p halley-dispatcher --test log_simulation replay -- --nocapture");
}

/// The rule that `HALLEY_FAULT` leaves out, by its name in `faults`.
fn fault() -> Option<Fault> {
    let name = std::env::var("HALLEY_FAULT").ok()?;
    Some(Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name).expect("a name of `faults`"))
}

/// Every promise holds on every seed.
#[test]
fn seeded_runs() {
    let first = number_in("HALLEY_FIRST_SEED").unwrap_or(0);
    let runs = number_in("HALLEY_SIMULATIONS").unwrap_or(RUNS);
    let failed = (first..first + runs).filter_map(|seed| Some((seed, run(seed, fault(), false).0.err()?)));
    let failed: Vec<(u64, String)> = failed.take(FAILURES_MAX).collect();
    if let Some(&(seed, _)) = failed.first() {
        explain(seed);
    }
    failed.iter().for_each(|(seed, why)| eprintln!("seed {seed}: {why}"));
    assert_eq!(failed.len(), 0, "seeds failed");
}

/// One seed again, the one named by `HALLEY_SEED`; without it, a seed of its own.
#[test]
fn replay() {
    let seed = number_in("HALLEY_SEED").unwrap_or(u64::MAX);
    if run(seed, fault(), false).0.is_err() {
        explain(seed);
        panic!("seed {seed} failed");
    }
}

/// Two runs of one seed do exactly the same, so a replay shows what was seen.
#[test]
fn a_seed_is_one_run() {
    for seed in [3, 77, 1234] {
        assert_eq!(run(seed, None, false).0, run(seed, None, true).0);
    }
}

/// Without any one of the rules some run fails: each fault is found within its seeds.
#[test]
fn planted_faults_are_found() {
    let is_found = |fault: Fault| (0..FAULT_RUNS).any(|seed| run(seed, Some(fault), false).0.is_err());
    let missed: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| !is_found(*fault)).collect();
    assert_eq!(missed, []);
}
