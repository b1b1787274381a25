//! Shared helpers of the test suites.

pub mod bus;
pub mod cuts;
pub mod foreign;
pub mod lab;
pub mod managed;
