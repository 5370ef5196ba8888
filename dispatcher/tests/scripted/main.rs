//! The Kafka client against a broker that does as it is told: every version, every error code, answers that are late,
//! doubled, cut, out of order or none. One binary, so that it is linked once.

mod answers;
mod broker;
mod cluster;
mod connection;
mod golden;
mod login;
mod produces;
mod reads;
#[path = "../kafka/requests.rs"]
mod requests;
mod words;
