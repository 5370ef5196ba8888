//! What is measured. `session` is one server with its clients, `fanout` compares two servers by turns, `memory` weighs
//! idle connections, `instructions` counts what user space executes, `latency` times pushes at steady rates, `log_read`
//! reads batches of a log, `backlog` lets a gateway catch up with one. Each prints its progress and returns a report.

pub(crate) mod backlog;
pub(crate) mod fanout;
pub(crate) mod instructions;
pub(crate) mod latency;
pub(crate) mod log_read;
pub(crate) mod memory;
pub(crate) mod session;
