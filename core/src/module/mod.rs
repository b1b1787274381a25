//! Handlers of payloads that are built in.

pub mod rootfs;
