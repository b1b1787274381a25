#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thimble_fuzz::records::flight(bytes));
