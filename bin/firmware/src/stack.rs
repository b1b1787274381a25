//! How much stack a call takes: what is below is filled with a pattern, and afterwards looked through.

use core::ptr;

/// What no code is likely to leave on the stack, word by word.
const PATTERN: u32 = 0xA5C3_96B4;

/// Bytes below the current frame that are watched: more than any call takes, and below nothing else.
const WATCHED: usize = 256 * 1024;

/// Bytes left for the frames of this module itself.
const OWN: usize = 256;

/// What `call` returns, and how many bytes of stack it took.
#[inline(never)]
pub fn measure<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let top = cortex_m::register::msp::read() as usize;
    let bottom = top - WATCHED;
    for address in (bottom..top - OWN).step_by(4) {
        // SAFETY: memory below the stack pointer belongs to nothing: the image has no interrupts, and its variables are far
        // below (the board has 4 MiB).
        unsafe { ptr::write_volatile(address as *mut u32, PATTERN) };
    }
    let value = apart(call);
    let untouched = (bottom..top - OWN)
        .step_by(4)
        // SAFETY: as above.
        .take_while(|&address| unsafe { ptr::read_volatile(address as *const u32) } == PATTERN)
        .count();
    (value, WATCHED - untouched * 4)
}

/// With a frame of its own below the one of [`measure`]: what the compiler puts into it is measured as well.
#[inline(never)]
fn apart<T>(call: impl FnOnce() -> T) -> T {
    call()
}
