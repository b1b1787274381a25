//! What is wrong with a scenario, and where.

use std::fmt;

use super::limits;
use crate::near::nearest;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The line, counted from 1.
    pub line: usize,
    /// What was wrong; what is meant.
    pub text: String,
}

/// Why a scenario cannot be run, or not to its end: everything that was found, in the order of the lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaints(pub Vec<Complaint>);

impl Complaints {
    pub(super) fn one(line: usize, text: impl Into<String>) -> Self {
        Self(vec![Complaint { line, text: text.into() }])
    }

    /// `FILE:LINE: what was wrong`, a line for each.
    #[must_use]
    pub fn told(&self, file: &str) -> String {
        let shown = self.0.iter().take(limits::COMPLAINTS);
        let mut lines: Vec<String> =
            shown.map(|Complaint { line, text }| format!("{file}:{line}: {text}")).collect();
        match self.0.len().saturating_sub(limits::COMPLAINTS) {
            0 => {}
            more => lines.push(format!("{file}: and {more} more")),
        }
        lines.join("\n")
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told("scenario"))
    }
}

impl std::error::Error for Complaints {}

/// Somebody's word in a complaint: without control characters, and not longer than a line can be read.
pub(super) fn shown(word: &str) -> String {
    let mut text = String::from("`");
    for c in word.chars().take(limits::SHOWN) {
        if c.is_control() || c == '\u{feff}' || c == '\u{fffd}' {
            text.extend(c.escape_unicode())
        } else {
            text.push(c)
        }
    }
    text.push_str(if word.chars().nth(limits::SHOWN).is_some() { "...`" } else { "`" });
    text
}

/// The complaint about a word that is none of those that may stand there.
pub(super) fn unknown(word: &str, kind: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(meant) => format!("{} is no {kind}; is {meant} meant?", shown(word)),
        None => format!("{} is no {kind}; known are {}", shown(word), list(known)),
    }
}

/// `a, b and c`.
pub(super) fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
