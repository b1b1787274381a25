//! `words`: the words of a scenario.

use std::io::Write;

use thimble_hal_sim::scenario::words;

use crate::failure::Failure;

pub(crate) const HELP: &str = "\
Prints the words that scenarios are written in.

Usage: thimble-sim words

Example:
  thimble-sim words
";

/// Prints them.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    if let Some(word) = words.first() {
        return Err(Failure::Usage(format!("words takes no {word:?}")));
    }
    write!(out, "{}", words::help())?;
    Ok(true)
}
