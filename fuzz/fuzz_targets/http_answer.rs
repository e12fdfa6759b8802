#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| meshless::fuzzing::http_answer(data));
