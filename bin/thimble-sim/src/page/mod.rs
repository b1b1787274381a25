//! A page that shows what was explored: one file with everything in it, which loads nothing from anywhere.

use serde_json::{Value, json};

use crate::loopback;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(
    include_str!("base.js"),
    include_str!("rows.js"),
    include_str!("diagram.js"),
    include_str!("page.js")
);

/// The page of a walk's document. `live`: a server behind it computes ways that the document does not have.
pub(crate) fn of(walk: &Value, live: bool) -> String {
    with(&walk["title"], &json!({ "live": live, "walk": walk }), live)
}

/// The page of a run's document.
pub(crate) fn of_run(run: &Value) -> String {
    with(&run["title"], &json!({ "live": false, "run": run }), false)
}

fn with(title: &Value, document: &Value, live: bool) -> String {
    let title = title.as_str().unwrap_or_default();
    // A text in the document must not end the element that the document stands in.
    let document = document.to_string().replace('<', "\\u003c");
    let parts: [(&str, &str); 5] = [
        ("policy", &policy(live)),
        ("title", &escaped(title)),
        ("style", STYLE),
        ("document", &document),
        ("script", SCRIPT),
    ];
    let mut page = String::new();
    let mut rest = PAGE;
    while let Some((before, name, after)) = next_part(rest) {
        page += before;
        page += parts.iter().find(|(of, _)| *of == name).map_or("", |(_, text)| text);
        rest = after;
    }
    page + rest
}

/// What the page may do. With a server it may ask that one.
pub(crate) fn policy(live: bool) -> String {
    loopback::policy(SCRIPT, STYLE, live)
}

/// What stands before a part `{{name}}`, its name, and what stands behind it.
fn next_part(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (name, after) = rest.split_once("}}")?;
    Some((before, name, after))
}

/// A text as HTML.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html += "&amp;",
            '<' => html += "&lt;",
            '>' => html += "&gt;",
            '"' => html += "&quot;",
            '\'' => html += "&#39;",
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_document_is_markup() {
        let hostile = "</title></script><script>alert(1)</script><!-- {{script}}";
        let page = of(&json!({ "title": hostile, "scripts": [{ "name": hostile }] }), false);
        let plain = of(&json!({ "title": "", "scripts": [{ "name": "" }] }), false);
        for mark in ["<script", "</script", "</title", "<!--", "use strict"] {
            assert_eq!(page.matches(mark).count(), plain.matches(mark).count(), "{mark}");
        }
        assert!(page.contains("<title>&lt;/title&gt;"));
        assert!(page.contains(r#""title":"\u003c/title>\u003c/script>"#));
    }

    #[test]
    fn the_page_names_nothing_outside() {
        let page = of(&json!({ "title": "t" }), true);
        assert_eq!(
            page.replace("http://www.w3.org/2000/svg", "").matches("http").count(),
            page.matches("http-equiv").count()
        );
        assert!(!page.contains("{{"), "every part was filled in");
    }
}
