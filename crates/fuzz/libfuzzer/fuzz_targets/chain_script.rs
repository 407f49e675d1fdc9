#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| alys_fuzz::chain_script(bytes));
