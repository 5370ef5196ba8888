//! TLS sessions with a stranger on the line.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_gateway_fuzz::oracles::tls_receive::tls_receive(data));
