//! Texts without what the library has for widths and for searches: on a board that is two kilobytes.

use core::fmt;

/// Prints a text as it is. `Display` of `str` counts characters, for widths that nothing here has.
pub(crate) struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What stands before and behind the first `mark`, a character of ASCII.
#[must_use]
pub(crate) fn split_once(text: &str, mark: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| byte == mark)?;
    let (before, from) = text.split_at_checked(at)?;
    Some((before, from.get(1..)?))
}
