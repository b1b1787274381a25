//! Which words of a file name a rule or a page: the grammar of `docs/rules/README.md`.

use super::comments;

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Comments, and the names of tests.
    Rust,
    /// All but code.
    Markdown,
    /// What follows a `#` at the beginning of a line.
    Hash,
}

/// Something that is named, and the line it is named in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Citation {
    /// A rule.
    Rule { line: usize, id: String },
    /// A page.
    Page { line: usize, path: String },
    /// A place that is no rule: a number behind a page, a section.
    Place { line: usize, text: String },
    /// A comment that consists of ids, or documentation that consists of numbers.
    Bare { line: usize, text: String },
}

impl Citation {
    pub(crate) fn line(&self) -> usize {
        match self {
            Self::Rule { line, .. }
            | Self::Page { line, .. }
            | Self::Place { line, .. }
            | Self::Bare { line, .. } => *line,
        }
    }
}

/// Everything that `text` names.
pub(crate) fn of(kind: Kind, text: &str) -> Vec<Citation> {
    let mut found = Vec::new();
    match kind {
        Kind::Rust => {
            let comments = comments::of(text);
            for (line, comment) in &comments {
                in_prose(*line, comment, &mut found);
            }
            found.extend(blocks(comments).filter_map(|(line, comment)| bare(line, &comment)));
            found.extend(in_names_of_tests(text).map(|(line, id)| Citation::Rule { line, id }));
        }
        Kind::Markdown => {
            let mut is_code = false;
            for (line, prose) in (1..).zip(text.lines()) {
                if prose.trim_start().starts_with("```") {
                    is_code = !is_code;
                } else if !is_code {
                    in_prose(line, prose, &mut found);
                }
            }
        }
        Kind::Hash => {
            for (line, prose) in (1..).zip(text.lines()) {
                if let Some(comment) = prose.trim_start().strip_prefix('#') {
                    in_prose(line, comment, &mut found);
                }
            }
        }
    }
    found
}

/// The id that a row of a page defines.
pub(crate) fn anchor(line: &str) -> Option<&str> {
    Some(line.strip_prefix("| <a id=\"")?.split_once('"')?.0)
}

