//! Producing, as a pure machine: events in, actions out, time handed in. Owns the rules by which pushes become batches
//! and answers become results; no socket, no clock, no encoding of requests. [`core::Produce`] is the machine,
//! [`act`] the words it is spoken to in, [`verdict`] what an answer's code means, `partition` one partition's queue,
//! `pushes` what the groups of a push come to together. Whoever drives it carries requests to the brokers. Next:
//! [`core`].
//!
//! The rules, by their numbers:
//! - P1: what is in doubt stays in doubt. A push is refused only if nothing of it was written to a socket, or every
//!   attempt was answered by a code that means "not appended".
//! - P2: a sequence number is never used for other records, unless those it was used for were refused for certain.
//! - P3: id, epoch and sequence belong to one partition; a batch that was sent goes under another id only after an
//!   answer that says it was not appended.
//! - P4: all groups of a push are looked at before the first is queued, and come to one result.
//! - P5: one batch under way a partition, one request a broker; what waits meanwhile goes as one batch. After
//!   [`settings::Settings::publish_timeout`] nothing is sent again.

pub mod act;
pub mod batch;
pub mod core;
mod fit;
mod partition;
mod pushes;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod verdict;
