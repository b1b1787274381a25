//! The image of a board with core and all that it needs: how much flash, memory and stack that takes. Feature `full` (the
//! default) has all that core can do; without it the board does without what a small client does without.
//!
//! Run in QEMU (`tests/tests/firmware.rs` does), it takes one deployment from its server to the commit, over a broken
//! link and a reset, and another one to its failure. Then it says what it has used, a line each, and ends with 0:
//!
//! ```text
//! client 26000    bytes of a `Client` without the state of the decompressor and what is lent
//! start 5000      bytes of stack that `Client::start` took
//! poll 6000       bytes of stack that `Client::poll` took at most
//! ```
#![no_std]
#![no_main]

mod board;
mod server;
mod stack;
#[cfg(feature = "full")]
mod verify;
mod wire;

use core::cell::RefCell;
use core::mem::size_of;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, syscall1};
use thimble_core::artifact::ManifestEntry;
use thimble_core::client::{Buffers, Client, Device, Start};
use thimble_core::config::{Config, Tier};
use thimble_core::hal::{Key, Platform};
use thimble_core::machine::{Run, StopSet};
use thimble_core::time::Duration;

use board::{Board, World};
use server::Server;

/// What the board decompresses with.
type Decompress = <Board<'static> as Platform>::Decompress;

/// More than both deployments take.
const POLLS: u32 = 100_000;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    end(false)
}

fn end(good: bool) -> ! {
    loop {
        debug::exit(if good { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    }
}

#[entry]
fn main() -> ! {
    let world = RefCell::new(World::new());
    let installed = br#"{"artifact_name":"release-1","board-revision":"3"}"#;
    if world.borrow_mut().put(Key::Provides, installed).is_err() {
        end(false);
    }
    let config = Config { resume_downloads: cfg!(feature = "full"), ..Config::default() };
    let mut used = Used { start: 0, poll: 0 };
    let mut server = Server::new();
    while server.over < 2 {
        world.borrow_mut().reset = false;
        if !until_reset(&world, &mut server, &config, &mut used) {
            end(false);
        }
    }
    say("client ", size_of::<Client<'_, Board<'_>>>() - size_of::<Decompress>());
    say("start ", used.start);
    say("poll ", used.poll);
    let extras = server.extras == [cfg!(feature = "full"); 2];
    end(server.good == [true, false] && extras && server.resumed == 1 && world.borrow().written > 0)
}

/// Stack, in bytes.
struct Used {
    start: usize,
    poll: usize,
}

/// From one reset to the next, or to the end of all deployments; false: there was none.
#[inline(never)]
fn until_reset(world: &RefCell<World>, server: &mut Server, config: &Config, used: &mut Used) -> bool {
    let mut heads = [0; 4096];
    let buffers = Buffers {
        chunk: &mut [0; 1024],
        record: &mut [0; 4096],
        out: &mut [0; 4096],
        token: &mut [0; 1024],
        link: &mut [0; 2048],
        maps: &mut [0; Buffers::LEAST_MAPS],
        name: &mut [0; 1024],
        header_info: &mut [0; 2048],
        type_info: &mut [0; 2048],
        meta_data: &mut [0; 1024],
        files: &mut [ManifestEntry::default(); 2],
        window: &mut [0; 32 * 1024],
    };
    let start = Start { config, run: Run::Daemon, stop_before: StopSet::default(), source: None };
    let device = Device {
        servers: &["https://server.example"],
        tenant_token: "",
        tier: Some(Tier::Micro),
        version: "0",
    };
    let mut client = Client::new(board::hal(world, &mut heads), device, buffers);
    let (started, taken) = stack::measure(|| client.start(start).is_ok());
    used.start = used.start.max(taken);
    if !started {
        return false;
    }
    for _ in 0..POLLS {
        let (wake, taken) = stack::measure(|| client.poll());
        used.poll = used.poll.max(taken);
        let mut world = world.borrow_mut();
        if world.reset {
            return true;
        }
        let has_moved = server.turn(&mut world.wire);
        if server.over == 2 {
            return true;
        }
        let now = world.now;
        let wake = wake.filter(|_| !has_moved);
        world.now = wake.map_or(now, |at| at.max(now)) + Duration::from_millis(1);
    }
    false
}

/// A line of the report.
fn say(name: &str, number: usize) {
    let mut digits = [0; 12];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    write(name.as_bytes());
    write(&digits[at..]);
    write(b"\n");
}

/// To the standard output of QEMU.
fn write(bytes: &[u8]) {
    for byte in bytes {
        // SAFETY: the debugger reads one byte at the given address.
        unsafe { syscall1!(WRITEC, core::ptr::from_ref(byte)) };
    }
}