/// Whether `word` has the form of an id: a subject or a letter with a hyphen and a number, or a letter of the
/// hardening rules with a number.
pub(crate) fn is_rule(word: &str) -> bool {
    const SUBJECTS: [&str; 9] =
        ["STATE", "SCRIPT", "MODULE", "CLI", "CONFIG", "ARTIFACT", "SERVER", "CONTROL", "BOOT"];
    let is_number = |digits: &str, most: usize| {
        (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if let Some((subject, number)) = word.split_once('-') {
        let is_letter = subject.len() == 1 && "RDSUCABILN".contains(subject);
        return (is_letter || SUBJECTS.contains(&subject)) && is_number(number, 3);
    }
    word.split_at_checked(1)
        .is_some_and(|(letter, number)| "ABCDILN".contains(letter) && is_number(number, 2))
}

/// Rules in the names of tests, with the line of the name: `b12_i2_...` for B12 and I2, `r49_...` for R-49, `c_2_...`
/// for C-2, since C2 is another rule.
pub(crate) fn in_names_of_tests(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut is_test = false;
    (1..)
        .zip(text.lines())
        .filter_map(move |(line, code)| {
            let code = code.trim_start();
            if code == "#[test]" {
                is_test = true;
            } else if is_test && !code.starts_with("#[") && !code.starts_with("//") {
                is_test = false;
                let name = code.strip_prefix("fn ")?.split('(').next()?;
                return Some(rules_of(name).into_iter().map(move |id| (line, id)));
            }
            None
        })
        .flatten()
}

fn rules_of(name: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut parts = name.split('_').peekable();
    while let Some(part) = parts.next() {
        let letter = part.to_ascii_uppercase();
        if is_rule(&letter) {
            ids.push(letter);
            continue;
        }
        if let Some(id) = with_hyphen(&letter) {
            ids.push(id);
            continue;
        }
        let Some(id) = parts.peek().map(|number| format!("{letter}-{number}")).filter(|id| is_rule(id))
        else {
            break;
        };
        ids.push(id);
        parts.next();
    }
    ids
}

/// The rule that a part of a test's name means where no other rule is called like that without its hyphen. `U16` and
/// its like are types.
fn with_hyphen(part: &str) -> Option<String> {
    let (letter, number) = part.split_at_checked(1)?;
    let is_type = ["U8", "U16", "U32", "U64"].contains(&part);
    ("RSU".contains(letter) && !is_type).then(|| format!("{letter}-{number}")).filter(|id| is_rule(id))
}

/// Rules and pages in a line of prose. Rules in backticks are none; pages are.
fn in_prose(line: usize, prose: &str, found: &mut Vec<Citation>) {
    for word in words(&without_code(prose), |c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        let is_part = |c: char| "/.%&=+$\\".contains(c);
        if is_rule(word.text) && !word.before.is_some_and(is_part) && word.after != Some('=') {
            found.push(Citation::Rule { line, id: word.text.to_owned() });
        }
    }
    for word in words(prose, |c| c.is_ascii_alphanumeric() || "-_./".contains(c)) {
        let path = word.text.trim_end_matches('.');
        // An address elsewhere begins with two slashes here.
        if path.ends_with(".md") && path != ".md" && !path.starts_with("//") {
            found.push(Citation::Page { line, path: path.to_owned() });
            let behind = word.rest.trim_start_matches(['`', ',', ')']).trim_start();
            if behind.starts_with(|c: char| c.is_ascii_digit()) && behind.len() < word.rest.len() {
                let number: String = behind.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
                found.push(Citation::Place { line, text: format!("{path} {number}") });
            }
        }
    }
    for marker in ["section ", "sections "] {
        for (at, _) in prose.match_indices(marker) {
            let rest = prose.get(at + marker.len()..).unwrap_or_default();
            if rest.starts_with(|c: char| c.is_ascii_digit()) && !prose.contains("RFC") {
                let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
                found.push(Citation::Place { line, text: format!("{marker}{number}") });
            }
        }
    }
}

/// Comments on lines one behind the other, put together.
fn blocks(comments: Vec<(usize, String)>) -> impl Iterator<Item = (usize, String)> {
    let mut comments = comments.into_iter().peekable();
    std::iter::from_fn(move || {
        let (first, mut text) = comments.next()?;
        let mut last = first;
        while let Some((line, more)) = comments.next_if(|(line, _)| *line == last + 1) {
            text.push(' ');
            text.push_str(&more);
            last = line;
        }
        Some((first, text))
    })
}

/// A block without a word of its own.
fn bare(line: usize, comment: &str) -> Option<Citation> {
    let is_documentation = comment.starts_with(['/', '!']);
    let mut shown = None;
    for word in words(comment, |c| c.is_alphanumeric() || c == '-' || c == '_') {
        let is_number = is_documentation && !word.text.contains(|c: char| c.is_alphabetic());
        if !is_number && !is_rule(word.text) {
            return None;
        }
        shown.get_or_insert(word.text);
    }
    shown.map(|text| Citation::Bare { line, text: text.to_owned() })
}

/// A word, what stands around it, and all that follows.
struct Word<'t> {
    before: Option<char>,
    text: &'t str,
    after: Option<char>,
    rest: &'t str,
}

fn words(text: &str, is_part: fn(char) -> bool) -> impl Iterator<Item = Word<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text.get(from..)?.find(is_part)?;
        let tail = text.get(start..)?;
        let end = start + tail.find(|c| !is_part(c)).unwrap_or(tail.len());
        from = end;
        let rest = text.get(end..)?;
        Some(Word {
            before: text.get(..start)?.chars().next_back(),
            text: text.get(start..end)?,
            after: rest.chars().next(),
            rest,
        })
    })
}

