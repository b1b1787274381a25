//! What happened, line by line.

/// Scripts and calls of one state stand on one line; what repeats is counted.
pub(super) fn group(items: Vec<String>, show_idle: bool) -> Vec<String> {
    let mut lines: Vec<(String, String, u32)> = Vec::new();
    for item in items {
        let state = item.split(['_', '?']).next().unwrap_or("").to_owned();
        if !show_idle && matches!(state.as_str(), "Idle" | "Sync") {
            continue;
        }
        let alone = item.starts_with("--") || item.starts_with("**") || item.contains('?');
        match lines.last_mut() {
            Some((_, line, times)) if *line == item => *times += 1,
            Some((last, line, 1)) if !alone && *last == state => {
                line.push_str("  ");
                line.push_str(&item);
            }
            _ => lines.push((if alone { String::new() } else { state }, item, 1)),
        }
    }
    let line = |(_, line, times): (String, String, u32)| {
        if times == 1 { line } else { format!("{line} ({times} times)") }
    };
    lines.into_iter().map(line).collect()
}
