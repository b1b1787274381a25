use core::fmt::{self, Write};

use crate::json::{counter, write_string};
use crate::plain::split_once;

/// A line of a script's output that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// From 1.
    pub(super) number: usize,
    /// Where it begins, in bytes.
    pub(super) at: usize,
    /// `None`: it is no `key=value`.
    pub(super) pair: Option<Pair<'a>>,
}

/// One line that is a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

/// The lines of `output` but for empty ones. A line may end in CR LF as well, as Mender's clients up to 3.5 take it.
/// Nothing else is trimmed: the value of an identity is the device's name on the server.
pub(super) fn lines(output: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let lines = output.split(|&b| b == b'\n').scan(0, |next: &mut usize, line| {
        let at = *next;
        *next = at.saturating_add(line.len()).saturating_add(1);
        counter::looked(line.len().saturating_add(1));
        Some((at, line.strip_suffix(b"\r").unwrap_or(line)))
    });
    lines.zip(1..).filter(|((_, line), _)| !line.is_empty()).map(|((at, line), number)| {
        let pair = str::from_utf8(line).ok().and_then(|line| split_once(line, b'='));
        let pair = pair.filter(|(key, _)| !key.is_empty()).map(|(key, value)| Pair { key, value });
        Line { number, at, pair }
    })
}

/// The pairs of `output`, in their order.
pub(super) fn pairs(output: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    lines(output).filter_map(|line| line.pair)
}

/// The smallest key of `output` greater than `after`: called again and again, it gives every key once, sorted,
/// and needs no memory but takes a walk for each.
pub(super) fn next_key<'a>(output: &'a [u8], after: Option<&str>) -> Option<&'a str> {
    pairs(output).map(|pair| pair.key).filter(|key| after.is_none_or(|after| *key > after)).min()
}

/// The values of `key` as JSON: a string if there is one, an array of strings if there are more.
pub(super) fn write_values(f: &mut dyn Write, output: &[u8], key: &str) -> fmt::Result {
    let values = || pairs(output).filter(|pair| pair.key == key).map(|pair| pair.value);
    if values().nth(1).is_none() {
        return write_string(f, values().next().unwrap_or(""));
    }
    let mut separator = '[';
    for value in values() {
        f.write_char(separator)?;
        separator = ',';
        write_string(f, value)?;
    }
    f.write_char(']')
}
