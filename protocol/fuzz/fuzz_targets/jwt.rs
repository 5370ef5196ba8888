//! Signed tokens.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_protocol_fuzz::oracles::jwt::jwt(data));
