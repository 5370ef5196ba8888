//! How a server process of ours is run, whatever it serves.
//!
//! - [`panics`]: what a panic ends, and the one exception.
//!
//! Architecture Invariant: nothing here knows a push, a room or a client connection of the gateway.

pub mod panics;
