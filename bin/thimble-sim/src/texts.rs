//! `texts`: the codes in a board's log, as texts.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};

use thimble_core::texts::decode;

pub(crate) const HELP: &str = "\
Prints FILE, or standard input, with the code of each message as its text. A board whose client is built without the
texts logs and reports codes, which begin with ~ and a letter. Whatever is no code of this version passes unchanged:
use the version of the board's client, or a newer one.

Usage: thimble-sim texts [FILE]

Example:
  $ echo \"board 7: ~A23('image.ext4')\" | thimble-sim texts
  board 7: payload file \"image.ext4\" is not listed in the manifest
";

/// Prints the file, or standard input.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, String> {
    let done = match words {
        [] => print(out, io::stdin().lock()),
        [path] if !path.starts_with('-') => {
            let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
            print(out, BufReader::new(file))
        }
        [option] => return Err(format!("texts has no option {option}")),
        [_, more, ..] => return Err(format!("texts takes one file: {more} is one too many")),
    };
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        Ok(()) | Err(_) => Ok(true),
    }
}

/// Line by line, so that the texts of a log that is still written come at once. What is not UTF-8 is shown as `�`.
fn print(out: &mut dyn Write, mut from: impl BufRead) -> io::Result<()> {
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        let mut text = String::new();
        let (content, end) = match line.strip_suffix(b"\n") {
            Some(content) => (content, "\n"),
            None => (&*line, ""),
        };
        decode(&String::from_utf8_lossy(content), &mut text).map_err(io::Error::other)?;
        write!(out, "{text}{end}")?;
        line.clear();
    }
    out.flush()
}
