//! The feed thread. Owns the way of a push to the shards: it takes pushes, frames each once, and hands them to the
//! shards that have somebody to give them to. `intake` is the door through which others ask. `node` is the loop behind
//! the door, over the `directory` of logins and rooms that the shards report. `deliver`, `news` and `requests` are its
//! phases, all on one `state`. It never touches a socket, and never waits for a ring. Next: `shard::inbox`.

pub mod directory;
pub mod intake;
pub mod links;
pub mod node;
pub mod stats;

mod deliver;
mod listings;
mod news;
mod receipts;
mod requests;
mod route;
mod state;
mod watch;
