//! Step 4 of a push on its way out: the way from the log to the gateway. Owns reading: which records, in which order,
//! once. Knows neither who produced them nor what becomes of them. Before it: [`crate::bus`]. After it:
//! [`crate::gateways`].
//!
//! | file | owns |
//! |---|---|
//! | `reader` | the pure core: positions, questions, gaps |
//! | `handing` | what of it is handed over, and how it begins and ends; waits for nothing |
//! | `run` | the task around them |
//! | `records` | a batch's records as deliveries |
//! | `share` | a gateway's share of a paced broadcast |
//! | `stats` | what others see of it |
//! | `clock` | the time by which it is measured |

pub mod clock;
pub mod handing;
pub mod reader;
pub mod run;
pub mod share;
pub mod stats;

mod records;
#[cfg(test)]
mod tests;

pub use handing::Why;
pub use run::{Consume, End, Ended, Wiring};
