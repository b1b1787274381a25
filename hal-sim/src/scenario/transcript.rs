//! What happened, line by line.

use thimble_core::time::{Duration, Instant};

use crate::sim::Line;

/// Time that is worth a line: the client's own pauses between requests are shorter.
const LONG: Duration = Duration::from_secs(10);

/// A line of the timeline, while it is put together.
struct Row {
    /// The state whose scripts and calls stand in it; empty where nothing may join them.
    state: String,
    text: String,
    times: u32,
    /// From the first of these times to the last.
    took: Duration,
}

/// Scripts and calls of one state stand on one line; what repeats is counted; time that passes has a line, from `began` on.
pub(super) fn group(lines: Vec<Line>, began: Instant, show_idle: bool) -> Vec<String> {
    let mut rows: Vec<Row> = Vec::new();
    let mut before = began;
    for Line { at, text } in lines {
        let state = text.split(['_', '?']).next().unwrap_or("").to_owned();
        if !show_idle && matches!(state.as_str(), "Idle" | "Sync") {
            continue;
        }
        let passed = at.since(before);
        before = before.max(at);
        let is_long = passed >= LONG;
        let alone = text.starts_with(['-', '*', '!']) || text.contains(['?', ':']);
        match rows.last_mut() {
            Some(row) if row.text == text => {
                row.times += 1;
                row.took = row.took.plus(passed);
            }
            Some(row) if !alone && !is_long && row.times == 1 && row.state == state => {
                row.text.push_str("  ");
                row.text.push_str(&text);
            }
            Some(_) | None => {
                if is_long {
                    let text = format!(".. {passed} later");
                    rows.push(Row { state: String::new(), text, times: 1, took: Duration::ZERO });
                }
                let state = if alone { String::new() } else { state };
                rows.push(Row { state, text, times: 1, took: Duration::ZERO });
            }
        }
    }
    let row = |Row { text, times, took, .. }: Row| match times {
        1 => text,
        _ if took >= LONG => format!("{text} ({times} times in {took})"),
        _ => format!("{text} ({times} times)"),
    };
    rows.into_iter().map(row).collect()
}
