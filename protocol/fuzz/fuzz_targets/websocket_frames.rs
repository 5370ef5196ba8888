//! WebSocket client frames in both profiles.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_protocol_fuzz::oracles::websocket::frames(data));
