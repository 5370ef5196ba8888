//! Kafka's protocol on the wire. Owns frames, versions, requests and answers as bytes; knows no socket and no clock.
//! The messages are those of `kafka-protocol`; [`shape`] looks at every answer before they are decoded.

pub mod answer;
pub mod api;
pub mod frame;
pub mod request;
pub mod shape;
