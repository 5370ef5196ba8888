//! Lends the oracles of the gateway's simulation, and what they are made of, to the fuzz targets, each of which is one
//! line.
#![expect(dead_code, reason = "the simulation's own tests use more of what it is made of")]

#[path = "../../tests/simulation/choices.rs"]
mod choices;
#[path = "../../tests/simulation/cleartext.rs"]
mod cleartext;
#[path = "../../tests/simulation/client.rs"]
mod client;
#[path = "../../tests/simulation/ends.rs"]
mod ends;
#[path = "../../tests/simulation/feed.rs"]
mod feed;
#[path = "../../tests/simulation/oracles/mod.rs"]
pub mod oracles;
#[path = "../../tests/simulation/world/mod.rs"]
mod world;
