//! Lends the oracles of the protocol crate's tests to the fuzz targets, each of which is one line.

#[path = "../../tests/protocol/oracles/mod.rs"]
pub mod oracles;
