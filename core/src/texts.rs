//! Codes of a build without feature `text` become texts again: for the host that reads the log, the reason or the
//! `substate` of a board. `thimble-sim texts` does it for files.

mod catalogues;
#[cfg(test)]
pub(crate) mod tests;

use core::fmt::{self, Write};

use crate::message::{MARK, Row};
use crate::text::{self, Text};
use crate::time::{self, Duration};

/// Bytes of a line in which the end of a code is looked for. Reasons are shorter; longer names are cut in texts.
const LONGEST: usize = 4096;

/// Codes in codes that are shown; what is deeper stays as it is.
const DEPTH: u32 = 8;

/// Most arguments of a text.
const ARGUMENTS: usize = 6;

/// Writes `line` with each code in it as its text. Whatever is no code of this version passes unchanged; a code that
/// was cut at the end of the line is shown as far as it goes. Takes any line, also a hostile one.
///
/// # Errors
/// Those of `to`.
pub fn decode(line: &str, to: &mut dyn Write) -> fmt::Result {
    decode_line(line, to, DEPTH)
}

fn decode_line(line: &str, to: &mut dyn Write, depth: u32) -> fmt::Result {
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once(MARK) {
        to.write_str(before)?;
        rest = behind;
        match Call::read(behind) {
            Some(call) if depth > 0 => {
                call.show(to, depth)?;
                rest = call.rest;
            }
            Some(_) | None => to.write_char(MARK)?,
        }
    }
    to.write_str(rest)
}

/// A code, taken apart.
struct Call<'l> {
    says: Says,
    arguments: [&'l str; ARGUMENTS],
    /// What follows it.
    rest: &'l str,
}

enum Says {
    Row(&'static Row),
    /// A time in seconds.
    Time(u64),
}

impl<'l> Call<'l> {
    /// The code in the front of `text`; `None` when there is none.
    fn read(text: &'l str) -> Option<Self> {
        let mut arguments = ["..."; ARGUMENTS];
        let letter = text.chars().next()?;
        let (number, mut rest) = digits(text.get(letter.len_utf8()..)?)?;
        if letter == time::LETTER {
            let says = Says::Time(number.parse().ok()?);
            return Some(Self { says, arguments, rest });
        }
        let row = catalogues::row(letter, number.parse().ok()?)?;
        let mut places = arguments.get_mut(..row.arguments.len())?.iter_mut();
        let mut before = '(';
        while !row.arguments.is_empty() {
            let argument = rest.strip_prefix(before)?;
            let length = argument_length(argument)?;
            let (argument, behind) = argument.split_at(length);
            *places.next()? = argument;
            rest = behind.strip_prefix(')').unwrap_or(behind);
            if rest.len() < behind.len() || behind.is_empty() {
                break;
            }
            before = ',';
        }
        // Only the end of a line that was cut may be missing.
        (places.next().is_none() || rest.is_empty() && text.ends_with(text::MARK)).then_some(Self {
            says: Says::Row(row),
            arguments,
            rest,
        })
    }

    fn show(&self, to: &mut dyn Write, depth: u32) -> fmt::Result {
        let row = match self.says {
            Says::Row(row) => row,
            Says::Time(seconds) => return core::write!(to, "{}", Duration::from_secs(seconds)),
        };
        let mut text = row.text;
        while let Some((before, behind)) = text.split_once('{') {
            to.write_str(before)?;
            let (name, behind) = behind.split_once('}').unwrap_or((behind, ""));
            let place = row.arguments.iter().position(|argument| *argument == name);
            let argument = place.and_then(|place| self.arguments.get(place)).copied().unwrap_or_default();
            show_argument(argument, to, depth.saturating_sub(1))?;
            text = behind;
        }
        to.write_str(text)
    }
}

fn show_argument(argument: &str, to: &mut dyn Write, depth: u32) -> fmt::Result {
    let inner = |quote| argument.strip_prefix(quote).map(|text| text.strip_suffix(quote).unwrap_or(text));
    if let Some(text) = inner('\'') {
        return plain(text).try_for_each(|c| to.write_char(c));
    }
    if let Some(line) = inner('"') {
        let mut text: Text<LONGEST> = Text::new();
        // It is shorter than its code.
        plain(line).try_for_each(|c| text.write_char(c))?;
        return decode_line(text.as_str(), to, depth);
    }
    match Call::read(argument) {
        Some(call) if depth > 0 && call.rest.is_empty() => call.show(to, depth),
        Some(_) | None => to.write_str(argument),
    }
}

/// A text without its backslashes.
fn plain(quoted: &str) -> impl Iterator<Item = char> {
    let mut chars = quoted.chars();
    core::iter::from_fn(move || match chars.next()? {
        '\\' => Some(chars.next().unwrap_or('\\')),
        c => Some(c),
    })
}

/// The length of the argument in the front of `text`, which ends before a `,` or `)` of its own, or with the text.
fn argument_length(text: &str) -> Option<usize> {
    let (mut quote, mut escaped, mut depth) = (None, false, 0_u32);
    for (at, byte) in text.bytes().enumerate().take(LONGEST) {
        match (quote, byte) {
            _ if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'(') => depth = depth.saturating_add(1),
            (None, b',' | b')') if depth == 0 => return (at > 0).then_some(at),
            (None, b')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    (!text.is_empty() && text.len() <= LONGEST && text.ends_with(text::MARK)).then_some(text.len())
}

/// The digits in the front of a text, and the rest.
fn digits(text: &str) -> Option<(&str, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    (length > 0).then(|| text.split_at(length))
}
