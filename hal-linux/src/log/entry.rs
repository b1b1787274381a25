//! An entry of a deployment log.

use std::fmt::Write as _;

use thimble_core::json::Escape;

/// One entry in the form in which it is written to the file and sent to the server. The server takes an empty text for
/// a missing one.
pub(super) fn entry(time: &str, level: &str, message: &str) -> String {
    let message = if message.is_empty() { "(empty)" } else { message };
    let mut json = String::new();
    for (before, text) in
        [("{\"timestamp\":\"", time), ("\",\"level\":\"", level), ("\",\"message\":\"", message)]
    {
        json.push_str(before);
        // Writing into a `String` cannot fail.
        let _ = Escape(&mut json).write_str(text);
    }
    json.push_str("\"}");
    json
}
