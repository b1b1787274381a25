//! Finding the end of values: in a text that is checked on the way, and, faster, in one that was.

use super::{DEPTH, Error, Fault};

/// Length of the value at the front of `text`, which stands in a valid text.
pub(super) fn skip(text: &[u8]) -> usize {
    let mut depth: usize = 0;
    let mut at: usize = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = skip_string(text, at),
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                at = at.saturating_add(1);
                continue;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at = at.saturating_add(1);
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {
                at = at.saturating_add(1);
                continue;
            }
            // A number or a word ends before whatever cannot belong to it.
            _ => {
                let rest = text.get(at..).unwrap_or_default();
                let word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
                at = at.saturating_add(rest.iter().position(|b| !word(b)).unwrap_or(rest.len()).max(1));
            }
        }
        if depth == 0 {
            break;
        }
    }
    at.min(text.len())
}

/// Offset behind the string whose first quote stands at `at` of a valid text.
pub(super) fn skip_string(text: &[u8], at: usize) -> usize {
    let mut at = at.saturating_add(1);
    while let Some(&byte) = text.get(at) {
        at = at.saturating_add(if byte == b'\\' { 2 } else { 1 });
        if byte == b'"' {
            break;
        }
    }
    at.min(text.len())
}

/// Finds the end of values, checking everything on the way.
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At this offset of `text`.
    pub(super) const fn at(text: &'a str, at: usize) -> Self {
        Self { text: text.as_bytes(), at }
    }

    pub(super) const fn position(&self) -> usize {
        self.at
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn value(&mut self) -> Result<(), Error> {
        // One bit per open level, the innermost lowest: 1 for an object.
        let mut open: u64 = 0;
        let mut depth: u32 = 0;
        loop {
            self.space();
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if depth == DEPTH {
                        return self.fail(Fault::TooDeep);
                    }
                    let is_object = bracket == b'{';
                    open = open << 1 | u64::from(is_object);
                    depth = depth.saturating_add(1);
                    self.step();
                    self.space();
                    let empty = self.peek() == Some(if is_object { b'}' } else { b']' });
                    if !empty {
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => self.string()?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                Some(_) => return self.fail(Fault::NoValue),
                None => return self.fail(Fault::Ends),
            }
            // Behind a value: levels end until one goes on.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let is_object = open & 1 == 1;
                self.space();
                match (self.peek(), is_object) {
                    (Some(b','), _) => {
                        self.step();
                        if is_object {
                            self.space();
                            self.key()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.step();
                        open >>= 1;
                        depth = depth.saturating_sub(1);
                    }
                    (Some(_), _) => return self.fail(Fault::NoEnd),
                    (None, _) => return self.fail(Fault::Ends),
                }
            }
        }
    }

    fn key(&mut self) -> Result<(), Error> {
        if self.peek() != Some(b'"') {
            return self.fail(Fault::NoKey);
        }
        self.string()?;
        self.space();
        if self.peek() != Some(b':') {
            return self.fail(Fault::NoColon);
        }
        self.step();
        Ok(())
    }

    fn string(&mut self) -> Result<(), Error> {
        self.step();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.step();
                    return Ok(());
                }
                Some(b'\\') => {
                    self.step();
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.step(),
                        Some(b'u') => self.unicode()?,
                        _ => return self.fail(Fault::Escape),
                    }
                }
                Some(0..0x20) => return self.fail(Fault::Control),
                Some(_) => self.step(),
                None => return self.fail(Fault::Ends),
            }
        }
    }

    /// Behind a backslash: `uXXXX`, or two of them when they are the halves of a pair.
    fn unicode(&mut self) -> Result<(), Error> {
        match self.unit()? {
            0xd800..0xdc00 => {
                if self.peek() != Some(b'\\') {
                    return self.fail(Fault::LoneSurrogate);
                }
                self.step();
                match self.unit()? {
                    0xdc00..0xe000 => Ok(()),
                    _ => self.fail(Fault::LoneSurrogate),
                }
            }
            0xdc00..0xe000 => self.fail(Fault::LoneSurrogate),
            _ => Ok(()),
        }
    }

    fn unit(&mut self) -> Result<u32, Error> {
        if self.peek() != Some(b'u') {
            return self.fail(Fault::Surrogate);
        }
        self.step();
        let mut unit = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(16)) else {
                return self.fail(Fault::NoHexDigit);
            };
            unit = unit << 4 | digit;
            self.step();
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<(), Error> {
        if self.peek() == Some(b'-') {
            self.step();
        }
        if self.peek() == Some(b'0') {
            self.step();
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.step();
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.step();
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.step();
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.step();
        }
        if self.at == start { self.fail(Fault::NoDigit) } else { Ok(()) }
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Error> {
        let end = self.at.saturating_add(word.len());
        if self.text.get(self.at..end) != Some(word) {
            return self.fail(Fault::NoValue);
        }
        self.at = end;
        Ok(())
    }

    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.step();
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) const fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    pub(super) const fn fail<T>(&self, what: Fault) -> Result<T, Error> {
        Err(Error { at: self.at, what })
    }
}
