//! How a server process of ours is run, whatever it serves. `examples/hello.rs` is a whole program on it.
//!
//! - [`serve`]: HTTP and gRPC for anybody who connects, within bounds.
//! - [`access`]: who may ask for what.
//! - [`listen`]: listening sockets.
//! - [`signals`]: what signals do, from the first moment on.
//! - [`command_line`]: what a person asks of the program.
//! - [`config`]: what can be set, where settings come from, what is wrong with them; [`nearest`]: names that were
//!   meant.
//! - [`files`]: reading what the configuration names; [`own_files`]: what is removed at the end.
//! - [`process`], [`threads`], [`lifecycle`]: from the first moment to the last, what runs meanwhile, and what it
//!   wants.
//! - [`health`], [`pulse`], [`observe`], [`notify`]: whether threads live, and who is told.
//! - [`open_files`]: how many connections the limit on them allows.
//! - [`failure`]: why a process ends otherwise than it was asked to, and its exit code.
//! - [`log`]: the lines a program writes about itself.
//! - [`plain`]: text that a terminal or a log may be given; [`timestamp`]: times in it.
//! - [`tls`]: certificates that are read, shown and replaced.
//! - [`mod@counters`]: what is counted on one thread and read on another.
//! - [`metrics`]: what Prometheus reads.
//! - [`panics`]: what a panic ends, and the one exception.
//!
//! Architecture Invariant: nothing here knows a push, a room or a client connection of the gateway.

#![warn(unreachable_pub)]

pub mod access;
pub mod address;
pub mod command_line;
pub mod config;
pub mod counters;
pub mod failure;
pub mod files;
pub mod health;
pub mod lifecycle;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod nearest;
pub mod notify;
pub mod observe;
pub mod open_files;
pub mod own_files;
pub mod panics;
pub mod plain;
pub mod process;
pub mod pulse;
pub mod serve;
pub mod signals;
pub mod threads;
pub mod timestamp;
pub mod tls;
