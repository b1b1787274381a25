//! The links of the book's pages.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::pages::{Page, root};

/// What is wrong with the links of a page.
pub(crate) fn faults(page: &Page, book: &[Page]) -> Vec<String> {
    let text = without_code(&fs::read_to_string(root().join(&page.path)).expect("the page"));
    let mut faults = Vec::new();
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        if link.contains("://") {
            continue;
        }
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let path = if file.is_empty() { page.path.clone() } else { beside(&page.path, file) };
        let fault = if !root().join(&path).is_file() {
            Some(format!("there is no file {path}"))
        } else if path.ends_with(".md")
            && path != "docs/SUMMARY.md"
            && !book.iter().any(|page| page.path == path)
        {
            Some(format!("{path} is not in the table of contents"))
        } else if !anchor.is_empty() && !anchors(&path).contains(&anchor.to_owned()) {
            Some(format!("{path} has no heading {anchor}"))
        } else {
            None
        };
        faults.extend(fault.map(|fault| format!("{}: {link}: {fault}", page.path)));
    }
    faults
}

/// The path that a link in a page means, from the root.
fn beside(page: &str, link: &str) -> String {
    let mut path = PathBuf::from(page);
    path.pop();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    path.to_string_lossy().into_owned()
}

/// What `#` may name: headings as they are named for a browser, and anchors that are written out.
fn anchors(path: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(path)).expect("the page");
    let written = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        words
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    });
    written.chain(headings).collect()
}

/// Without what stands in fences and between backticks, where nothing is a link.
fn without_code(text: &str) -> String {
    let mut is_code = false;
    let mut out = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            out.extend(line.split('`').step_by(2));
            out.push('\n');
        }
    }
    out
}
