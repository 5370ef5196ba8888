//! One client connection.

pub mod close;
