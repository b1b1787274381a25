//! The simulated side of thimble: a device and its server as one value, what can happen to them, and the invariants
//! that must hold whatever does.
//!
//! Deterministic: no threads, no wall clock, nothing random; the listener, a feature, is apart from all this.
#![doc = include_str!("../README.md")]

pub mod artifact_writer;
pub mod bootloader;
pub mod check;
pub mod choose;
pub mod explain;
pub mod explore;
pub mod fingerprint;
pub mod fleet;
pub mod flight;
pub mod given;
pub mod lint;
#[cfg(feature = "listen")]
pub mod listen;
pub mod mistake;
pub mod model;
pub mod near;
pub mod reference;
pub mod runner;
pub mod sample;
pub mod sayings;
pub mod scenario;
#[cfg(feature = "mistakes")]
pub mod seeded;
pub mod server;
pub mod sim;
pub mod story;
pub mod survey;
mod visited;
pub mod walk;
pub mod whole;
pub mod world;
