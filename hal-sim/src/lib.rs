//! The simulated side of thimble.

pub mod server;
