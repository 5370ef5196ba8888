//! The control thread: everything about the gateway that is not delivering. Owns admin HTTP, metrics, health, the
//! decision on signed logins, and the other end of the control rings of every shard; touches no client socket and no
//! push. What it tells a shard goes over `mesh` to `shard::inbox`.
//!
//! | file | noun |
//! |---|---|
//! | `node` | the loop over the shards' rings |
//! | `questions` | who waits for which answer of a shard |
//! | `logins` | signed logins waiting for a decision |
//! | `handle` | how the rest of the process asks the loop for something |
//! | `trace`, `trace_stream` | watching one user: who listens, and the lines they get |
//! | `describe` | the connections of a key, a user or a room |
//! | `admin`, `access` | the HTTP routes, and what one must be allowed for them |
//! | `metrics`, `stats`, `health` | what monitoring reads; how shards and feed are asked whether they live |
//! | `ends` | why connections ended, for the log |
//! | `drain` | stopping in order |
//! | `steer` | who accepts for whom when shards are full |

pub mod access;
pub mod admin;
pub mod describe;
pub mod drain;
pub mod ends;
pub mod handle;
pub mod health;
pub mod logins;
pub mod metrics;
pub mod node;
mod questions;
pub mod stats;
pub mod steer;
pub mod trace;
pub mod trace_stream;
