#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thimble_hal_linux::forward::fuzz::bytes(bytes));
