//! The book: every page is in its table of contents, and the commands on its pages are run, in the order in which they stand there.
//!
//! A block of commands has a comment above it: `<!-- run -->` if it is run here, `<!-- run: status N -->` if it ends with that exit status,
//! `<!-- run by FILE -->` if another test runs it, `<!-- not run: REASON -->` if none does. Behind a block that is run, each line of a block with `<!-- printed -->` above it must be
//! among what it prints.

mod desk;
mod examples;
mod links;
mod pages;

use std::collections::BTreeSet;

use desk::Desk;
use pages::{Marker, Page, book, root};

#[test]
fn every_page_is_in_the_table_of_contents() {
    let contents: BTreeSet<String> = book().into_iter().map(|page| page.path).collect();
    let docs = std::fs::read_dir(root().join("docs")).expect("the pages");
    let docs = docs.map(|entry| format!("docs/{}", entry.expect("an entry").file_name().display()));
    let missing: Vec<String> = docs
        .filter(|path| path.ends_with(".md") && path != "docs/SUMMARY.md" && !contents.contains(path))
        .collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
}

#[test]
fn every_link_leads_to_a_page_of_the_book_or_to_a_file() {
    let book = book();
    let faults: Vec<String> = book.iter().flat_map(|page| links::faults(page, &book)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_command_of_the_book_is_run_or_says_why_not() {
    let mut faults = Vec::new();
    let mut run = 0;
    for page in book() {
        for block in &page.blocks {
            match &block.marker {
                // Its own test runs all of it.
                Ok(Marker::Run(_)) if page.path == "docs/switching.md" => {}
                Ok(Marker::Run(_)) if RUN.contains(&page.path.as_str()) => run += 1,
                Ok(Marker::Run(_)) => faults.push(format!("{}:{}: nobody runs it", page.path, block.line)),
                Ok(Marker::RunBy(file)) => {
                    let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
                    let name = page.path.rsplit('/').next().expect("a name");
                    if !text.contains(name) {
                        faults.push(format!("{}:{}: {file} does not name the page", page.path, block.line));
                    }
                }
                Ok(Marker::NotRun) => {}
                Err(fault) => faults.push(format!("{}:{}: {fault}", page.path, block.line)),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(run > 20, "{run} blocks are run here");
}

fn try_page(path: &str) {
    let page = Page::read(path);
    let script = page.script();
    assert!(!script.is_empty(), "{path} has nothing to run");
    if let Some(desk) = Desk::for_page(path) {
        desk.run(path, &script);
    }
}

/// A test for each page whose commands are run.
macro_rules! pages {
    ($($test:ident: $page:literal)*) => {
        $(#[test]
        fn $test() {
            try_page($page);
        })*

        const RUN: &[&str] = &[$($page),*];
    };
}

pages! {
    ci: "docs/ci.md"
    explain: "docs/explain.md"
    explore: "docs/explore.md"
    first_update: "docs/first-update.md"
    fleet: "docs/fleet.md"
    lint: "docs/lint.md"
    own_update: "docs/own-update.md"
    replay: "docs/replay.md"
    simulating: "docs/simulating.md"
    state_scripts: "docs/state-scripts.md"
    update_modules: "docs/update-modules.md"
}
