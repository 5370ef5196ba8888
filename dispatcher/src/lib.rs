//! Takes pushes over HTTP and gRPC, puts them into a log, and reads the log for the gateway of this process.
//!
//! The walk of a push: [`ingress`] (who may, what may) → [`bus`] (order, bound, id) → [`consume`] → [`gateways`]. What
//! is answered with success is in the log and will be handed to the gateway in the order of its partition; it is done
//! with when the gateway has accepted it. [`registry`] knows who is online, [`discovery`] how clients find a gateway,
//! [`receipts`] bring the number of matched connections back, [`stats`] count, [`metrics`] show it, [`assemble`] wires
//! all of it.

#![warn(unreachable_pub)]

pub mod assemble;
mod backoff;
pub mod bus;
pub mod config;
pub mod consume;
pub mod discovery;
pub mod gateways;
pub mod ingress;
pub mod metrics;
pub mod program;
pub mod receipts;
pub mod registry;
pub mod stats;
