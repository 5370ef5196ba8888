//! Lends the oracles of the dispatcher's tests to the fuzz targets, each of which is one line.

#[path = "../../tests/batch/oracles/mod.rs"]
pub mod oracles;
