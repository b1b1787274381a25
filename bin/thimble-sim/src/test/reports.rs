//! How scenarios went, for programs: as JSON, and as the XML that CI services show.

use std::fmt::Write;

use serde_json::{Value, json};
use thimble_hal_sim::scenario::Complaint;
use thimble_hal_sim::scenario::suite::Outcome;

use super::Tested;

/// The number of this form of the JSON document; another where a key goes or changes its meaning.
const SCHEMA: u32 = 1;

/// One JSON document, without a newline at its end.
pub(super) fn json(all: &[Tested]) -> String {
    let count = |result: &str| all.iter().filter(|tested| name(&tested.outcome) == result).count();
    let scenarios: Vec<Value> = all.iter().map(scenario).collect();
    let document = json!({
        "schema": SCHEMA,
        "ok": count("ok"),
        "updated": count("updated"),
        "failed": count("failed"),
        "nonsense": count("nonsense"),
        "unreadable": count("unreadable"),
        "scenarios": scenarios,
    });
    format!("{document:#}")
}

fn scenario(Tested { file, outcome }: &Tested) -> Value {
    let complaint = |Complaint { line, text }: &Complaint| json!({"line": line, "text": text});
    let mut value = json!({"file": file, "result": name(outcome)});
    match outcome {
        Outcome::Good | Outcome::Updated => {}
        Outcome::Failed { complaints, diff } => {
            value["complaints"] = complaints.0.iter().map(complaint).collect();
            value["diff"] = json!(diff);
        }
        Outcome::Nonsense(complaints) => value["complaints"] = complaints.0.iter().map(complaint).collect(),
        Outcome::Unreadable(why) => value["reason"] = json!(why),
    }
    value
}

/// The result in a word.
const fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Good => "ok",
        Outcome::Updated => "updated",
        Outcome::Failed { .. } => "failed",
        Outcome::Nonsense(_) => "nonsense",
        Outcome::Unreadable(_) => "unreadable",
    }
}

/// `JUnit` XML: failed is a failure, what makes no sense or cannot be read an error.
pub(super) fn junit(all: &[Tested]) -> String {
    let mut cases = String::new();
    let (mut failures, mut errors) = (0, 0);
    for Tested { file, outcome } in all {
        let _ = write!(cases, "  <testcase classname=\"scenario\" name=\"{}\"", escape(file));
        let mut wrong = |kind: &str, message: &str, text: &str| {
            let (message, text) = (escape(message), escape(text));
            let _ = writeln!(cases, ">\n    <{kind} message=\"{message}\">{text}</{kind}>\n  </testcase>");
        };
        match outcome {
            Outcome::Good | Outcome::Updated => cases.push_str("/>\n"),
            Outcome::Failed { complaints, diff } => {
                failures += 1;
                let message = complaints.0.first().map_or("went otherwise than written", |first| &first.text);
                wrong("failure", message, &format!("{}\n{diff}", complaints.told(file)));
            }
            Outcome::Nonsense(complaints) => {
                errors += 1;
                wrong("error", "makes no sense", &complaints.told(file));
            }
            Outcome::Unreadable(why) => {
                errors += 1;
                wrong("error", why, why);
            }
        }
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"thimble-sim test\" tests=\"{}\" \
         failures=\"{failures}\" errors=\"{errors}\">\n{cases}</testsuite>\n",
        all.len()
    )
}

/// The text in XML, in attributes and between tags. Characters that XML cannot have become `\u{fffd}`.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use thimble_hal_sim::scenario::Complaints;

    fn all() -> Vec<Tested> {
        let complaints = || Complaints(vec![Complaint { line: 3, text: "<&\"\u{1}>".into() }]);
        [
            Outcome::Good,
            Outcome::Updated,
            Outcome::Failed { complaints: Complaints(Vec::new()), diff: "-a\n+b\n".into() },
            Outcome::Nonsense(complaints()),
            Outcome::Unreadable("is gone".into()),
        ]
        .into_iter()
        .enumerate()
        .map(|(index, outcome)| Tested { file: format!("{index}.txt"), outcome })
        .collect()
    }

    #[test]
    fn the_json_document_has_every_result_and_what_it_says_more() {
        let document: Value = serde_json::from_str(&json(&all())).unwrap();
        let expected = json!({
            "schema": 1, "ok": 1, "updated": 1, "failed": 1, "nonsense": 1, "unreadable": 1,
            "scenarios": [
                {"file": "0.txt", "result": "ok"},
                {"file": "1.txt", "result": "updated"},
                {"file": "2.txt", "result": "failed", "complaints": [], "diff": "-a\n+b\n"},
                {"file": "3.txt", "result": "nonsense", "complaints": [{"line": 3, "text": "<&\"\u{1}>"}]},
                {"file": "4.txt", "result": "unreadable", "reason": "is gone"},
            ],
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn the_xml_counts_and_holds_what_is_wrong() {
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuite name=\"thimble-sim test\" tests=\"5\" failures=\"1\" errors=\"2\">\n  \
             <testcase classname=\"scenario\" name=\"0.txt\"/>\n  \
             <testcase classname=\"scenario\" name=\"1.txt\"/>\n  \
             <testcase classname=\"scenario\" name=\"2.txt\">\n    \
             <failure message=\"went otherwise than written\">&#10;-a&#10;+b&#10;</failure>\n  </testcase>\n  \
             <testcase classname=\"scenario\" name=\"3.txt\">\n    \
             <error message=\"makes no sense\">3.txt:3: &lt;&amp;&quot;\u{fffd}&gt;</error>\n  </testcase>\n  \
             <testcase classname=\"scenario\" name=\"4.txt\">\n    \
             <error message=\"is gone\">is gone</error>\n  </testcase>\n</testsuite>\n";
        assert_eq!(junit(&all()), expected);
    }
}
