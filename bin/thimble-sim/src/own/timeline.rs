//! A run as a document for programs, and that document for people: lanes for server, device and module, and how it ended.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::journal::{Event, Lane};

/// Widths of the columns in front of the last.
const TIME: usize = 10;
const SERVER: usize = 13;
const DEVICE: usize = 40;

/// Changes that people are shown.
const SHOWN: usize = 50;

/// What happened.
pub(super) fn json(events: &[Event]) -> Value {
    let lane = |lane: Lane| match lane {
        Lane::Server => "server",
        Lane::Device => "device",
        Lane::Module => "module",
    };
    let event = |event: &Event| {
        json!({
            "at": event.at.as_secs(),
            "lane": lane(event.lane),
            "what": event.what,
            "result": event.result,
            "output": event.output,
            "earlier_lines": event.earlier,
        })
    };
    events.iter().map(event).collect()
}

/// Prints the document of a run: a line for each thing that happened, and how it ended.
pub(super) fn print(out: &mut dyn Write, document: &Value) -> io::Result<()> {
    writeln!(out, "{}\n", text(&document["title"]))?;
    writeln!(out, "{:<TIME$}{:<SERVER$}{:<DEVICE$}update module", "time", "server", "device")?;
    let mut before = None;
    for event in list(&document["events"]) {
        let at = event["at"].as_u64().unwrap_or_default();
        let time = if before == Some(at) { String::new() } else { clock(at) };
        before = Some(at);
        let result = event["result"].as_str().map_or_else(String::new, |result| format!("  {result}"));
        let indent = match text(&event["lane"]) {
            "server" => 0,
            "device" => SERVER,
            _ => SERVER + DEVICE,
        };
        writeln!(out, "{time:<TIME$}{:indent$}{}{result}", "", text(&event["what"]))?;
        let earlier = event["earlier_lines"].as_u64().unwrap_or_default();
        if earlier > 0 {
            writeln!(out, "{:TIME$}{:indent$}  | ... {earlier} earlier lines", "", "")?;
        }
        for line in list(&event["output"]) {
            writeln!(out, "{:TIME$}{:indent$}  | {}", "", "", text(line))?;
        }
    }
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

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A time since the start: `1:02:03`.
fn clock(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
