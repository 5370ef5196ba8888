//! What must hold for any bytes at all. Each oracle takes arbitrary bytes and panics when a promise of the gateway is
//! broken; the fuzzer feeds them what it invents, `corpus` what is stored, so both run the same code. Nothing in them
//! is random and no clock is read: the same bytes are the same run.

pub mod shard;
pub mod tls_receive;

/// An oracle.
pub type Oracle = fn(&[u8]);

/// Every oracle by the name of its fuzz target and of its corpus.
pub const ALL: [(&str, Oracle); 2] = [("shard", shard::shard), ("tls_receive", tls_receive::tls_receive)];
