//! JSON without a heap: views into a text that was checked as a whole, and a writer into lent memory.
//!
//! [`Value::parse`] accepts exactly RFC 8259 in UTF-8, at most [`DEPTH`] levels deep, and nothing behind it but
//! white space. After that, walking cannot fail. Nothing here recurses: depth costs no stack.

pub(crate) mod counter;
mod fault;
mod keys;
mod out;
mod scan;

use core::fmt::{self, Write};

use crate::digits::number;
#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::{self, Coded};

use counter::looked;
use scan::{Scanner, skip};

pub use fault::{Error, Fault};
pub use keys::{ENTRY, Index, KeysError};
pub(crate) use out::write_string;
pub use out::{Escape, Out, Overflow};

/// How deep arrays and objects may nest: meta-data of artifacts may have 64 levels (ARTIFACT-55).
pub const DEPTH: u32 = 64;

/// A member stands twice in one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Duplicate;

/// One value of a valid text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// The value that `text` consists of.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let text =
            str::from_utf8(text).map_err(|error| Error { at: error.valid_up_to(), what: Fault::NotUtf8 })?;
        let mut scanner = Scanner::at(text, 0);
        scanner.space();
        let start = scanner.position();
        scanner.value()?;
        let end = scanner.position();
        looked(end);
        scanner.space();
        if scanner.peek().is_some() {
            return scanner.fail(Fault::Behind);
        }
        Ok(Self(text.get(start..end).unwrap_or("")))
    }

    /// The value that `text` consists of, which [`Self::parse`] took before.
    pub(crate) const fn parsed_before(text: &'a str) -> Self {
        Self(text)
    }

    /// The value as it stands in the text.
    #[must_use]
    pub const fn raw(self) -> &'a str {
        self.0
    }

    /// True for `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(self) -> Option<Str<'a>> {
        Some(Str(self.0.strip_prefix('"')?.strip_suffix('"')?))
    }

    /// The number, if it is one that is written as an integer (no fraction, no exponent) and fits.
    #[must_use]
    pub fn as_integer(self) -> Option<i64> {
        match self.0.strip_prefix('-') {
            Some(digits) => 0_i64.checked_sub_unsigned(number(digits.as_bytes())?),
            None => number(self.0.as_bytes())?.try_into().ok(),
        }
    }

    /// The members, if it is an object, in the order of the text.
    #[must_use]
    pub fn members(self) -> Option<Members<'a>> {
        Walk::begin(self.0, b'{').map(Members)
    }

    /// The items, if it is an array.
    #[must_use]
    pub fn items(self) -> Option<Items<'a>> {
        Walk::begin(self.0, b'[').map(Items)
    }

    /// The member of this name, if it is an object that has one.
    pub fn member(self, name: &str) -> Result<Option<Self>, Duplicate> {
        let Some(members) = self.members() else { return Ok(None) };
        let mut of_name = members.filter(|(key, _)| key.is(name)).map(|(_, value)| value);
        let found = of_name.next();
        if of_name.next().is_some() { Err(Duplicate) } else { Ok(found) }
    }
}

/// The members of an object, in the order of the text. The default has none.
#[derive(Clone, Debug, Default)]
pub struct Members<'a>(Walk<'a>);

impl<'a> Members<'a> {
    /// Those of a value; none where it is no object, or there is no value.
    pub(crate) fn of(value: Option<Value<'a>>) -> Self {
        value.and_then(Value::members).unwrap_or_default()
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Str<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.next()?.as_str()?;
        Some((key, self.0.next()?))
    }
}

/// The items of an array. The default has none.
#[derive(Clone, Debug, Default)]
pub struct Items<'a>(Walk<'a>);

