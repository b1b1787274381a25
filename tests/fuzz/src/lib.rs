//! What must hold for any bytes from outside. Each function panics where it does not; the binaries of the same names give
//! them made-up bytes. What needs the inside of the Linux side stands there, in files named `fuzz.rs`.

pub mod artifact;
pub mod http;
mod recipe;
pub mod records;
pub mod texts;
