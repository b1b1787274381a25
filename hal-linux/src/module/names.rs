//! Checks names that come out of an artifact and become parts of paths on the device.

use thimble_core::limits;

/// Longest file name, in bytes: the limit of Linux's file systems.
const FILE_NAME: usize = 255;

/// One plain path component (A1).
pub(super) fn is_payload_type(name: &str) -> bool {
    (1..=limits::PAYLOAD_TYPE).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// One path component, and one line of `stream-next` (A2).
pub(super) fn is_plain(file: &str) -> bool {
    !matches!(file, "" | "." | "..")
        && file.len() <= FILE_NAME
        && !file.contains(|c: char| c == '/' || c.is_control())
}
