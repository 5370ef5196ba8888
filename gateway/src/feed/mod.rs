//! The feed thread: takes pushes, frames each once, and hands them to the shards that have somebody to give them to.
//! `intake` is the door through which others ask; `node` is the loop behind the door, with the `directory` of logins and rooms
//! that the shards report. It never touches a socket, and never waits for a ring.

pub mod directory;
pub mod intake;
pub mod node;
pub mod stats;

mod deliver;
mod news;
mod receipts;
mod requests;
mod watch;
