//! What is known about who is online and where. Owns the seam: rooms with their counts, and totals;
//! asks no client and pushes nothing. The embedded registry asks the gateway in this process.

pub mod embedded;

use std::sync::Arc;

use crate::gateways::{NoAnswer, Totals};

/// Rooms with at least one member, and how many each has: the largest first, those of one size by name.
pub type Rooms = Arc<[(String, u32)]>;

/// Answers who is online, over all gateways together.
#[async_trait::async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Rooms with members. Not older than the call; the answer, or that there is none, comes in bounded time.
    async fn rooms(&self) -> Result<Rooms, NoAnswer>;
    /// How many members each of these rooms has, in their order. Not older than the call; in bounded time.
    async fn counts(&self, rooms: Vec<String>) -> Result<Vec<u32>, NoAnswer>;
    /// Totals over all gateways, in bounded time too.
    async fn totals(&self) -> Result<Totals, NoAnswer>;
}
