//! Records of a batch whose checksum is right.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_dispatcher_fuzz::oracles::batch::records(data));
