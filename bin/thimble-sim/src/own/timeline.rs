//! The document of a run for people: what happened, and how it ended.

use std::io::{self, Write};

use serde_json::Value;

use crate::timeline::{self, list, text};

/// Changes that people are shown.
const SHOWN: usize = 50;

/// Prints the document of a run: a line for each thing that happened, and how it ended.
pub(super) fn print(out: &mut dyn Write, document: &Value) -> io::Result<()> {
    writeln!(out, "{}\n", text(&document["title"]))?;
    timeline::print(out, &document["events"])?;
    end(out, document)
}

/// How a run ended.
fn end(out: &mut dyn Write, document: &Value) -> io::Result<()> {
    let reason = text(&document["reason"]);
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    writeln!(out, "\n{}{reason}\ninstalled: {}", text(&document["end"]), text(&document["installed"]))?;
    let changes = list(&document["changes"]);
    if !changes.is_empty() {
        writeln!(out, "changed on the device, beside what the client keeps:")?;
        for change in changes.iter().take(SHOWN) {
            writeln!(out, "  {}", text(change))?;
        }
        if let Some(more) = changes.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            writeln!(out, "  ... and {more} more (--json has all)")?;
        }
    }
    for line in list(&document["wrong"]) {
        writeln!(out, "WRONG: {}", text(line))?;
    }
    Ok(())
}
