//! Step 3 of a push on its way out, where several gateways read: the log as Apache Kafka keeps it, brokers of 3.1 and
//! newer. Owns a lean client: it reads partitions by assignment and appends idempotently, and does nothing else (no
//! groups, no transactions, no reading from followers, no fetch sessions). Pure cores ([`connection::core`],
//! [`metadata`]) with thin drivers around them.
//!
//! The walk of a read: [`log`] → [`cluster`] → [`connection`] → [`wire`], and back; of a push: [`producer`], with
//! [`produce`] to decide, then the same way.

pub mod check;
pub mod cluster;
pub mod codes;
pub mod connection;
pub mod error;
pub mod log;
pub mod metadata;
pub mod produce;
pub mod producer;
pub mod settings;
pub mod wire;
