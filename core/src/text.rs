//! Text of a fixed capacity: what the core keeps of names, ids and reasons without a heap.

use core::fmt::{self, Write};
use core::hash::{Hash, Hasher};

#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::{self, Coded, texts};

/// What stands at the end of a text that was cut.
pub const MARK: &str = "...";

/// At most `N` bytes of UTF-8. Compares, hashes and prints as the text it holds.
#[derive(Clone)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

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

impl<const N: usize> Text<N> {
    /// No text.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    /// Exactly `text`.
    pub fn copy(text: &str) -> Result<Self, TooLong> {
        let mut new = Self::new();
        new.push(text)?;
        Ok(new)
    }

    /// The whole of `args`, or an error: `Text::format(format_args!(...))`.
    pub fn format(args: fmt::Arguments<'_>) -> Result<Self, TooLong> {
        let mut new = Self::new();
        new.front().write_fmt(args).map_err(|fmt::Error| TooLong { limit: N })?;
        Ok(new)
    }

    /// As much of `args` as fits; what was cut, between two characters, ends in [`MARK`] (as much of it as fits).
    #[must_use]
    pub fn cut(args: fmt::Arguments<'_>) -> Self {
        let mut new = Self::new();
        cut(new.front(), args);
        new
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        as_str(&self.bytes, self.len)
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when there is no text.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes all text away.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends all of `text`, or nothing.
    pub fn push(&mut self, text: &str) -> Result<(), TooLong> {
        self.front().write_str(text).map_err(|fmt::Error| TooLong { limit: N })
    }

    /// Keeps at most the first `len` bytes, fewer where that would split a character.
    pub fn truncate(&mut self, len: usize) {
        self.len = floor_char_boundary(self.as_str(), len);
    }

    const fn front(&mut self) -> Front<'_> {
        Front { bytes: &mut self.bytes, len: &mut self.len }
    }
}

/// The greatest boundary between characters of `text` that is not past `at`.
#[must_use]
pub fn floor_char_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> PartialEq for Text<N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl<const N: usize> Eq for Text<N> {}

impl<const N: usize> PartialEq<str> for Text<N> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl<const N: usize> PartialEq<&str> for Text<N> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl<const N: usize> Hash for Text<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const N: usize> Coded for Text<N> {
    fn code(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().code(f)
    }
}

impl<const N: usize> TryFrom<&str> for Text<N> {
    type Error = TooLong;

    fn try_from(text: &str) -> Result<Self, TooLong> {
        Self::copy(text)
    }
}

/// Fails on what does not fit; the pieces before it stay. [`Text::format`] has no such half state.
impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.front().write_str(text)
    }

    fn write_fmt(&mut self, args: fmt::Arguments<'_>) -> fmt::Result {
        self.front().write_fmt(args)
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
        as_str(self.bytes, self.len)
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

/// Fails on what does not fit; the pieces before it stay.
impl Write for Lent<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        Front { bytes: self.bytes, len: &mut self.len }.write_str(text)
    }
}

/// A [`Text`] of any capacity, so that the code of writing is there once.
struct Front<'t> {
    bytes: &'t mut [u8],
    len: &'t mut usize,
}

/// All of a piece, or nothing of it and an error.
impl Write for Front<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.checked_add(text.len()).ok_or(fmt::Error)?;
        self.bytes.get_mut(*self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        *self.len = end;
        Ok(())
    }
}

fn as_str(bytes: &[u8], len: usize) -> &str {
    // Only whole characters are ever written, so this is always UTF-8.
    bytes.get(..len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or("")
}

fn cut(front: Front<'_>, args: fmt::Arguments<'_>) {
    let mut cutting = Cutting { text: front, cut: false };
    // `Cutting` takes everything; only a `Display` of its own can fail, and then its text simply ends.
    let _ = cutting.write_fmt(args);
    let Cutting { mut text, cut } = cutting;
    if cut {
        let mark = MARK.get(..text.bytes.len().min(MARK.len())).unwrap_or("");
        let room = text.bytes.len().saturating_sub(mark.len());
        *text.len = floor_char_boundary(as_str(text.bytes, *text.len), room);
        let _ = text.write_str(mark);
    }
}

/// Takes any amount of text and keeps its beginning.
struct Cutting<'t> {
    text: Front<'t>,
    cut: bool,
}

impl Write for Cutting<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.cut && self.text.write_str(text).is_err() {
            self.cut = true;
            let room = self.text.bytes.len().saturating_sub(*self.text.len);
            let end = floor_char_boundary(text, room);
            let _ = self.text.write_str(text.get(..end).unwrap_or(""));
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
    fn code(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message::quote(f, self)
    }
}

impl<const N: usize> serde::Serialize for Text<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, const N: usize> serde::Deserialize<'de> for Text<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        Self::copy(text).map_err(serde::de::Error::custom)
    }
}

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] = &[&ERRORS];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::hash_map::DefaultHasher;
    use std::format;
    use std::string::{String, ToString};

    #[test]
    fn holds_exactly_its_capacity_and_not_one_byte_more() {
        assert_eq!(Text::<3>::copy("abc").unwrap(), "abc");
        assert_eq!(Text::<3>::copy("abcd"), Err(TooLong { limit: 3 }));
        assert_eq!(Text::<0>::copy("").unwrap().as_str(), "");
    }

    #[test]
    fn push_takes_all_or_nothing() {
        let mut text = Text::<4>::copy("ab").unwrap();
        assert_eq!(text.push("cde"), Err(TooLong { limit: 4 }));
        assert_eq!(text, "ab");
        text.push("cd").unwrap();
        assert_eq!(text, "abcd");
        assert!(write!(text, "{}", 1).is_err());
        assert_eq!(text, "abcd");
    }

    #[test]
    fn equality_and_hash_ignore_what_stood_there_before() {
        let mut used = Text::<8>::copy("longer").unwrap();
        used.clear();
        used.push("ab").unwrap();
        let fresh = Text::<8>::copy("ab").unwrap();
        assert_eq!(used, fresh);
        let hash = |text: &Text<8>| {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(&used), hash(&fresh));
        assert_eq!(format!("{used:?} {used:>4}"), "\"ab\"   ab");
    }

    #[test]
    fn cut_keeps_what_fits_and_marks_what_does_not() {
        assert_eq!(Text::<5>::cut(format_args!("{}{}", "ab", "cde")), "abcde");
        assert_eq!(Text::<5>::cut(format_args!("{}{}", "ab", "cdef")), "ab...");
        assert_eq!(Text::<5>::cut(format_args!("{}{}", "abcdef", "g")), "ab...");
        assert_eq!(Text::<2>::cut(format_args!("abc")), "..");
        assert_eq!(Text::<0>::cut(format_args!("abc")), "");
    }

    #[test]
    fn cut_never_splits_a_character() {
        let long: String = "aäß€😀".repeat(5);
        for start in (0..long.len()).filter(|&i| long.is_char_boundary(i)) {
            let text = Text::<17>::cut(format_args!("{}", &long[start..]));
            let kept = text.as_str().strip_suffix(MARK).unwrap_or(text.as_str());
            assert!(long[start..].starts_with(kept));
            assert!(text.len() > 17 - 4 || text.as_str() == &long[start..], "{text}");
        }
    }

    #[test]
    fn format_is_whole_or_an_error() {
        assert_eq!(Text::<4>::format(format_args!("{}", 1234)).unwrap(), "1234");
        let error = Text::<4>::format(format_args!("{}{}", 123, 45)).unwrap_err();
        assert_eq!(error.to_string(), "longer than 4 bytes");
    }
}
