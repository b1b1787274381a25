//! `texts`: the codes in a board's log, as texts.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use thimble_core::texts::decode;

use crate::failure::{Failure, no_option};
use crate::values::MOST_TEXT;

pub(crate) const HELP: &str = "\
Prints the log of a board whose client is built without texts, with its codes as texts.

Such a board logs and reports codes, which begin with ~ and a letter. Prints FILE, or standard input, with the code of
each message as its text. Whatever is no code of this version passes unchanged: use the version of the board's client,
or a newer one.

Usage: thimble-sim texts [FILE]

Example:
  $ echo \"board 7: ~A23('image.ext4')\" | thimble-sim texts
  board 7: payload file \"image.ext4\" is not listed in the manifest
";

/// Prints the file, or standard input.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    match words {
        [] => print(out, "standard input", io::stdin().lock())?,
        [path] if !path.starts_with('-') => {
            let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
            print(out, path, BufReader::new(file))?;
        }
        [option] => return Err(Failure::Usage(no_option("texts", option, HELP))),
        [_, more, ..] => return Err(Failure::Usage(format!("texts takes one file: {more} is one too many"))),
    }
    Ok(true)
}

/// Line by line, so that the texts of a log that is still written come at once. What is not UTF-8 is shown as `�`.
fn print(out: &mut dyn Write, name: &str, mut from: impl BufRead) -> Result<(), Failure> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        // One more than a line may have, and its end.
        let mut whole = from.by_ref().take(MOST_TEXT + 1);
        if whole.read_until(b'\n', &mut line).map_err(|error| format!("{name}: {error}"))? == 0 {
            break;
        }
        let mut text = String::new();
        let (content, end) = match line.strip_suffix(b"\n") {
            Some(content) => (content, "\n"),
            None => (&*line, ""),
        };
        if content.len() as u64 > MOST_TEXT {
            let why = format!("{name}: line {number} has more than {MOST_TEXT} bytes: that is no log");
            out.flush()?;
            return Err(Failure::Input(why));
        }
        decode(&String::from_utf8_lossy(content), &mut text).map_err(io::Error::other)?;
        write!(out, "{text}{end}")?;
        line.clear();
    }
    Ok(out.flush()?)
}
