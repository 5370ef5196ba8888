//! Takes pushes over HTTP and gRPC, orders them on a bus and routes them to gateways.
//!
//! The walk of a push: [`ingress`] (who may, what may) → [`bus`] (order, bound, id) → [`consume`] → [`route`] →
//! [`gateways`]. What is answered with success is on the bus and will be handed to the gateways in the order of the
//! bus; the ack follows their acceptance. [`registry`] knows who is online, [`discovery`] how clients find a gateway,
//! [`receipts`] bring the number of matched connections back, [`stats`] count, [`metrics`] show it, [`assemble`] wires
//! all of it.

#![warn(unreachable_pub)]

pub mod assemble;
pub mod bus;
pub mod config;
pub mod consume;
pub mod discovery;
pub mod gateways;
pub mod ingress;
pub mod metrics;
pub mod receipts;
pub mod registry;
pub mod route;
pub mod stats;
