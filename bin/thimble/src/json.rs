//! Members of the JSON objects that programs read.

use std::fmt::Write as _;

use thimble_core::json::Escape;

/// Adds a member to an object of JSON that has one already.
pub(crate) fn member(out: &mut String, name: &str, value: Option<&str>) {
    let _ = match value {
        None => write!(out, ",\"{name}\":null"),
        Some(value) => write!(out, ",\"{name}\":\"")
            .and_then(|()| Escape(out).write_str(value))
            .and_then(|()| out.write_str("\"")),
    };
}

/// The same with a number.
pub(crate) fn number(out: &mut String, name: &str, value: Option<u64>) {
    let _ = match value {
        None => write!(out, ",\"{name}\":null"),
        Some(value) => write!(out, ",\"{name}\":{value}"),
    };
}

/// A text as JSON has it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let _ = Escape(&mut out).write_str(text);
    out.push('"');
    out
}

/// A list of values that are JSON already.
pub(crate) fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(","))
}
