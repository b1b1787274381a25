//! Output of a child, cut into log entries.

/// Longest log entry made of output, in bytes (L7).
pub(super) const LINE: usize = 1024;

/// Collects bytes into lines. A line longer than [`LINE`] becomes several entries. After `cap` bytes one last entry
/// says that the rest is left out.
#[derive(Debug)]
pub(super) struct Lines {
    partial: Vec<u8>,
    cap: usize,
    left: usize,
    truncated: bool,
}

impl Lines {
    pub(super) fn new(cap: usize) -> Self {
        Self { partial: Vec::with_capacity(LINE), cap, left: cap, truncated: false }
    }

    /// Takes any number of bytes and gives every complete line to `emit`, without its newline.
    pub(super) fn push(&mut self, bytes: &[u8], emit: &mut dyn FnMut(&str)) {
        if self.truncated {
            return;
        }
        let (kept, dropped) = bytes.split_at(self.left.min(bytes.len()));
        self.left -= kept.len();
        for piece in kept.split_inclusive(|&b| b == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.extend(end, emit);
                    self.emit(self.partial.len(), emit);
                }
                None => self.extend(piece, emit),
            }
        }
        if !dropped.is_empty() {
            self.finish(emit);
            self.truncated = true;
            emit(&format!("(output truncated after {} bytes)", self.cap));
        }
    }

    /// The output has ended: also emits a last line that has no newline.
    pub(super) fn finish(&mut self, emit: &mut dyn FnMut(&str)) {
        if !self.partial.is_empty() {
            self.emit(self.partial.len(), emit);
        }
    }

    fn extend(&mut self, mut bytes: &[u8], emit: &mut dyn FnMut(&str)) {
        while self.partial.len() + bytes.len() > LINE {
            let (front, rest) = bytes.split_at(LINE - self.partial.len());
            self.partial.extend_from_slice(front);
            self.emit(LINE - incomplete_tail(&self.partial), emit);
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
    }

    fn emit(&mut self, len: usize, emit: &mut dyn FnMut(&str)) {
        emit(&String::from_utf8_lossy(&self.partial[..len]));
        self.partial.drain(..len);
    }
}

/// The length of an incomplete UTF-8 sequence at the end of `bytes`: it is kept for the next entry.
fn incomplete_tail(bytes: &[u8]) -> usize {
    for (back, byte) in bytes.iter().rev().take(3).enumerate() {
        let have = back + 1;
        let need = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if need > have { have } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(cap: usize, chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(cap);
        let mut out = Vec::new();
        for chunk in chunks {
            lines.push(chunk, &mut |line| out.push(line.to_owned()));
        }
        lines.finish(&mut |line| out.push(line.to_owned()));
        out
    }

    #[test]
    fn chunks_do_not_matter() {
        let text = "one\n\ntwo\r\nthrée\nlast".as_bytes();
        let whole = lines(100, &[text]);
        assert_eq!(whole, ["one", "", "two\r", "thrée", "last"]);
        for at in 0..text.len() {
            assert_eq!(lines(100, &[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
    }

    #[test]
    fn l7_a_long_line_is_split_and_all_of_it_kept() {
        let text = "é".repeat(LINE * 2 + 7);
        // One byte in front, so that every cut would fall inside a character.
        let out = lines(usize::MAX, &[b"x", text.as_bytes()]);
        assert!(out.len() > 4 && out.iter().all(|line| line.len() <= LINE));
        assert_eq!(out.concat(), format!("x{text}"));
    }

    #[test]
    fn a_line_of_the_full_length_is_one_entry() {
        let text = [b'a'; LINE];
        assert_eq!(lines(usize::MAX, &[&text, b"\nb\n"]), ["a".repeat(LINE), "b".to_owned()]);
    }

    #[test]
    fn l7_output_behind_the_cap_is_dropped_with_one_mark() {
        let out = lines(10, &[b"12345\n123", b"45\n", b"more\n", b"more\n"]);
        assert_eq!(out, ["12345", "1234", "(output truncated after 10 bytes)"]);
        assert_eq!(lines(6, &[b"12345\n"]), ["12345"]);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(lines(100, &[b"a\xff\xfeb\n\xe2\x82"]), ["a\u{fffd}\u{fffd}b", "\u{fffd}"]);
    }
}
