//! The simulated side of thimble: a device and its server as one value, what can happen to them, and the invariants
//! that must hold whatever does.
//!
//! Deterministic: no threads, no wall clock, nothing random.

pub mod artifact_writer;
pub mod check;
pub mod explore;
pub mod model;
pub mod server;
pub mod world;
