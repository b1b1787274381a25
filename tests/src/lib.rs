//! Shared helpers of the test suites.

pub mod bus;
pub mod lab;
pub mod managed;
