//! Everything stored, through every oracle: the fuzzer's corpus as plain tests, and each golden vector cut at every byte.

use std::path::Path;

use crate::oracles;
use crate::vectors;

/// Every file of `fuzz/corpus/<target>/` through the oracle of that name; what the fuzzer once found stays found.
#[test]
fn stored_inputs_keep_their_promises() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut targets = Vec::new();
    for target in std::fs::read_dir(&corpus).expect("fuzz/corpus") {
        targets.push(target.expect("an entry").file_name().into_string().expect("a readable name"));
    }
    targets.sort();
    assert_eq!(targets, oracles::ALL.map(|(name, _)| name), "a corpus for each oracle, an oracle for each corpus");

    for (name, oracle) in oracles::ALL {
        let mut files = 0;
        for file in std::fs::read_dir(corpus.join(name)).expect("a corpus") {
            let path = file.expect("an entry").path();
            let bytes = std::fs::read(&path).expect("a readable file");
            // Shown by a failing test, so that the input is known.
            println!("{}", path.display());
            oracle(&bytes);
            files += 1;
        }
        assert!(files > 0, "the corpus of {name} is empty");
    }
}

/// The oracles' first bytes say how to cut and what to limit; each vector is read with several of them, cut off at each of
/// its bytes, so that every decoder meets every prefix of every golden frame.
#[test]
fn every_vector_cut_at_every_byte() {
    for (id, vector) in vectors::all() {
        for end in 0..=vector.len() {
            println!("{id} cut at {end}");
            for (_, oracle) in oracles::ALL {
                oracle(&vector[..end]);
                for [cuts, setting] in [[0, 0], [0, 255], [1, 64], [7, 255], [255, 255]] {
                    oracle(&[&[cuts], &vector[..end]].concat());
                    oracle(&[&[cuts, setting], &vector[..end]].concat());
                }
            }
        }
    }
}
