//! JSON texts of this client's records, written.

use std::fmt::Write;

use thimble_core::json::Escape;

pub(super) const NAME: &str = "artifact_name";
pub(super) const GROUP: &str = "artifact_group";

/// A JSON object of these strings.
pub(super) fn object(pairs: impl Iterator<Item = (String, String)>) -> Vec<u8> {
    let mut json = String::from("{");
    for (key, value) in pairs {
        if json.len() > 1 {
            json.push(',');
        }
        string(&mut json, &key);
        json.push(':');
        string(&mut json, &value);
    }
    json.push('}');
    json.into_bytes()
}

/// A string behind what is there.
pub(super) fn string(json: &mut String, text: &str) {
    json.push('"');
    // Writing into a `String` cannot fail.
    let _ = Escape(json).write_str(text);
    json.push('"');
}

/// A list of strings behind what is there.
pub(super) fn list(json: &mut String, texts: &[String]) {
    json.push('[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        string(json, text);
    }
    json.push(']');
}
