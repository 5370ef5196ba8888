//! The bytes Halley speaks, without sockets or clocks, and, but for logins and records, without allocation in decode.
//!
//! - [`goim`]: the frame of goim's clients, read from TCP streams, WebSocket messages and batches of pushes.
//! - [`websocket`]: RFC 6455, server side: upgrade requests, client frames, server frames.
//! - [`push`]: whom a push is for, the record that a log carries, and the form in which a gateway takes it.
//! - [`payload`]: a push, framed once for both transports.
//! - [`login`], behind the feature of that name: what op 7 may say, and who that makes a client.
//! - [`field_scan`]: the fields of a protobuf message, and how many elements it has, before it is decoded.
//! - [`proto`]: the protobuf messages of goim's components and of our push API.
//!
//! Decoders read the caller's slice and answer with ranges or borrowed frames; what is not whole yet stays with the
//! caller. Three outcomes are kept apart everywhere: "not enough bytes yet" is a value, a fault of the peer is an
//! error, a fault of ours (a body of 2 GiB, a status that nobody may send) is a panic or an assertion. No input panics:
//! the oracles in `tests/protocol/oracles` hold that against fuzzers.
//!
//! Architecture Invariant: nothing here knows who is connected, what time it is, or who is in a room.

#![warn(unreachable_pub)]

pub mod field_scan;
pub mod goim;
#[cfg(feature = "login")]
pub mod login;
pub mod payload;
pub mod proto;
pub mod push;
pub mod websocket;
