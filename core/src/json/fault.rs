//! What is wrong with a text that is not JSON.

use crate::message::texts;

/// Why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Error {
    /// Offset of the byte where it went wrong.
    pub at: usize,
    /// What was wrong there.
    pub what: Fault,
}

impl core::error::Error for Error {}

/// What is wrong at one place of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The text ends inside a value.
    Ends,
    /// No value begins here.
    NoValue,
    /// No key begins here.
    NoKey,
    /// No colon behind a key.
    NoColon,
    /// Neither a comma behind a value nor the end of its array or object.
    NoEnd,
    /// More than [`DEPTH`](super::DEPTH) levels.
    TooDeep,
    /// A backslash before a character that cannot be escaped.
    Escape,
    /// A control character in a string.
    Control,
    /// The first half of a surrogate pair, and another escape than `\u` behind it.
    Surrogate,
    /// Half of a surrogate pair.
    LoneSurrogate,
    /// `\u` without four hexadecimal digits.
    NoHexDigit,
    /// A number without a digit where one must be.
    NoDigit,
    /// Something behind the value.
    Behind,
    /// Bytes that are not UTF-8.
    NotUtf8,
}

texts! {
    FAULTS = 'J': Fault {
        1 Ends => "it ends",
        2 NoValue => "no value",
        3 NoKey => "no key",
        4 NoColon => "no colon",
        5 NoEnd => "neither a comma nor an end",
        6 TooDeep => "more than 64 levels",
        7 Escape => "an unknown escape",
        8 Control => "a control character",
        9 Surrogate => "no second half of a surrogate pair",
        10 LoneSurrogate => "half a surrogate pair",
        11 NoHexDigit => "no hexadecimal digit",
        12 NoDigit => "no digit",
        13 Behind => "something behind the value",
        14 NotUtf8 => "bytes that are not UTF-8",
    }

    ERRORS = 'J': Error {
        15 Self { at, what } => "not valid JSON: {what} at byte {at}",
    }
}
