//! goim's login token.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_protocol_fuzz::oracles::login_json::login_json(data));
