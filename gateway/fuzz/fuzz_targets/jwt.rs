//! Signed tokens.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_gateway_fuzz::oracles::jwt::jwt(data));
