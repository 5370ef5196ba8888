//! The names of the gateway's metrics. Owns nothing else: shards, feed and control publish their counters,
//! `admin` serves the text that [`halley_service::metrics`] makes of them.

pub mod certificates;
pub mod control;
pub mod feed;
pub mod shards;

#[cfg(test)]
mod tests;
