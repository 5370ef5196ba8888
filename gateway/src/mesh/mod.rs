//! Everything that crosses threads on the data plane: the closed message enums, the bounded single-producer
//! single-consumer rings they travel on, and the doorbell that wakes a sleeping reader. Rings exist only between feed
//! and each shard, and between control and each shard.

pub mod async_wake;
pub mod event;
pub mod msg;
pub mod port;
mod ring;
mod sync;
pub mod wake;

#[cfg(test)]
mod tests;
