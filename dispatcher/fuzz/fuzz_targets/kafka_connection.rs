//! What a broker sends on a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_dispatcher_fuzz::oracles::kafka::connection(data));
