//! What the end-to-end tests stand on: the real gateway as a process, and clients of every kind that share no code with
//! it. Owns processes and sockets of the tests; judges nothing. Every wait has a deadline that only a failure reaches.

pub mod browser;
pub mod client;
pub mod fleet;
pub mod frame;
pub mod gateway;
pub mod grpc;
pub mod http;
pub mod metrics;

use std::time::{Duration, Instant};

pub use client::{Client, TcpClient, Transport, WsClient};
pub use frame::{Frame, hex, op};
pub use gateway::Gateway;

/// How long something that must happen may take before the test fails. Only failures wait this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `done` gives a value.
pub fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "did not happen within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A login token (goim §1.6).
pub fn token(mid: i64, key: &str, room: &str, accepts: &[i32]) -> String {
    serde_json::json!({ "mid": mid, "key": key, "room_id": room, "platform": "test", "accepts": accepts }).to_string()
}
