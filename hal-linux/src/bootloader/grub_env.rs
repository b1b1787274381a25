//! GRUB's environment block as bytes (BOOT-50).

use super::vars::{Change, Vars, VarsError};

const SIGNATURE: &[u8] = b"# GRUB Environment Block\n";

/// Largest block that is read; GRUB's own has 1024 bytes.
pub(crate) const BLOCK_MAX: usize = 64 * 1024;

/// Smallest block there is.
pub(crate) const BLOCK_MIN: usize = 1024;

/// A block, line by line: what is not changed keeps its bytes and its place.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    lines: Vec<Line<'a>>,
    /// A comment behind them that has no end of line, without the filler.
    unended: &'a [u8],
    size: usize,
}

#[derive(Debug)]
struct Line<'a> {
    /// With its end.
    raw: &'a [u8],
    /// Name and value, with their quotes undone; `None`: a comment, or nothing that has a meaning.
    entry: Option<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Block<'a> {
    /// Reads a block; `None` when it is none.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < BLOCK_MIN {
            return None;
        }
        let mut block = Self { lines: Vec::new(), unended: &[], size: bytes.len() };
        let mut rest = bytes.strip_prefix(SIGNATURE)?;
        while !rest.is_empty() {
            let (text, length) = split_line(rest);
            let is_comment = rest.first() == Some(&b'#');
            let Some(length) = length else {
                // The filler, which has no end of line, or an entry that was cut off.
                let filler = rest.iter().rev().take_while(|&&byte| byte == b'#').count();
                block.unended = &rest[..rest.len() - filler];
                return is_comment.then_some(block);
            };
            let (raw, behind) = rest.split_at(length);
            let equals = text.iter().position(|&byte| byte == b'=').filter(|_| !is_comment);
            let entry = equals.map(|at| (text[..at].to_vec(), text[at + 1..].to_vec()));
            block.lines.push(Line { raw, entry });
            rest = behind;
        }
        Some(block)
    }

    /// Its variables.
    pub(crate) fn vars(&self) -> Vars {
        let mut vars = Vars::default();
        for (name, value) in self.lines.iter().filter_map(|line| line.entry.as_ref()) {
            vars.push(name, value);
        }
        vars
    }

    /// The bytes with `changes`, of the same size; `None` when they change nothing. Comments and all other variables
    /// stay as they are, as with GRUB's own tool: a comment that ends in a backslash goes on in the next line.
    pub(crate) fn edit(&self, changes: &[Change<'_>]) -> Result<Option<Vec<u8>>, VarsError> {
        let before = self.vars();
        let is_new = before.clone().apply(changes)?;
        let mut bytes = SIGNATURE.to_vec();
        for line in &self.lines {
            let change = line.entry.as_ref().and_then(|(name, _)| {
                changes.iter().find(|(changed, _)| changed.as_bytes() == name.as_slice())
            });
            match change {
                Some((name, Some(value))) => push_entry(&mut bytes, name, value),
                Some((_, None)) => {}
                None => bytes.extend_from_slice(line.raw),
            }
        }
        if !self.unended.is_empty() {
            let start = bytes.len();
            bytes.extend_from_slice(self.unended);
            while split_line(&bytes[start..]).1.is_none() {
                bytes.push(b'\n');
            }
        }
        for (name, value) in changes {
            if let Some(value) = value.filter(|_| !before.has(name)) {
                push_entry(&mut bytes, name, value);
            }
        }
        if bytes.len() > self.size {
            return Err(VarsError::TooLarge { needed: bytes.len(), size: self.size });
        }
        bytes.resize(self.size, b'#');
        Ok(is_new.then_some(bytes))
    }
}

/// A block without variables.
pub(crate) fn empty() -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.resize(BLOCK_MIN, b'#');
    bytes
}

/// The text of the first line, with its quotes undone, and how many bytes it has with its end, if it has one. A quoted
/// line feed ends no line, not even a comment: GRUB reads it so.
fn split_line(bytes: &[u8]) -> (Vec<u8>, Option<usize>) {
    let mut line = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\n' => return (line, Some(at + 1)),
            b'\\' => {
                line.extend(bytes.get(at + 1));
                at += 1;
            }
            _ => line.push(byte),
        }
        at += 1;
    }
    (line, None)
}

fn push_entry(bytes: &mut Vec<u8>, name: &str, value: &str) {
    push_quoted(bytes, name.as_bytes());
    bytes.push(b'=');
    push_quoted(bytes, value.as_bytes());
    bytes.push(b'\n');
}

