//! Proves that a shard keeps its promises on a kernel that does everything a kernel may do, in any order: seeded runs
//! of the shard and connection code over [`halley_gateway::io::sim::SimIo`], against a model of who may, must and must
//! not receive what, and who may be ended (`world`). A failing seed prints the command that replays it. The same model
//! decided by a tape in place of chance is what a fuzzer runs; it stands among the oracles, whose stored inputs
//! `corpus` runs. Beside them, on the same kernel without its whims, what single bounds, wake-ups and ends promise
//! (`accepting`, `queues`, `receiving`, `refreshing`, `secure`, `latency`, `shedding`, `goodbyes`).

mod accepting;
mod choices;
mod cleartext;
mod client;
#[path = "../../../protocol/tests/protocol/corpus.rs"]
mod corpus;
mod ends;
mod feed;
mod goodbyes;
mod latency;
mod oracles;
mod queues;
mod receiving;
mod refreshing;
mod rig;
mod secure;
mod secured;
mod shedding;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use choices::Chance;
use world::World;

/// Runs in one `cargo test`; `HALLEY_SIMULATIONS` sets another number.
const RUNS: u64 = 2_000;

fn run(seed: u64) {
    World::new(Chance::new(seed)).run();
}

fn check(seed: u64) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
        eprintln!("seed {seed} failed; replay it with:");
        eprintln!("    HALLEY_SEED={seed} cargo test -p halley-gateway --test simulation replay -- --nocapture");
        std::panic::resume_unwind(panic);
    }
}

/// Every promise holds on every seed.
#[test]
fn seeded_runs() {
    let runs = std::env::var("HALLEY_SIMULATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(RUNS);
    (0..runs).for_each(check);
}

/// One seed again, the one named by `HALLEY_SEED`; without it, a seed of its own.
#[test]
fn replay() {
    let seed = std::env::var("HALLEY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    check(seed);
}

/// Two runs of one seed do exactly the same, so a replay shows what was seen.
#[test]
fn a_seed_is_one_run() {
    for seed in [3, 77, 1234] {
        assert_eq!(World::new(Chance::new(seed)).run(), World::new(Chance::new(seed)).run());
    }
}
