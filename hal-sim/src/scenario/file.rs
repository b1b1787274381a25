//! A scenario as text: its parts, read and written.

use super::Part;

/// Reads a scenario.
#[must_use]
pub fn parse(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut part = Part { done: Vec::new(), expected: Vec::new() };
    let mut behind = false;
    for line in text.lines().map(str::trim_end).chain([""]) {
        match line {
            "----" => behind = true,
            "" if behind => {
                parts.push(std::mem::replace(&mut part, Part { done: Vec::new(), expected: Vec::new() }));
                behind = false;
            }
            "" => {}
            line if behind => part.expected.push(line.to_owned()),
            line => part.done.push(line.to_owned()),
        }
    }
    if !part.done.is_empty() {
        parts.push(part);
    }
    parts
}

/// Writes a scenario.
#[must_use]
pub fn print(parts: &[Part]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|part| format!("{}\n----\n{}\n", part.done.join("\n"), part.expected.join("\n")))
        .collect();
    parts.join("\n")
}
