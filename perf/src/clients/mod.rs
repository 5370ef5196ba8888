//! The other end of every measurement: many clients in one process that log in as real ones do and then read as cheaply
//! as the kernel allows. `fleet` connects, `drain` reads and counts; `pushers` push at steady rates and `arrivals`
//! notes when a push arrived. `topic` fills a topic of Kafka with `records`.

pub(crate) mod arrivals;
pub(crate) mod drain;
pub(crate) mod fleet;
pub(crate) mod pushers;
pub(crate) mod records;
pub(crate) mod topic;
