//! `words`: the words of a scenario.

use std::io::Write;

use thimble_hal_sim::near::meant;
use thimble_hal_sim::scenario::words;

use crate::failure::{Failure, no_option};

pub(crate) const HELP: &str = "\
Prints the words that scenarios are written in.

WORD is one of them: it is printed alone, with an example. The page docs/simulating.md has them with all examples.

Usage: thimble-sim words [WORD]

Examples:
  thimble-sim words
  thimble-sim words lose-power
";

/// Prints them.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    match words {
        [] => write!(out, "{}", words::help())?,
        [option] if option.starts_with('-') => return Err(Failure::Usage(no_option("words", option, HELP))),
        [name] => {
            let Some(word) = words::all().find(|word| word.name == *name) else {
                let meant = meant(name, words::all().map(|word| word.name));
                return Err(Failure::Usage(format!("{name:?} is no word of a scenario{meant}")));
            };
            write!(out, "{}\nExample:\n\n", word.help())?;
            for line in word.example.lines() {
                writeln!(out, "  {line}")?;
            }
        }
        [_, more, ..] => return Err(Failure::Usage(format!("words takes one word: {more} is one too many"))),
    }
    Ok(true)
}
