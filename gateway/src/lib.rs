//! Halley's gateway: holds clients' TCP and WebSocket connections on io_uring and delivers pushes to them.

#![warn(unreachable_pub)]

pub mod cli;
pub mod close;
pub mod comet;
pub mod config;
pub mod conn;
pub mod control;
pub mod feed;
pub mod io;
pub mod limits;
pub mod mesh;
pub mod node;
pub mod placement;
pub mod shard;
pub mod standalone;
pub mod table;
