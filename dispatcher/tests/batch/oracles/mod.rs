//! What must hold for any bytes at all that a log or a broker may answer. Each oracle takes arbitrary bytes and panics
//! when a promise of the batch reader or of the Kafka client is broken; the fuzzer feeds them what it invents, `corpus`
//! what is stored, so both run the same code. Uses the crate's public side.

pub mod batch;
pub mod kafka;

/// An oracle.
pub type Oracle = fn(&[u8]);

/// Every oracle by the name of its fuzz target and of its corpus.
pub const ALL: [(&str, Oracle); 4] = [
    ("batch_answer", batch::answer),
    ("batch_records", batch::records),
    ("kafka_answer", kafka::answer),
    ("kafka_connection", kafka::connection),
];
