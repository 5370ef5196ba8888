//! Answers of brokers, of every kind and version.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_dispatcher_fuzz::oracles::kafka::answer(data));
