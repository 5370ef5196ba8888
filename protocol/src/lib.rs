//! The bytes Halley speaks, without sockets, clocks, or allocation in decode.

pub mod goim;
pub mod payload;
pub mod proto;
pub mod websocket;
