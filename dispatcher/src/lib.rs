//! Takes pushes over HTTP and gRPC, orders them on a bus and routes them to gateways.

pub mod feed;
