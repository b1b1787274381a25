//! Shared helpers of the test suites.

pub mod lab;
pub mod managed;
