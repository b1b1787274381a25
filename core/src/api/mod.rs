//! The device API without I/O (`spec/server-api.md`): requests into lent buffers, answers out of them.

pub mod json;
