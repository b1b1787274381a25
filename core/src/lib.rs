//! The core of thimble, an over-the-air update client that speaks Mender's language.
//!
//! No heap, no operating system, no clock and no I/O: a pure state machine ([`machine::Machine`]) that is told
//! what happened and says what to do next, a driver ([`client::Client`]) that does it through the traits of
//! [`hal`], and push parsers for the bytes ([`artifact`]).
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::arithmetic_side_effects,
        clippy::panic,
        reason = "a test may panic"
    )
)]

#[cfg(test)]
extern crate std;

mod apart;
pub mod api;
pub mod artifact;
pub mod begun;
pub mod checkpoint;
pub mod client;
pub mod config;
pub mod control;
mod crc;
pub mod deployment;
mod digits;
#[cfg(feature = "flight")]
pub mod flight;
pub mod flow;
pub mod hal;
pub mod http;
pub mod json;
pub mod last_report;
pub mod limits;
pub mod machine;
pub mod message;
pub mod module;
#[cfg(feature = "http")]
pub mod network;
#[cfg(feature = "panel")]
pub mod panel;
mod plain;
pub mod retry;
pub mod script;
mod sealed;
pub mod session;
mod sort;
pub mod state;
pub mod text;
#[cfg(feature = "text")]
pub mod texts;
pub mod time;
pub mod transfer;

pub use embedded_io;
