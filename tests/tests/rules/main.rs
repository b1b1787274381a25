//! Every rule that the code, the tests and the pages name is written down in `docs/rules`, and only once.

mod advisories;
mod citations;
mod comments;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use citations::{Citation, Kind};

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 2] = ["target", ".git"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// A file of the repository: its path from the top, and its text.
struct File {
    path: PathBuf,
    text: String,
}

/// All files with text, in the order of their paths.
fn files() -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let entry = entry.expect("an entry");
            let path = entry.path();
            let kind = entry.file_type().expect("its kind");
            if kind.is_dir() {
                if !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                    folders.push(path);
                }
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(&path)
            {
                let path = path.strip_prefix(&root).expect("below the top").to_owned();
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// What a file names. Its kind follows from its name; a file without a kind we read names nothing.
fn cited(file: &File) -> Vec<Citation> {
    let kind = match file.path.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => Kind::Rust,
        Some("md") => Kind::Markdown,
        Some("toml" | "txt" | "conf" | "cfg" | "service" | "py" | "cmd") | None => Kind::Hash,
        Some(_) => return Vec::new(),
    };
    citations::of(kind, &file.text)
}

/// The ids of `docs/rules`, each with the places where it is defined.
fn anchors(files: &[File]) -> BTreeMap<String, Vec<String>> {
    let mut anchors: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.starts_with("docs/rules")) {
        for (number, line) in (1..).zip(file.text.lines()) {
            if let Some(id) = citations::anchor(line) {
                let place = format!("{}:{number}", file.path.display());
                anchors.entry(id.to_owned()).or_default().push(place);
            }
        }
    }
    anchors
}

/// Why a citation leads nowhere; `None` if it leads somewhere.
fn fault(citation: &Citation, file: &File, anchors: &BTreeMap<String, Vec<String>>) -> Option<String> {
    match citation {
        Citation::Rule { id, .. } => {
            (!anchors.contains_key(id)).then(|| format!("{id} is not among the rules of docs/rules"))
        }
        Citation::Page { path, .. } => {
            let beside = file.path.parent().unwrap_or(Path::new(""));
            let is_there = [Path::new(""), beside].iter().any(|from| root().join(from).join(path).is_file());
            (!is_there).then(|| format!("there is no page {path}"))
        }
        Citation::Place { text, .. } => Some(format!("\"{text}\": name a rule by its id")),
        Citation::Bare { text, .. } => Some(format!("{text} alone says nothing: say what it means here")),
    }
}

#[test]
fn every_rule_and_page_that_is_named_is_there() {
    let files = files();
    let anchors = anchors(&files);
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in &files {
        for citation in cited(file) {
            count += 1;
            if let Some(fault) = fault(&citation, file, &anchors) {
                wrong.push(format!("{}:{}: {fault}", file.path.display(), citation.line()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 500, "only {count} citations: does the walk still find the files?");
}

#[test]
fn every_rule_is_defined_once_and_shows_its_id() {
    let files = files();
    let anchors = anchors(&files);
    assert!(anchors.len() > 400, "only {} rules", anchors.len());
    let twice: Vec<_> = anchors.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
    let pages = files.iter().filter(|file| file.path.starts_with("docs/rules"));
    for (page, line) in pages.flat_map(|page| page.text.lines().map(move |line| (page, line))) {
        if let Some(id) = citations::anchor(line) {
            let shown = line.split(&format!("<a id=\"{id}\"></a>")).nth(1).unwrap_or_default();
            let path = page.path.display();
            assert!(citations::is_rule(id), "{path}: {id} has not the form of a rule's id");
            assert!(shown.starts_with(&format!("{id} ")), "{path}: {id} does not follow its anchor: {line}");
        }
    }
}

/// The rules of hardening are the tests' to prove; `COMPATIBILITY.md` says which have none, and why.
#[test]
fn every_hardening_rule_has_a_test_or_a_reason() {
    let files = files();
    let mut tested = BTreeSet::new();
    for file in files.iter().filter(|file| file.path.extension().is_some_and(|extension| extension == "rs")) {
        tested.extend(citations::in_names_of_tests(&file.text).map(|(_, id)| id));
    }
    let pages = |name: &str| files.iter().find(|file| file.path == Path::new(name)).expect("the page");
    let (_, reasons) = pages("COMPATIBILITY.md")
        .text
        .split_once("## Requirements without a test of their own")
        .expect("the section");
    let rows = reasons.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let excused: BTreeSet<_> = rows
        .flat_map(|(ids, _)| ids.split(", "))
        .filter(|id| citations::is_rule(id))
        .map(str::to_owned)
        .collect();
    for id in pages("docs/rules/hardening.md").text.lines().filter_map(citations::anchor) {
        let (test, reason) = (tested.contains(id), excused.contains(id));
        assert!(test || reason, "{id} has neither a test nor a reason in COMPATIBILITY.md");
        assert!(!(test && reason), "{id} has a test, so COMPATIBILITY.md need not say why it has none");
    }
}
