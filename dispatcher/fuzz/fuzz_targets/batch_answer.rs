//! Answers of a log.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_dispatcher_fuzz::oracles::batch::answer(data));