/// `prose` with blanks for what stands between backticks.
fn without_code(prose: &str) -> String {
    let mut is_code = false;
    prose
        .chars()
        .map(|c| {
            is_code ^= c == '`';
            if is_code || c == '`' { ' ' } else { c }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(kind: Kind, text: &str) -> Vec<String> {
        let rule = |citation| match citation {
            Citation::Rule { id, .. } => Some(id),
            Citation::Page { .. } | Citation::Place { .. } | Citation::Bare { .. } => None,
        };
        of(kind, text).into_iter().filter_map(rule).collect()
    }

    #[test]
    fn ids_are_found_in_comments_and_not_in_code() {
        let text =
            "let a1 = \"// N13\"; // at least a second (N13), D-15\n/* A1 */ x(B2); '\"'; // STATE-3: so.\n";
        assert_eq!(ids(Kind::Rust, text), ["N13", "D-15", "A1", "STATE-3"]);
    }

    #[test]
    fn ids_are_found_in_prose_and_not_in_code_spans() {
        let text = "R-4, `R-5` and (C6)\n```\nR-6\n```\nD2 to D4: https://x/B2 I2C U-Boot D-Bus A100 STATE-1234 x-R-7\n";
        assert_eq!(ids(Kind::Markdown, text), ["R-4", "C6", "D2", "D4"]);
    }

    #[test]
    fn a_hash_begins_a_comment_at_the_start_of_a_line_only() {
        assert_eq!(ids(Kind::Hash, "# for N13\nkey = 1 # A1\n  # B2\n"), ["N13", "B2"]);
    }

    #[test]
    fn names_of_tests_begin_with_their_rules() {
        let text = "#[test]\nfn b12_i2_c_2_r49_x3() {}\nfn a1_no_test() {}\n#[test]\n#[ignore = \"long\"]\nfn r12_d6_x() {}\n";
        assert_eq!(ids(Kind::Rust, text), ["B12", "I2", "C-2", "R-49", "R-12", "D6"]);
        let text = "#[test]\nfn a_name_of_words_and_2_numbers() {}\n#[test]\nfn c_api() {}\n#[test]\nfn u16_x() {}\n";
        assert!(ids(Kind::Rust, text).is_empty());
    }

    #[test]
    fn pages_are_named_by_their_path() {
        let page = |path: &str| Citation::Page { line: 1, path: path.to_owned() };
        let place = |text: &str| Citation::Place { line: 1, text: text.to_owned() };
        let found = |text: &str| of(Kind::Markdown, text);
        assert_eq!(found("see `docs/rules/server.md`."), [page("docs/rules/server.md")]);
        assert_eq!(found("[x](../a.md), docs/b.md."), [page("../a.md"), page("docs/b.md")]);
        assert_eq!(found("<https://host/proto.md>"), []);
        assert_eq!(found("(`a.md` 8.3, b)"), [page("a.md"), place("a.md 8.3")]);
        assert_eq!(found("(a.md 2)"), [page("a.md"), place("a.md 2")]);
        assert_eq!(found("as in section 7"), [place("section 7")]);
        assert_eq!(found("as in section 7 of RFC 8259"), []);
    }

    #[test]
    fn comments_without_words_are_found() {
        let bare = |text: &str| of(Kind::Rust, text).iter().any(|c| matches!(c, Citation::Bare { .. }));
        assert!(bare("/// N13."));
        assert!(bare("// (R-4, A1)"));
        assert!(bare("/// 13, 14, 16."));
        assert!(!bare("// 13, 14, 16."));
        assert!(!bare("/// At least a second (N13)."));
        assert!(!bare("/// At least a second\n/// (N13)."));
    }

    #[test]
    fn a_row_begins_with_its_anchor() {
        assert_eq!(anchor("| <a id=\"R-1\"></a>R-1 | x | y |"), Some("R-1"));
        assert_eq!(anchor("| R-1 | `<a id=\"R-2\"></a>` |"), None);
    }
}
