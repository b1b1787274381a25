//! The comments of a Rust file, line by line.

/// What is read at the moment.
#[derive(Clone, Copy)]
enum In {
    Code,
    /// A text with escapes.
    Text,
    /// A raw text that ends with so many `#`.
    RawText(usize),
    LineComment,
    /// A comment in so many others.
    BlockComment(usize),
}

/// Every line with a comment in it, with its number from 1: the comment alone, without its slashes.
pub(crate) fn of(source: &str) -> Vec<(usize, String)> {
    let mut comments = Vec::new();
    let mut now = In::Code;
    for (number, line) in (1..).zip(source.lines()) {
        let mut comment = String::new();
        let mut rest = line;
        if matches!(now, In::LineComment) {
            now = In::Code;
        }
        while let Some(c) = rest.chars().next() {
            let (then, length) = step(now, rest, c);
            if let (In::LineComment | In::BlockComment(_), In::LineComment | In::BlockComment(_)) =
                (now, then)
            {
                comment.extend(rest.get(..length));
            }
            now = then;
            rest = rest.get(length..).unwrap_or_default();
        }
        if !comment.is_empty() {
            comments.push((number, comment));
        }
    }
    comments
}

/// What is read behind the next characters of `rest`, which begins with `c`, and how many bytes those are.
fn step(now: In, rest: &str, c: char) -> (In, usize) {
    let one = c.len_utf8();
    match now {
        In::Code => {
            if rest.starts_with("//") {
                return (In::LineComment, 2);
            }
            if rest.starts_with("/*") {
                return (In::BlockComment(0), 2);
            }
            if let Some((hashes, length)) = raw_text(rest) {
                return (In::RawText(hashes), length);
            }
            match c {
                '"' => (In::Text, 1),
                '\'' => (In::Code, character(rest)),
                // A word at once, so that the `r` at its end begins no raw text.
                c if c.is_alphanumeric() || c == '_' => {
                    (In::Code, rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()))
                }
                _ => (In::Code, one),
            }
        }
        In::Text => match c {
            '\\' => (In::Text, 1 + rest.chars().nth(1).map_or(0, char::len_utf8)),
            '"' => (In::Code, 1),
            _ => (In::Text, one),
        },
        In::RawText(hashes) => {
            let ends = rest.strip_prefix('"').is_some_and(|tail| tail.starts_with(&"#".repeat(hashes)));
            if ends { (In::Code, 1 + hashes) } else { (In::RawText(hashes), one) }
        }
        In::LineComment => (In::LineComment, one),
        In::BlockComment(depth) if rest.starts_with("*/") => {
            (depth.checked_sub(1).map_or(In::Code, In::BlockComment), 2)
        }
        In::BlockComment(depth) if rest.starts_with("/*") => (In::BlockComment(depth + 1), 2),
        In::BlockComment(depth) => (In::BlockComment(depth), one),
    }
}

/// The number of `#` when a raw text begins here (`r"`, `br#"`), and the length of all that begins it.
fn raw_text(rest: &str) -> Option<(usize, usize)> {
    let tail = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let text = tail.trim_start_matches('#').strip_prefix('"')?;
    Some((tail.len() - text.len() - 1, rest.len() - text.len()))
}

/// The length of a character literal, or of the quote of a lifetime.
fn character(rest: &str) -> usize {
    let inside = rest.get(1..).unwrap_or_default();
    let length = match inside.chars().next() {
        Some('\\') => inside.get(2..).and_then(|tail| tail.find('\'')).map(|end| end + 2),
        Some(c) => inside.get(c.len_utf8()..).filter(|tail| tail.starts_with('\'')).map(|_| c.len_utf8()),
        None => None,
    };
    length.map_or(1, |length| length + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        of(source).into_iter().map(|(_, text)| text.trim().to_owned()).collect()
    }

    #[test]
    fn comments_are_told_from_texts() {
        assert_eq!(texts("let a = \"// no \\\" // no\"; // yes"), ["yes"]);
        assert_eq!(texts("r#\"// no \" // no\"#; r\"\\\" // yes"), ["yes"]);
        assert_eq!(texts("'\"' // yes"), ["yes"]);
        assert_eq!(texts("'\\'' // yes\nf::<'a>() // also"), ["yes", "also"]);
        assert_eq!(texts("br\"// no\\\" // yes"), ["yes"]);
        assert_eq!(texts("b\"// no\" bar\"// no\" // yes"), ["yes"]);
        assert_eq!(texts("\"over\n// two lines\" // yes"), ["yes"]);
    }

    #[test]
    fn blocks_go_over_lines_and_nest() {
        let found = of("a /* one /* two */\nthree */ b // four\n/* five */");
        let found: Vec<_> = found.iter().map(|(line, text)| (*line, text.trim())).collect();
        assert_eq!(found, [(1, "one /* two */"), (2, "three  four"), (3, "five")]);
    }
}
