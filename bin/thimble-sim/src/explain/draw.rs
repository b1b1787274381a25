//! The steps of an update as a picture: for Mermaid, for Graphviz, and as SVG.

use std::collections::BTreeMap;
use std::fmt::Write;

use thimble_hal_sim::explain::{Explained, Outcome, Step};

use super::{outcomes, who};

/// Ends, numbered: what leads to the same end leads to one node.
struct Ends<'e>(BTreeMap<String, (usize, &'e Outcome)>);

impl<'e> Ends<'e> {
    fn of(explained: &'e Explained) -> Self {
        let mut ends = BTreeMap::new();
        let all =
            explained.steps.iter().flat_map(outcomes).map(|(_, outcome)| outcome).chain([&explained.good]);
        for outcome in all {
            let number = ends.len();
            ends.entry(outcome.verdict()).or_insert((number, outcome));
        }
        Self(ends)
    }

    fn number(&self, outcome: &Outcome) -> usize {
        self.0.get(&outcome.verdict()).map_or(0, |(number, _)| *number)
    }
}

/// What can become of a step, those with one end together.
fn branches(step: &Step, ends: &Ends<'_>) -> BTreeMap<usize, Vec<&'static str>> {
    let mut branches: BTreeMap<usize, Vec<&'static str>> = BTreeMap::new();
    for (what, outcome) in outcomes(step) {
        branches.entry(ends.number(outcome)).or_default().push(what);
    }
    branches
}

/// A flowchart for Mermaid.
pub(super) fn mermaid(explained: &Explained) -> String {
    let ends = Ends::of(explained);
    let quoted = |text: &str| text.replace('"', "#quot;");
    let mut text = String::from("flowchart TD\n");
    for (number, step) in explained.steps.iter().enumerate() {
        let _ = writeln!(text, "  s{number}[\"{}\"]", quoted(&step.what));
    }
    for (verdict, (number, _)) in &ends.0 {
        let _ = writeln!(text, "  e{number}([\"{}\"])", quoted(verdict));
    }
    for (number, step) in explained.steps.iter().enumerate() {
        let next = if number + 1 < explained.steps.len() {
            format!("s{}", number + 1)
        } else {
            format!("e{}", ends.number(&explained.good))
        };
        let _ = writeln!(text, "  s{number} --> {next}");
        for (end, whats) in branches(step, &ends) {
            let _ = writeln!(text, "  s{number} -. \"{}\" .-> e{end}", whats.join(", "));
        }
    }
    for (number, outcome) in ends.0.values() {
        if outcome.is_bad() {
            let _ = writeln!(text, "  style e{number} stroke:#c00,stroke-width:3px");
        }
    }
    text
}

/// A graph for Graphviz.
pub(super) fn dot(explained: &Explained) -> String {
    let ends = Ends::of(explained);
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut text = String::from("digraph update {\n  node [shape=box];\n");
    for (number, step) in explained.steps.iter().enumerate() {
        let _ = writeln!(text, "  s{number} [label=\"{}\"];", quoted(&step.what));
    }
    for (verdict, (number, outcome)) in &ends.0 {
        let colour = if outcome.is_bad() { ", color=red, penwidth=3" } else { "" };
        let _ = writeln!(text, "  e{number} [label=\"{}\", shape=ellipse{colour}];", quoted(verdict));
    }
    for (number, step) in explained.steps.iter().enumerate() {
        let next = if number + 1 < explained.steps.len() {
            format!("s{}", number + 1)
        } else {
            format!("e{}", ends.number(&explained.good))
        };
        let _ = writeln!(text, "  s{number} -> {next};");
        for (end, whats) in branches(step, &ends) {
            let _ = writeln!(text, "  s{number} -> e{end} [style=dashed, label=\"{}\"];", whats.join("\\n"));
        }
    }
    text + "}\n"
}

/// A picture that stands alone: steps from top to bottom, and beside each what becomes of it.
pub(super) fn svg(title: &str, explained: &Explained) -> String {
    const ROW: usize = 56;
    const TOP: usize = 64;
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let rows = explained.steps.len() + 1;
    let height = TOP + rows * ROW + 16;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1000 {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <style>.l{{stroke:#888;fill:none}}.b{{fill:#eef3fb;stroke:#4a6fa5}}.g{{fill:#e7f5e9;stroke:#2e7d32}}\
         .bad{{fill:#b00020;font-weight:bold}}.s{{fill:#666;font-size:11px}}</style>\n\
         <rect width=\"1000\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"16\" y=\"32\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    for (number, step) in explained.steps.iter().enumerate() {
        let y = TOP + number * ROW;
        let _ = writeln!(text, "<rect class=\"b\" x=\"16\" y=\"{y}\" width=\"330\" height=\"40\" rx=\"5\"/>");
        let _ = writeln!(text, "<text x=\"26\" y=\"{}\">{}</text>", y + 17, escaped(&step.what));
        let _ = writeln!(text, "<text class=\"s\" x=\"26\" y=\"{}\">{}</text>", y + 33, escaped(&who(step)));
        let _ = writeln!(text, "<path class=\"l\" d=\"M181 {} v16\"/>", y + 40);
        let mut verdicts: BTreeMap<String, (Vec<&str>, bool)> = BTreeMap::new();
        for (what, outcome) in outcomes(step) {
            let entry = verdicts.entry(outcome.verdict()).or_insert((Vec::new(), outcome.is_bad()));
            entry.0.push(what);
        }
        for (at, (verdict, (whats, bad))) in verdicts.iter().enumerate() {
            let line = y + 12 + at * 14;
            let class = if *bad { " class=\"bad\"" } else { "" };
            let _ = writeln!(text, "<path class=\"l\" d=\"M346 {line} h24\"/>");
            let _ = writeln!(
                text,
                "<text{class} x=\"376\" y=\"{}\" font-size=\"12\">{}: {}</text>",
                line + 4,
                escaped(&whats.join(", ")),
                escaped(verdict)
            );
        }
    }
    let y = TOP + explained.steps.len() * ROW;
    let _ = writeln!(text, "<rect class=\"g\" x=\"16\" y=\"{y}\" width=\"330\" height=\"40\" rx=\"20\"/>");
    let _ = writeln!(text, "<text x=\"32\" y=\"{}\">{}</text>", y + 25, escaped(&explained.good.verdict()));
    text + "</svg>\n"
}
