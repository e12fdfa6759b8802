#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| meshless::fuzzing::dns_answer(data));
