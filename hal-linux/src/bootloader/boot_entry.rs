//! Entries of the Boot Loader Specification (type 1): the file names that count boots, and the patterns that choose.
//!
//! ```text
//! ID.conf                 good
//! ID+LEFT.conf            LEFT boots may be tried
//! ID+LEFT-DONE.conf       DONE were tried; the loader renames the file before each
//! ```

const SUFFIX: &str = ".conf";

/// A boot entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Which of the directories it is in.
    pub(super) dir: usize,
    /// The name of its file.
    pub(super) file: String,
    pub(super) name: Name,
    /// The kernel's command line.
    pub(super) options: String,
    /// The whole file.
    pub(super) text: Vec<u8>,
}

/// A file name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The part of the file name before the counter.
    pub(super) id: String,
    /// Boots left; `None`: boots are not counted.
    pub(super) left: Option<u32>,
}

impl Name {
    /// `None`: the loader passes over such a file.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let stem = file.get(..file.len().checked_sub(SUFFIX.len())?)?;
        let is_entry = file.get(stem.len()..)?.eq_ignore_ascii_case(SUFFIX)
            && !stem.is_empty()
            && !file.starts_with('.')
            && !file.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("auto-"));
        if !is_entry {
            return None;
        }
        Some(match stem.rsplit_once('+').and_then(|(id, counter)| Some((id, left(counter)?))) {
            Some((id, left)) if !id.is_empty() => Self { id: id.to_owned(), left: Some(left) },
            Some(_) | None => Self { id: stem.to_owned(), left: None },
        })
    }

    /// Its file.
    pub(super) fn file(&self) -> String {
        match self.left {
            Some(left) => format!("{}+{left}{SUFFIX}", self.id),
            None => format!("{}{SUFFIX}", self.id),
        }
    }

    /// A pattern that chooses every file of this entry, whatever its counter, and no other.
    pub(super) fn pattern(&self) -> String {
        format!("{}[.+]*", self.id.to_ascii_lowercase())
    }

    /// Whether its characters have no special meaning in a pattern and in a variable of the firmware.
    pub(super) fn is_plain(&self) -> bool {
        self.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    }
}

/// `LEFT` or `LEFT-DONE`.
fn left(counter: &str) -> Option<u32> {
    let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok())?
    };
    number(done)?;
    number(left)
}

impl Entry {
    /// `None`: the loader passes over such a file.
    pub(super) fn parse(dir: usize, file: String, text: Vec<u8>) -> Option<Self> {
        let name = Name::parse(&file)?;
        let lines = String::from_utf8_lossy(&text);
        let mut options = Vec::new();
        let mut starts_something = false;
        for line in lines.lines().map(str::trim) {
            let Some((key, value)) = line.split_once([' ', '\t']) else { continue };
            match key {
                "options" => options.push(value.trim()),
                // The loader counts boots of these only.
                "linux" | "uki" => starts_something = true,
                _ => {}
            }
        }
        let options = options.join(" ");
        starts_something.then_some(Self { dir, file, name, options, text })
    }
}

/// The loader compares patterns and names of files without regard to case, the counter included.
pub(super) fn matches(pattern: &str, file: &str) -> bool {
    glob(pattern.to_ascii_lowercase().as_bytes(), file.to_ascii_lowercase().as_bytes())
}

/// `*`, `?`, `[abc]`, `[a-z]` and `\` as quote, as the loader understands them. Does not recurse, and is quadratic at
/// worst.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the rest does not match: behind the last `*`, one byte of the text later.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            (Some(_), Some(&byte)) => one(&pattern[p..], byte),
            (Some(_), None) | (None, Some(_)) => None,
        };
        match (step, retry) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((behind, from))) if from < text.len() => {
                retry = Some((behind, from + 1));
                (p, t) = (behind, from + 1);
            }
            (None, _) => return false,
        }
    }
}

/// Length of what `pattern` begins with, when that matches `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', quoted, ..] => (*quoted == byte).then_some(2),
        [b'[', set @ ..] => {
            let end = 1 + set.iter().skip(1).position(|&b| b == b']')?;
            let set = set.get(..end)?;
            let mut at = 0;
            let mut found = false;
            while let Some(&first) = set.get(at) {
                match (set.get(at + 1), set.get(at + 2)) {
                    (Some(b'-'), Some(&last)) => {
                        found |= (first..=last).contains(&byte);
                        at += 3;
                    }
                    _ => {
                        found |= first == byte;
                        at += 1;
                    }
                }
            }
            found.then_some(end + 2)
        }
        [plain, ..] => (*plain == byte).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_taken_apart_and_put_together() {
        for (file, id, left) in [
            ("b.conf", "b", None),
            ("b+3.conf", "b", Some(3)),
            ("b+0-1.conf", "b", Some(0)),
            ("b+12-345.CONF", "b", Some(12)),
            ("b+1+2-3.conf", "b+1", Some(2)),
            // No counter, though there is a plus.
            ("b+.conf", "b+", None),
            ("b+x.conf", "b+x", None),
            ("b+1-.conf", "b+1-", None),
            ("b+1-2-3.conf", "b+1-2-3", None),
            ("b+99999999999.conf", "b+99999999999", None),
            ("+1.conf", "+1", None),
        ] {
            let name = Name::parse(file).unwrap();
            assert_eq!((name.id.as_str(), name.left), (id, left), "{file}");
            assert_eq!(Name::parse(&name.file()), Some(name));
        }
        for file in ["", ".conf", "b.efi", "conf", ".b.conf", "auto-windows.conf", "b.conf.new", "\u{fc}"] {
            assert_eq!(Name::parse(file), None, "{file:?}");
        }
    }

    #[test]
    fn an_entry_has_options_and_something_to_start() {
        let parse = |text: &str| Entry::parse(0, "b.conf".into(), text.as_bytes().to_vec());
        let entry =
            parse("title\tB\noptions root=/dev/vda3\nlinux /b\noptions  quiet \n#options x\n").unwrap();
        assert_eq!(entry.options, "root=/dev/vda3 quiet");
        for text in ["", "options root=/dev/vda3\n", "linux\n", "\0\0"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn patterns_choose_as_the_loader_does() {
        for (pattern, text, good) in [
            ("slot-b.conf", "slot-b.conf", true),
            ("slot-b.conf", "slot-b+1.conf", false),
            ("slot-b[.+]*", "slot-b.conf", true),
            ("slot-b[.+]*", "slot-b+0-1.conf", true),
            ("slot-b[.+]*", "slot-b2.conf", false),
            ("slot-b[.+]*", "slot-b", false),
            ("slot-?*", "slot-a.conf", true),
            ("*b*c*", "abbcd", true),
            ("*b*c", "abbcd", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a[b", "ab", false),
            ("a[b-d]e", "ace", true),
            ("a[b-]", "a-", true),
            ("a[]]", "a]", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a\\", "a\\", true),
        ] {
            assert_eq!(matches(pattern, text), good, "{pattern:?} {text:?}");
        }
        // What would take for ever by recursion.
        let (pattern, text) = ("*a".repeat(60), "a".repeat(59));
        assert!(!matches(&pattern, &text));
    }
}
