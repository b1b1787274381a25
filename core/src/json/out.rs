//! Writing JSON into lent memory.

use core::fmt::{self, Write};

use crate::digits;
use crate::message::texts;

/// What was to be written does not fit in the lent buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Overflow {
    /// Length of the buffer.
    pub limit: usize,
}

texts! {
    ERRORS = 'J': Overflow {
        19 Self { limit } =>
            "a request has more than {limit} bytes, for which there is room: make what the device tells the server shorter",
    }
}

impl core::error::Error for Overflow {}

/// Writes text into a lent buffer. Too much is remembered and reported once, by [`Self::finish`].
#[derive(Debug)]
pub struct Out<'b> {
    buf: &'b mut [u8],
    len: usize,
    overflown: bool,
}

impl<'b> Out<'b> {
    /// Begins at the front of `buf`.
    pub const fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, len: 0, overflown: false }
    }

    /// Text as it is.
    pub fn raw(&mut self, text: &str) {
        // The result is the same as what is remembered.
        let _ = self.write_str(text);
    }

    /// The JSON string of a text.
    pub fn string(&mut self, text: &str) {
        // A failure is remembered, here and below.
        let _ = write_string(self, text);
    }

    /// The JSON string of what `text` prints.
    pub fn string_of(&mut self, text: &dyn fmt::Display) {
        self.raw("\"");
        let _ = write!(Escape(self), "{text}");
        self.raw("\"");
    }

    /// What was written, if all of it fitted.
    pub fn finish(self) -> Result<&'b str, Overflow> {
        let overflow = Overflow { limit: self.buf.len() };
        if self.overflown {
            return Err(overflow);
        }
        // Only whole pieces of text were copied.
        self.buf.get(..self.len).and_then(|text| str::from_utf8(text).ok()).ok_or(overflow)
    }
}

impl Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.saturating_add(text.len());
        match self.buf.get_mut(self.len..end) {
            Some(room) if !self.overflown => {
                room.copy_from_slice(text.as_bytes());
                self.len = end;
                Ok(())
            }
            _ => {
                self.overflown = true;
                Err(fmt::Error)
            }
        }
    }
}

/// Writes the JSON string of a text.
pub(crate) fn write_string(to: &mut dyn Write, text: &str) -> fmt::Result {
    to.write_char('"')?;
    Escape(to).write_str(text)?;
    to.write_char('"')
}

/// Writes what comes as the inside of a JSON string. Stacks: a string inside a string is escaped twice.
pub struct Escape<'w>(pub &'w mut dyn Write);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = text;
        while let Some(at) =
            plain.find(|c: char| c.is_ascii_control() || matches!(c, '"' | '\\' | '\u{2028}' | '\u{2029}'))
        {
            let (before, from) = plain.split_at_checked(at).unwrap_or((plain, ""));
            self.0.write_str(before)?;
            let mut chars = from.chars();
            match chars.next() {
                Some('"') => self.0.write_str("\\\"")?,
                Some('\\') => self.0.write_str("\\\\")?,
                Some('\n') => self.0.write_str("\\n")?,
                Some('\r') => self.0.write_str("\\r")?,
                Some('\t') => self.0.write_str("\\t")?,
                Some(control) => {
                    let [.., high, low] = u32::from(control).to_be_bytes();
                    self.0.write_str("\\u")?;
                    digits::hex(self.0, high)?;
                    digits::hex(self.0, low)?;
                }
                None => {}
            }
            plain = chars.as_str();
        }
        self.0.write_str(plain)
    }
}
