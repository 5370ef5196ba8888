//! The feed thread.

pub mod intake;
