//! The protocol crate seen from outside: golden bytes, rules as tables, round trips, and the fuzz oracles over
//! everything that is stored. One binary, so that it is linked once.

mod corpus;
mod field_scan;
mod frames;
mod goim;
mod handshake;
mod oracles;
mod payload;
mod protobuf;
mod push;
mod round_trip;
mod vectors;
