//! Everything stored, through every oracle of the test that this file is a part of: the fuzzer's corpus as plain tests,
//! and tapes of chance beside it. The gateway's simulation runs its own oracles by the same file.

use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng, RngCore as _, SeedableRng};

use crate::oracles;

/// Tapes of chance for each oracle.
const TAPES: u64 = 1_000;

/// Every file of `fuzz/corpus/<target>/` through the oracle of that name; what the fuzzer once found stays found.
#[test]
fn stored_inputs_keep_their_promises() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let corpus = fuzz.join("corpus");
    assert_eq!(names(&corpus), oracles::ALL.map(|(name, _)| name), "a corpus for each oracle and no other");
    let targets = oracles::ALL.map(|(name, _)| format!("{name}.rs"));
    assert_eq!(names(&fuzz.join("fuzz_targets")), targets, "a fuzz target for each oracle and no other");

    for (name, oracle) in oracles::ALL {
        let files = names(&corpus.join(name));
        assert!(!files.is_empty(), "the corpus of {name} is empty");
        for file in files {
            // Shown by a failing test, so that the input is known.
            println!("{name}/{file}");
            oracle(&std::fs::read(corpus.join(name).join(&file)).expect("a readable file"));
        }
    }
}

/// Bytes of no meaning through every oracle, each tape by its seed.
#[test]
fn tapes_of_chance_keep_the_same_promises() {
    for (name, oracle) in oracles::ALL {
        for seed in 0..TAPES {
            let mut random = SmallRng::seed_from_u64(seed);
            let mut tape = vec![0; random.random_range(0..600)];
            random.fill_bytes(&mut tape);
            println!("{name}, tape {seed}");
            oracle(&tape);
        }
    }
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a readable name")).collect();
    names.sort();
    names
}
