//! What is installed: the stored provides, and what becomes of them (`artifact.md` 6.3, `state-machine.md` 7).
//!
//! Stored as one JSON object of strings: `artifact_name`, perhaps `artifact_group`, and the free keys.

use core::fmt;

use super::Header;
use crate::deployment::Naming;
use crate::json::{Out, Overflow, Str, Value};
use crate::limits;

/// What the client appends to the name of an artifact that is neither installed nor rolled back.
pub const INCONSISTENT: &str = "_INCONSISTENT";

const _: () = assert!(limits::STORED_NAME == limits::NAME + INCONSISTENT.len(), "the record's longest name");

/// Why provides cannot be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeError {
    /// The stored provides are not a JSON object of strings.
    Stored,
    /// The result does not fit.
    TooLarge(Overflow),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored => f.write_str("the record of what is installed is damaged"),
            Self::TooLarge(overflow) => write!(f, "they have more than {} bytes", overflow.limit),
        }
    }
}

/// The provides after an update, in the front of `out`.
///
/// # Errors
/// [`MergeError`]; nothing was stored.
pub fn merge<'o>(
    installed: &[u8],
    header: &Header<'_>,
    naming: Naming,
    out: &'o mut [u8],
) -> Result<&'o [u8], MergeError> {
    let installed = Value::parse(installed).map_err(|_| MergeError::Stored)?;
    let mut object = Object::new(out);
    let name = header.name().ok_or(MergeError::Stored)?;
    let suffix = if naming == Naming::Good || ends_inconsistent(name) { "" } else { INCONSISTENT };
    object.member("artifact_name", format_args!("{name}{suffix}"));
    if let Some(group) = header.group() {
        object.member("artifact_group", group);
    }
    for (key, value) in installed.members().ok_or(MergeError::Stored)? {
        let value = value.as_str().ok_or(MergeError::Stored)?;
        let replaced = key.is("artifact_name") || (key.is("artifact_group") && header.group().is_some());
        if !replaced && (naming == Naming::Inconsistent || survives(header, key)) {
            object.member(key, value);
        }
    }
    if naming != Naming::Inconsistent {
        for (key, value) in header.provides() {
            object.member(key, value);
        }
    }
    object.finish().map(str::as_bytes).map_err(MergeError::TooLarge)
}

/// The name of what is installed, in the front of `buf`; `None` where the record has none.
#[must_use]
pub fn artifact_name<'b>(installed: &[u8], buf: &'b mut [u8; limits::STORED_NAME]) -> Option<&'b str> {
    value(installed, "artifact_name")?.unescape(buf)
}

/// The group of what is installed, in the front of `buf`; `None` where the record has none.
#[must_use]
pub fn artifact_group<'b>(installed: &[u8], buf: &'b mut [u8; limits::NAME]) -> Option<&'b str> {
    value(installed, "artifact_group")?.unescape(buf)
}

fn value<'a>(installed: &'a [u8], key: &str) -> Option<Str<'a>> {
    let installed = Value::parse(installed).ok()?;
    installed.members()?.find(|(other, _)| other.is(key))?.1.as_str()
}

/// The record of a device whose artifact nobody knows.
#[must_use]
pub const fn unknown() -> &'static [u8] {
    br#"{"artifact_name":"unknown"}"#
}

fn survives(header: &Header<'_>, key: Str<'_>) -> bool {
    let Some(mut patterns) = header.clears() else { return false };
    !patterns.any(|pattern| glob(pattern, key))
        && !header.provides().any(|(new, _)| new.chars().eq(key.chars()))
}

fn ends_inconsistent(name: Str<'_>) -> bool {
    let len = name.chars().count();
    len >= INCONSISTENT.len()
        && name.chars().skip(len.saturating_sub(INCONSISTENT.len())).eq(INCONSISTENT.chars())
}

/// Whether `text` matches `pattern`, in which `*` is any run of characters. Goes back at most to the last star, so
/// its time is bounded by the product of the lengths.
fn glob(pattern: Str<'_>, text: Str<'_>) -> bool {
    let mut pattern = pattern.chars().peekable();
    let mut text = text.chars().peekable();
    // Behind the last star, and where in the text that part was tried last.
    let mut star = None;
    loop {
        if pattern.next_if_eq(&'*').is_some() {
            star = Some((pattern.clone(), text.clone()));
            continue;
        }
        let Some(&wanted) = text.peek() else { return pattern.peek().is_none() };
        if pattern.next_if_eq(&wanted).is_some() {
            text.next();
            continue;
        }
        let Some((after, tried)) = &mut star else { return false };
        tried.next();
        pattern = after.clone();
        text = tried.clone();
    }
}

/// A JSON object of strings as it is written.
struct Object<'b> {
    out: Out<'b>,
    separator: &'static str,
}

impl<'b> Object<'b> {
    fn new(buf: &'b mut [u8]) -> Self {
        Self { out: Out::new(buf), separator: "{" }
    }

    fn member(&mut self, key: impl fmt::Display, value: impl fmt::Display) {
        self.out.raw(self.separator);
        self.out.string(key);
        self.out.raw(":");
        self.out.string(value);
        self.separator = ",";
    }

    fn finish(mut self) -> Result<&'b str, Overflow> {
        if self.separator == "{" {
            self.out.raw("{");
        }
        self.out.raw("}");
        self.out.finish()
    }
}
