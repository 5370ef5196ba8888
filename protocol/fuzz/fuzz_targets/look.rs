//! Records, looked at.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_protocol_fuzz::oracles::look::look(data));
