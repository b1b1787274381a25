//! Text of a fixed capacity: what the core keeps of names, ids and reasons without a heap.

use core::fmt::{self, Write};

use heapless::string::StringView;

#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::{self, Coded, texts};
use crate::plain::Plain;

/// What stands at the end of a text that was cut.
pub const MARK: &str = "...";

/// At most `N` bytes of UTF-8. Compares, hashes and prints as the text it holds.
pub type Text<const N: usize> = heapless::String<N, u16>;

/// A text did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooLong {
    /// The capacity in bytes.
    pub limit: usize,
}

texts! {
    ERRORS = 'X': TooLong {
        1 Self { limit } => "longer than {limit} bytes",
    }
}

impl core::error::Error for TooLong {}

/// What core does with a [`Text`] beside what any string of a fixed capacity can.
pub trait TextExt: Sized {
    /// Exactly `text`.
    ///
    /// # Errors
    /// It does not fit.
    fn copy(text: &str) -> Result<Self, TooLong>;

    /// The whole of what `text` prints.
    ///
    /// # Errors
    /// It does not fit.
    fn format(text: &dyn fmt::Display) -> Result<Self, TooLong>;

    /// As much as fits of what `text` prints; what was cut, between two characters, ends in [`MARK`] (as much of it as fits).
    #[must_use]
    fn cut(text: &dyn fmt::Display) -> Self;

    /// As much of `text` as fits, cut in the same way.
    #[must_use]
    fn front(text: &str) -> Self;
}

impl<const N: usize> TextExt for Text<N> {
    fn copy(text: &str) -> Result<Self, TooLong> {
        Self::try_from(text).map_err(|_too_long| TooLong { limit: N })
    }

    fn format(text: &dyn fmt::Display) -> Result<Self, TooLong> {
        let mut new = Self::new();
        write!(new.as_mut_view(), "{text}").map_err(|fmt::Error| TooLong { limit: N })?;
        Ok(new)
    }

    fn cut(text: &dyn fmt::Display) -> Self {
        let mut new = Self::new();
        cut(new.as_mut_view(), text);
        new
    }

    fn front(text: &str) -> Self {
        Self::cut(&Plain(text))
    }
}

fn cut(text: &mut StringView<u16>, printed: &dyn fmt::Display) {
    let mut cutting = Cutting { text, cut: false };
    // `Cutting` takes everything; only a `Display` of its own can fail, and then its text simply ends.
    let _ = write!(cutting, "{printed}");
    let Cutting { text, cut } = cutting;
    if cut {
        let mark = MARK.get(..text.capacity().min(MARK.len())).unwrap_or("");
        let room = text.capacity().saturating_sub(mark.len());
        text.truncate(floor_char_boundary(text.as_str(), room));
        let _ = text.push_str(mark);
    }
}

/// The greatest boundary between characters of `text` that is not past `at`.
#[must_use]
pub fn floor_char_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

impl<const N: usize> Coded for Text<N> {
    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().content(f)
    }
}

/// At most as much UTF-8 as the lent memory has bytes.
#[derive(Debug)]
pub struct Lent<'b> {
    bytes: &'b mut [u8],
    len: usize,
}

impl<'b> Lent<'b> {
    /// No text, in this memory.
    pub const fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only whole characters are ever written, so this is always UTF-8.
        self.bytes.get(..self.len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or("")
    }

    /// The most bytes that it may have.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.bytes.len()
    }

    /// Takes all text away.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Becomes `text`; empty where that does not fit.
    pub fn set(&mut self, text: &str) -> Result<(), TooLong> {
        self.clear();
        self.write_str(text).map_err(|fmt::Error| TooLong { limit: self.limit() })
    }
}

/// All of a piece, or nothing of it and an error; the pieces before it stay.
impl Write for Lent<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.checked_add(text.len()).ok_or(fmt::Error)?;
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Takes any amount of text and keeps its beginning.
struct Cutting<'t> {
    text: &'t mut StringView<u16>,
    cut: bool,
}

impl Write for Cutting<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.cut && self.text.push_str(text).is_err() {
            self.cut = true;
            let room = self.text.capacity().saturating_sub(self.text.len());
            let end = floor_char_boundary(text, room);
            let _ = self.text.push_str(text.get(..end).unwrap_or(""));
        }
        Ok(())
    }
}

/// Untrusted bytes in a line of a log or a message: what is not printable ASCII is shown as `?`.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| {
            f.write_char(if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' })
        })
    }
}

impl Coded for Shown<'_> {
    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message::quote(f, self)
    }
}

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] = &[&ERRORS];

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    #[test]
    fn holds_exactly_its_capacity_and_not_one_byte_more() {
        assert_eq!(Text::<3>::copy("abc").unwrap(), "abc");
        assert_eq!(Text::<3>::copy("abcd"), Err(TooLong { limit: 3 }));
        assert_eq!(Text::<0>::copy("").unwrap().as_str(), "");
    }

    #[test]
    fn cut_keeps_what_fits_and_marks_what_does_not() {
        assert_eq!(Text::<5>::cut(&format_args!("{}{}", "ab", "cde")), "abcde");
        assert_eq!(Text::<5>::cut(&format_args!("{}{}", "ab", "cdef")), "ab...");
        assert_eq!(Text::<5>::cut(&format_args!("{}{}", "abcdef", "g")), "ab...");
        assert_eq!(Text::<2>::cut(&format_args!("abc")), "..");
        assert_eq!(Text::<0>::cut(&format_args!("abc")), "");
    }

    #[test]
    fn cut_never_splits_a_character() {
        let long: String = "aäß€😀".repeat(5);
        for start in (0..long.len()).filter(|&i| long.is_char_boundary(i)) {
            let text = Text::<17>::cut(&&long[start..]);
            let kept = text.as_str().strip_suffix(MARK).unwrap_or(text.as_str());
            assert!(long[start..].starts_with(kept));
            assert!(text.len() > 17 - 4 || text.as_str() == &long[start..], "{text}");
        }
    }

    #[test]
    fn format_is_whole_or_an_error() {
        assert_eq!(Text::<4>::format(&1234).unwrap(), "1234");
        let error = Text::<4>::format(&format_args!("{}{}", 123, 45)).unwrap_err();
        assert_eq!(error.to_string(), "longer than 4 bytes");
    }
}
