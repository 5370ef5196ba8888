//! goim frames in one WebSocket message.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_protocol_fuzz::oracles::goim::message(data));