impl<'a> Items<'a> {
    /// Those of a value; none where it is no array, or there is no value.
    pub(crate) fn of(value: Option<Value<'a>>) -> Self {
        value.and_then(Value::items).unwrap_or_default()
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// A string of a valid text, its escapes not yet undone. Prints with the escapes undone.
#[derive(Clone, Copy, Debug)]
pub struct Str<'a>(&'a str);

impl<'a> Str<'a> {
    /// The characters it stands for.
    pub fn chars(self) -> impl Iterator<Item = char> + Clone + 'a {
        looked(self.0.len());
        let mut rest = self.0.chars();
        core::iter::from_fn(move || {
            let c = rest.next()?;
            if c != '\\' {
                return Some(c);
            }
            Some(match rest.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let first = four_digits(&mut rest)?;
                    if (0xd800..0xdc00).contains(&first) {
                        // Checked: the second half stands right behind, as `\uXXXX`.
                        let second = four_digits(&mut rest.by_ref().skip(2))?;
                        let (high, low) = (first & 0x3ff, second & 0x3ff);
                        char::from_u32((high << 10 | low).wrapping_add(0x1_0000))?
                    } else {
                        char::from_u32(first)?
                    }
                }
                itself => itself,
            })
        })
    }

    /// True when it stands for exactly `text`.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        self.chars().eq(text.chars())
    }

    /// True when it stands for `text`, ASCII letters in any case.
    #[must_use]
    pub fn is_ignoring_case(self, text: &str) -> bool {
        self.folded().eq(text.chars().map(|c| c.to_ascii_lowercase()))
    }

    /// Its characters, ASCII letters as small ones.
    fn folded(self) -> impl Iterator<Item = char> + Clone + 'a {
        self.chars().map(|c| c.to_ascii_lowercase())
    }

    /// What it stands for: itself where nothing is escaped, else in the front of `buf`; `None` if it does not fit there.
    #[must_use]
    pub fn text<'b>(self, buf: &'b mut [u8]) -> Option<&'b str>
    where
        'a: 'b,
    {
        if self.0.contains('\\') { self.unescape(buf) } else { Some(self.0) }
    }

    /// What it stands for, in the front of `buf`; `None` if it does not fit.
    #[must_use]
    pub fn unescape(self, buf: &mut [u8]) -> Option<&str> {
        let mut len: usize = 0;
        for c in self.chars() {
            let end = len.checked_add(c.len_utf8())?;
            c.encode_utf8(buf.get_mut(len..end)?);
            len = end;
        }
        str::from_utf8(buf.get(..len)?).ok()
    }

    /// The length in bytes of what it stands for.
    #[must_use]
    pub fn len(self) -> usize {
        self.chars().map(char::len_utf8).fold(0, usize::saturating_add)
    }

    /// True when it stands for nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl Coded for Str<'_> {
    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message::quote(f, self)
    }
}

impl fmt::Display for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars().try_for_each(|c| f.write_char(c))
    }
}

fn four_digits(chars: &mut impl Iterator<Item = char>) -> Option<u32> {
    (0..4).try_fold(0, |n, _| Some(n << 4 | chars.next()?.to_digit(16)?))
}

/// Walks the values directly inside an array or object of a valid text; keys come as values.
#[derive(Clone, Debug, Default)]
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    fn begin(text: &'a str, open: u8) -> Option<Self> {
        (text.as_bytes().first() == Some(&open)).then_some(Self { text, at: 1 })
    }

    fn next(&mut self) -> Option<Value<'a>> {
        let mut scanner = Scanner::at(self.text, self.at);
        scanner.space();
        if matches!(scanner.peek(), Some(b',' | b':')) {
            scanner.step();
            scanner.space();
        }
        let start = scanner.position();
        let rest = scanner.rest();
        if matches!(rest, [] | [b'}' | b']', ..]) {
            return None;
        }
        self.at = start.saturating_add(skip(rest));
        looked(self.at.saturating_sub(start));
        self.text.get(start..self.at).map(Value)
    }
}

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] = &[&fault::FAULTS, &fault::ERRORS, &keys::ERRORS, &out::ERRORS];

#[cfg(test)]
mod tests;
