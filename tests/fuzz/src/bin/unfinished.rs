#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| thimble_hal_linux::storage::fuzz::unfinished(text));
