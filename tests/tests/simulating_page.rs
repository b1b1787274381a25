//! `docs/simulating.md`: its words are those of the table, and what it shows is what happens. `THIMBLE_GOLDEN=1` writes both
//! into the page.

use std::fs;
use std::path::Path;

use thimble_hal_sim::scenario::{Complaints, Scenario, limits, words};

const BEGIN: &str = "<!-- words -->\n";
const END: &str = "<!-- end of words -->\n";

/// What a scenario of the page shows: its timeline, or what is wrong with it.
fn shown(kind: &str, text: &str) -> String {
    let scenario = match Scenario::read(text.as_bytes()) {
        Ok(scenario) => scenario,
        Err(complaints) => return complaints.told("try.txt") + "\n",
    };
    let happened = scenario.run();
    let complaints = Complaints(happened.unused.into_iter().chain(happened.stopped).collect());
    if kind == "wrong" {
        return complaints.told("try.txt") + "\n";
    }
    assert!(complaints.0.is_empty(), "{text}{}", complaints.told("try.txt"));
    let timelines: Vec<String> = happened.scenario.timelines().map(|timeline| timeline.join("\n")).collect();
    timelines.join("\n\n") + "\n"
}

/// The page with what the scenarios on it show, and the words.
fn page(old: &str) -> String {
    let mut new = String::new();
    let mut lines = old.split_inclusive('\n');
    // The scenario whose result comes next.
    let mut tried: Option<(&str, String)> = None;
    while let Some(line) = lines.next() {
        new += line;
        let kind = line.trim_end().strip_prefix("```").unwrap_or_default();
        if line == BEGIN {
            new += &words::markdown();
            new += lines.find(|line| *line == END).expect("the end of the words");
        } else if !kind.is_empty() {
            let block: String = lines.by_ref().take_while(|line| *line != "```\n").collect();
            match (kind, tried.take()) {
                ("scenario" | "wrong", None) => {
                    new += &block;
                    tried = Some((kind, block));
                }
                ("timeline", Some(("scenario", text))) | ("told", Some(("wrong", text))) => {
                    new += &shown(if kind == "told" { "wrong" } else { "scenario" }, &text);
                }
                (_, None) => new += &block,
                (kind, Some((before, _))) => panic!("{kind} stands behind {before}"),
            }
            new += "```\n";
        }
    }
    new
}

#[test]
fn the_page_has_all_words_and_shows_what_happens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/simulating.md");
    let old = fs::read_to_string(&path).expect("the page");
    let new = page(&old);
    if std::env::var_os("THIMBLE_GOLDEN").is_some() {
        fs::write(&path, &new).expect("the page can be written");
    }
    assert!(old == new, "the page is not what happens; with THIMBLE_GOLDEN=1 this test has written it");
    for word in words::all() {
        assert!(old.contains(&format!("\n#### `{}`\n", word.name)), "{}", word.name);
    }
}

#[test]
fn the_page_states_the_limits() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/simulating.md");
    let text = fs::read_to_string(path).expect("the page").replace('\n', " ");
    for limit in [
        format!("at most {} bytes", limits::BYTES),
        format!("{} parts", limits::PARTS),
        format!("{} lines that say", limits::COMMANDS),
        format!("of at most {} bytes", limits::LINE),
        format!("{} times before", limits::TURNS),
        format!("at most {} h", limits::TIME.as_secs() / 3600),
    ] {
        assert!(text.contains(&limit), "{limit}");
    }
}
