//! Against real Kafka, of every version that we name: what ours reads is what librdkafka reads, and what ours writes it
//! reads. `./test kafka` runs them; each starts a cluster of its own.

#[allow(dead_code, reason = "other test programs use the rest")]
mod brokers;
mod client;
mod dispatcher;
mod doors;
mod harness;
mod ours;
#[allow(dead_code, reason = "the tests without brokers use the rest")]
mod process;
mod producing;
mod reading;
mod requests;
mod writing;
