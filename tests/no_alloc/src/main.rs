//! The proof that core needs no heap and no operating system.
//!
//! This binary has no standard library, no allocator and no `main` of Rust's. It instantiates the client, the parser,
//! the gzip decoder and HTTP for a made-up board. Were anything in them, or in what they depend on, to allocate, the
//! compiler would stop with "no global memory allocator found".
//!
//! Run, it drives the client until the board refuses its (empty) artifact, prints why, and exits with 0. It is built without
//! texts: what it prints is a code.
#![no_std]
#![no_main]

mod board;
mod stream;

use core::hint::black_box;
use core::panic::PanicInfo;

use thimble_core::artifact::ManifestEntry;
use thimble_core::client::{Buffers, Client, Device, Start};
use thimble_core::config::Config;
use thimble_core::http::Target;
use thimble_core::machine::{Run, StopSet};

// memcpy and its siblings, which on a board come from the compiler's own library.
#[link(name = "c")]
unsafe extern "C" {
    fn write(file: i32, bytes: *const u8, count: usize) -> isize;
}

/// Writes to standard output.
fn print(text: &str) {
    // SAFETY: the bytes are those of `text`, which outlives the call; the kernel only reads them.
    unsafe { write(1, text.as_ptr(), text.len()) };
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

/// What the C start-up code calls.
#[unsafe(no_mangle)]
pub extern "C" fn main() -> i32 {
    let run = black_box(Run::Install);
    let source = black_box(Some(Target::Url("http://127.0.0.1/empty.mender")));
    let config = Config::default();
    let buffers = Buffers {
        chunk: &mut [0; 4096],
        record: &mut [0; 4096],
        out: &mut [0; 4096],
        token: &mut [0; 1024],
        link: &mut [0; 2048],
        maps: &mut [0; Buffers::LEAST_MAPS],
        name: &mut [0; 1024],
        header_info: &mut [0; 4096],
        type_info: &mut [0; 4096],
        meta_data: &mut [0; 8192],
        files: &mut [ManifestEntry::default(); 8],
        window: &mut [0; 32 * 1024],
    };
    let start = Start { config: &config, run, stop_before: StopSet::default(), source };
    let device = Device { servers: &["http://127.0.0.1"], tenant_token: "", tier: None, version: "0" };
    let mut client = Client::new(board::hal(), black_box(device), buffers);
    if client.start(start).is_err() {
        return 1;
    }
    for _ in 0..1000 {
        client.poll();
        if client.report().is_some() {
            print(client.reason());
            return 0;
        }
    }
    2
}