fn push_quoted(bytes: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        if matches!(byte, b'\\' | b'\n') {
            bytes.push(b'\\');
        }
        bytes.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Option<Vars> {
        Block::parse(bytes).map(|block| block.vars())
    }

    fn edited(bytes: &[u8], changes: &[Change<'_>]) -> Result<Vec<u8>, VarsError> {
        Ok(Block::parse(bytes).unwrap().edit(changes)?.unwrap_or_else(|| bytes.to_vec()))
    }

    fn sized(comment: &str, size: usize) -> Vec<u8> {
        let mut bytes = [SIGNATURE, comment.as_bytes()].concat();
        bytes.resize(size, b'#');
        bytes
    }

    #[test]
    fn blocks_come_back_as_they_were_written() {
        let all = [("a", Some("1=2")), ("b", Some("back\\slash\nline")), ("c", Some("")), ("d", Some("#"))];
        for size in [1024, 2048] {
            for comment in ["", "# WARNING: Do not edit this file by tools other than grub-editenv!!!\n"] {
                let empty = sized(comment, size);
                let bytes = edited(&empty, &all).unwrap();
                assert!(bytes.len() == size && bytes.starts_with(&[SIGNATURE, comment.as_bytes()].concat()));
                let vars = decode(&bytes).unwrap();
                let pairs: Vec<_> = vars.iter().collect();
                assert_eq!(pairs, all.map(|(name, value)| (name.as_bytes(), value.unwrap().as_bytes())));
                assert!(Block::parse(&bytes).unwrap().edit(&all).unwrap().is_none(), "nothing changes");
                assert_eq!(edited(&bytes, &all.map(|(name, _)| (name, None))).unwrap(), empty);
            }
        }
    }

    /// A comment that ends in a backslash.
    const COMMENT: &[u8] = include_bytes!("testdata/grub-comment-backslash.env");

    #[test]
    fn a_comment_that_ends_in_a_backslash_swallows_no_variable_when_the_block_is_rewritten() {
        let before = decode(COMMENT).unwrap();
        let new = edited(COMMENT, &[("bootcount", Some("1")), ("more", Some("x"))]).unwrap();
        let mut after = before.clone();
        after.apply(&[("bootcount", Some("1")), ("more", Some("x"))]).unwrap();
        assert_eq!(decode(&new), Some(after));
        // As GRUB's own tool leaves it: the comment, and what GRUB takes for a part of it, stay as they are.
        let kept = "# ends in a backslash \\\nsaved_entry=0\nmender_boot_part=2\nupgrade_available=0\nbootcount=1\nmore=x\n##";
        assert!(new[SIGNATURE.len()..].starts_with(kept.as_bytes()), "{}", String::from_utf8_lossy(&new));
        assert_eq!(edited(&new, &[("bootcount", Some("0")), ("more", None)]).unwrap(), COMMENT);
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let good = edited(&empty(), &[("a", Some("1"))]).unwrap();
        assert!(decode(&good[..1023]).is_none(), "too short");
        assert!(decode(&[]).is_none());
        let mut bad = good.clone();
        bad[3] = b'g';
        assert!(decode(&bad).is_none(), "the signature");
        let mut cut = SIGNATURE.to_vec();
        cut.resize(1024, b'x');
        assert!(decode(&cut).is_none(), "an entry without its end");
        let full = format!("{}a={}\n", "# GRUB Environment Block\n", "x".repeat(1024 - 25 - 3));
        assert_eq!(full.len(), 1024);
        assert!(decode(full.as_bytes()).is_some(), "full to the last byte");
    }

    #[test]
    fn whatever_a_block_holds_survives_a_change_of_something_else() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let alphabet = b"a=\\\n#0";
        let mut seen = 0;
        for round in 0..4000 {
            let mut bytes = SIGNATURE.to_vec();
            while bytes.len() < 1000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bytes.push(alphabet[usize::try_from(state >> 33).unwrap() % alphabet.len()]);
            }
            if round % 2 == 0 {
                bytes.push(b'\n');
            }
            bytes.resize(2048, b'#');
            let Some(vars) = decode(&bytes) else { continue };
            seen += 1;
            let new = edited(&bytes, &[("bootcount", Some("1"))]).unwrap();
            let mut expected = vars.clone();
            expected.push(b"bootcount", b"1");
            assert_eq!(decode(&new), Some(expected));
            assert_eq!(decode(&edited(&new, &[("bootcount", None)]).unwrap()), Some(vars));
        }
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let set = |value: String| edited(&empty(), &[("a", Some(&value))]);
        let room = 1024 - SIGNATURE.len() - 3;
        assert!(set("x".repeat(room)).is_ok());
        assert!(set("x".repeat(room + 1)).is_err());
        assert!(set("\\".repeat(room / 2 + 1)).is_err());
    }
}
