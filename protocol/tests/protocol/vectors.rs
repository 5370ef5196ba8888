//! The golden vectors of goim §9, from `testdata/`. Owns their file format: `#` lines explain, the others are an id and
//! hex.

use std::path::Path;

use crate::oracles;

/// What the specification lists; a vector lost from the files must not go unnoticed.
const IDS: &str =
    "F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12 T1 T2 W1 W2 W3 W4 W5 R1 R2 R3 P1 P2 P3 G1 G2 G3 G4 G5 G6 G7 G8 G9";

/// Every vector, in the order of the files.
pub fn all() -> Vec<(String, Vec<u8>)> {
    ["goim.hex", "websocket.hex", "protobuf.hex"].into_iter().flat_map(read).collect()
}

/// The bytes of one vector.
pub fn vector(id: &str) -> Vec<u8> {
    all().into_iter().find(|(known, _)| known == id).unwrap_or_else(|| panic!("no vector {id}")).1
}

fn read(file: &str) -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (id, hex) = line.split_once(' ').unwrap_or_else(|| panic!("{file}: no id in {line:?}"));
            (id.to_owned(), from_hex(hex))
        })
        .collect()
}

/// Bytes of an even number of hex digits.
pub fn from_hex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "odd number of digits: {hex}");
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn every_vector_of_the_specification_is_here_once() {
    let ids: Vec<String> = all().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids.join(" "), IDS);
}

/// The oracles' first bytes say how to cut and what to limit; each vector is read with several of them, cut off at each
/// of its bytes, so that every decoder meets every prefix of every golden frame.
#[test]
fn every_vector_cut_at_every_byte() {
    for (id, vector) in all() {
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
