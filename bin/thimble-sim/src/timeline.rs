//! What happened, in lanes for server, device and module: as an array of JSON for programs, and as lines for people.

use std::io::{self, Write};

use serde_json::{Value, json};
use thimble_core::time::Duration;
use thimble_hal_sim::story::Lane;

/// Widths of the columns in front of the last.
const TIME: usize = 10;
const SERVER: usize = 13;
const DEVICE: usize = 40;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Since the beginning.
    pub(crate) at: Duration,
    pub(crate) lane: Lane,
    pub(crate) what: String,
    /// What came of it, where that is known.
    pub(crate) result: Option<String>,
    /// It went wrong, and people are to see that at once.
    pub(crate) is_fault: bool,
    /// The last lines that a program printed.
    pub(crate) output: Vec<String>,
    /// How many stood before them.
    pub(crate) earlier: usize,
}

impl Event {
    /// Without a result yet.
    pub(crate) fn new(at: Duration, lane: Lane, what: impl Into<String>) -> Self {
        Self { at, lane, what: what.into(), result: None, is_fault: false, output: Vec::new(), earlier: 0 }
    }
}

/// What happened.
pub(crate) fn json(events: &[Event]) -> Value {
    let event = |event: &Event| {
        json!({
            "at": event.at.as_secs(),
            "lane": event.lane.name(),
            "what": event.what,
            "result": event.result,
            "wrong": event.is_fault,
            "output": event.output,
            "earlier_lines": event.earlier,
        })
    };
    events.iter().map(event).collect()
}

/// Prints that array: a line for each thing that happened.
pub(crate) fn print(out: &mut dyn Write, events: &Value) -> io::Result<()> {
    writeln!(out, "{:<TIME$}{:<SERVER$}{:<DEVICE$}update module", "time", "server", "device")?;
    let mut before = None;
    for event in list(events) {
        let at = event["at"].as_u64().unwrap_or_default();
        let time = if before == Some(at) { String::new() } else { clock(at) };
        before = Some(at);
        let result = event["result"].as_str().map_or_else(String::new, |result| format!("  {result}"));
        let mark = if event["wrong"].as_bool() == Some(true) { "! " } else { "" };
        let indent = match text(&event["lane"]) {
            "server" => 0,
            "device" => SERVER,
            _ => SERVER + DEVICE,
        };
        writeln!(out, "{time:<TIME$}{:indent$}{mark}{}{result}", "", text(&event["what"]))?;
        let earlier = event["earlier_lines"].as_u64().unwrap_or_default();
        if earlier > 0 {
            writeln!(out, "{:TIME$}{:indent$}  | ... {earlier} earlier lines", "", "")?;
        }
        for line in list(&event["output"]) {
            writeln!(out, "{:TIME$}{:indent$}  | {}", "", "", text(line))?;
        }
    }
    Ok(())
}

/// A text of a document; empty where there is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list of a document; empty where there is none.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A time since the beginning, in seconds, as hours, minutes and seconds.
pub(crate) fn clock(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
