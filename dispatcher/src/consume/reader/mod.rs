//! The pure core of reading a log: positions, questions, gaps. It knows no socket, no clock and no task: whoever runs
//! it hands in the time, asks what it wants asked, and tells it what came of it.
//!
//! | file | owns |
//! |---|---|
//! | `state` | the reader's state, on which the phases below work |
//! | `partition` | two positions, a cursor, and what lies between them |
//! | `plan` | what is asked next, and when |
//! | `answers`, `topology`, `edges`, `slices` | what an answer means |
//! | `behind` | the step to the log's end, and reading to the end before a stop |
//! | `turns`, `handovers` | what is handed over next, and how far it is done with |
//! | `gaps`, `marks`, `memory` | what was left out, how old, how much |
//! | `asks` | the questions under way and whom they went to |
//! | `settings`, `counts`, `status` | the bounds, what was counted, how it is doing |
//!
//! A round of whoever runs it, with nothing awaited between reserving a place and `admitted`: [`Reader::poll_ask`]
//! until there is none; [`Reader::answer`] for what came; while [`Reader::has_work`] and the gateway has a place:
//! [`Reader::take_gap`], or else batches by [`Reader::take_batch`] and [`Reader::advance`], then [`Reader::admitted`],
//! or [`Reader::nothing_admitted`]; [`Reader::answered`] for the oldest handover.

mod answers;
mod asks;
mod behind;
mod counts;
mod edges;
mod gaps;
mod handovers;
mod marks;
mod memory;
mod partition;
mod plan;
mod settings;
mod slices;
mod state;
mod status;
mod topology;
mod turns;

#[cfg(test)]
mod tests;

pub use counts::{Counts, Event, FETCH_BOUNDS};
pub use settings::{EMBEDDED_MEMORY_BYTES, HANDOVERS_MAX, Settings};
pub use state::Reader;
pub use status::PartitionView;
pub use turns::Batch;
