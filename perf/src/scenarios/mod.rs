//! What is measured. `session` is one server with its clients, `fanout` compares two servers by turns, `memory` weighs idle
//! connections, `instructions` counts what user space executes. Each prints its progress and returns a report.

pub mod fanout;
pub mod instructions;
pub mod memory;
pub mod session;
