//! A run for people: lanes for server, device and module; and for programs: one JSON document.

use std::io::{self, Write};

use serde_json::{Value, json};
use thimble_core::time::Duration;

use super::journal::{Event, Lane};

/// Widths of the columns in front of the last.
const TIME: usize = 10;
const SERVER: usize = 13;
const DEVICE: usize = 40;

/// A time since the start: `1:02:03`.
fn clock(at: Duration) -> String {
    let seconds = at.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Prints what happened, a line each.
pub(super) fn print(out: &mut dyn Write, events: &[Event]) -> io::Result<()> {
    writeln!(out, "{:<TIME$}{:<SERVER$}{:<DEVICE$}update module", "time", "server", "device")?;
    let mut before = None;
    for Event { at, lane, what, result, output, earlier } in events {
        let time = if before == Some(*at) { String::new() } else { clock(*at) };
        before = Some(*at);
        let result = result.as_ref().map_or_else(String::new, |result| format!("  {result}"));
        let text = format!("{what}{result}");
        let indent = match lane {
            Lane::Server => 0,
            Lane::Device => SERVER,
            Lane::Module => SERVER + DEVICE,
        };
        writeln!(out, "{time:<TIME$}{:indent$}{text}", "")?;
        if *earlier > 0 {
            writeln!(out, "{:TIME$}{:indent$}  | ... {earlier} earlier lines", "", "")?;
        }
        for line in output {
            writeln!(out, "{:TIME$}{:indent$}  | {line}", "", "")?;
        }
    }
    Ok(())
}

/// The same for programs.
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
