//! Says where a configuration file is not JSON, and why, as somebody needs it who has to mend the file.

use std::borrow::Cow;
use std::fmt;

use thimble_core::json::{self, Fault};

/// Where and why a text is not JSON. Never holds a part of the text but one character: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotJson {
    /// Number of the line, from 1.
    pub line: usize,
    /// Number of the character in that line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub cause: Cow<'static, str>,
}

impl NotJson {
    /// Why `text` was refused with `error`.
    pub(super) fn new(text: &[u8], error: json::Error) -> Self {
        let (before, rest) = text.split_at(error.at.min(text.len()));
        let line_begins = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        Self {
            line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[line_begins..]).chars().count() + 1,
            cause: cause(before.trim_ascii_end().last().copied(), rest, error.what),
        }
    }
}

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid JSON: line {}, column {}: {}", self.line, self.column, self.cause)
    }
}

/// An unknown word of the file for a message: its front, in one line.
pub(super) fn shown(word: &str) -> String {
    word.chars().take(64).flat_map(char::escape_debug).collect()
}

/// What is wrong before `rest`, behind the byte `before`.
fn cause(before: Option<u8>, rest: &[u8], what: Fault) -> Cow<'static, str> {
    let cause = match (before, rest.first(), what) {
        (_, None, Fault::Ends) => "the file ends, and an object, a list or a string in it does not",
        (Some(b','), Some(b'}'), _) => "a comma before `}`; remove it",
        (Some(b','), Some(b']'), _) => "a comma before `]`; remove it",
        (_, Some(b'#'), _) => "`#`; JSON has no comments",
        (_, Some(b'/'), _) if rest.starts_with(b"//") || rest.starts_with(b"/*") => "JSON has no comments",
        (_, Some(b'\''), _) => "a single quote; JSON has double quotes only",
        (_, Some(b'}' | b']'), Fault::Behind) => "a closing bracket too many",
        (_, Some(_), Fault::Behind) => "something behind the end of the object",
        (_, Some(_), Fault::NoEnd) => "a comma is missing before this",
        (_, Some(_), Fault::NoKey) => "the name of a key is missing here, in double quotes",
        (_, Some(_), Fault::NoColon) => "a colon is missing between a key and its value",
        (_, Some(b'}' | b']' | b','), Fault::NoValue) => "a value is missing here",
        (_, Some(_), Fault::NoValue) => {
            "no value: texts stand in double quotes, others are numbers, true, false and null"
        }
        (_, Some(_), Fault::Control) => "a line or tab inside a string; is the quote at its end missing?",
        _ => return what.to_string().into(),
    };
    cause.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use thimble_core::json::Value;

    #[test]
    fn line_column_and_cause_are_those_of_the_fault() {
        for (text, line, column, cause) in [
            ("{\n  \"a\": 1,\n}\n", 3, 1, "a comma before `}`"),
            ("{\"a\": [1,\r\n 2, ]}", 2, 5, "a comma before `]`"),
            ("{\n \"a\": 1\n \"b\": 2}", 3, 2, "a comma is missing"),
            ("{\n # x\n}", 2, 2, "no comments"),
            ("{\"a\": 1, // x\n}", 1, 10, "no comments"),
            ("{'a': 1}", 1, 2, "single quote"),
            ("{\"a\" 1}", 1, 6, "a colon is missing"),
            ("{\"a\": yes}", 1, 7, "double quotes"),
            ("{\"a\": }", 1, 7, "a value is missing"),
            ("{a: 1}", 1, 2, "name of a key"),
            ("{\"\u{fc}\u{fc}\": x}", 1, 8, "no value"),
            ("{\"a\": \"b\n}", 1, 9, "quote at its end"),
            ("{\"a\": 1", 1, 8, "the file ends"),
            ("{}}", 1, 3, "closing bracket too many"),
            ("{} x", 1, 4, "behind the end"),
            ("", 1, 1, "the file ends"),
        ] {
            let fault = NotJson::new(text.as_bytes(), Value::parse(text.as_bytes()).unwrap_err());
            assert_eq!((fault.line, fault.column), (line, column), "{text}: {fault}");
            assert!(fault.cause.contains(cause), "{text}: {fault}");
        }
    }
}
