//! Halley's gateway: holds clients' TCP and WebSocket connections on io_uring and delivers pushes to them.

pub mod conn;
pub mod control;
pub mod feed;
pub mod io;
pub mod limits;
pub mod mesh;
pub mod session;
pub mod shard;
