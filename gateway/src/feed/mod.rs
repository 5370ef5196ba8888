//! The feed thread.

pub mod directory;
pub mod intake;
