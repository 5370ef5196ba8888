//! A shard and its clients, act by act.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_gateway_fuzz::oracles::shard::shard(data));
