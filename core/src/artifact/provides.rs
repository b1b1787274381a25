//! What is installed: the stored provides, and what becomes of them (STATE-40 to STATE-48).
//!
//! Stored as one JSON object of strings: `artifact_name`, perhaps `artifact_group`, and the free keys.

use core::fmt;

use super::Header;
use crate::deployment::Naming;
use crate::json::{Index, Items, KeysError, Members, Out, Overflow, Str, Value};
use crate::limits;
use crate::message::texts;
use crate::plain::Plain;

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
    /// There are too many patterns for so many stored provides: see [`limits::CLEARS`].
    Clears,
    /// The artifact provides more than the lent memory can compare.
    Keys(KeysError),
}

texts! {
    ERRORS = 'A': MergeError {
        46 Stored => "the record of what is installed is damaged",
        47 TooLarge(overflow) with (limit = overflow.limit) => "they have more than {limit} bytes",
        48 Clears with (limit = limits::CLEARS) =>
            "clears_artifact_provides has too many patterns for the provides on record: comparing them takes more \
             than {limit} bytes of work; use fewer or shorter patterns",
        49 Keys(error) => "the artifact provides {error}",
    }
}

/// The provides after an update, in the front of `out`. `scratch` is what the parser lends beside the header.
///
/// # Errors
/// [`MergeError`]; nothing was stored.
pub fn merge<'o>(
    installed: &[u8],
    header: &Header<'_>,
    naming: Naming,
    out: &'o mut [u8],
    scratch: &mut [u8],
) -> Result<&'o [u8], MergeError> {
    let installed = Value::parse(installed).map_err(|_| MergeError::Stored)?;
    let mut object = Object::new(out);
    let name = header.name().ok_or(MergeError::Stored)?;
    let suffix = if naming == Naming::Good || ends_inconsistent(name) { "" } else { INCONSISTENT };
    object.member(&Plain("artifact_name"), &Named { name, suffix });
    let group = header.group();
    if let Some(group) = group {
        object.member(&Plain("artifact_group"), &group);
    }
    let mut replacement = match naming {
        Naming::Good | Naming::Loop => Some(Replacement::of(header, installed, scratch)?),
        Naming::Inconsistent => None,
    };
    for (key, value) in installed.members().ok_or(MergeError::Stored)? {
        let value = value.as_str().ok_or(MergeError::Stored)?;
        let replaced = key.is("artifact_name") || (key.is("artifact_group") && group.is_some());
        let survives = match &mut replacement {
            Some(replacement) => !replaced && replacement.lets_survive(key)?,
            None => !replaced,
        };
        if survives {
            object.member(&key, &value);
        }
    }
    if replacement.is_some() {
        for (key, value) in Members::of(header.provides()) {
            object.member(&key, &value.as_str().ok_or(MergeError::Stored)?);
        }
    }
    object.finish().map(str::as_bytes).map_err(MergeError::TooLarge)
}

/// Tries out that the provides can be stored however the update ends, before it begins: an update that is installed and
/// cannot be committed would be rolled back.
///
/// # Errors
/// [`MergeError`], which does not depend on time: trying again is of no use.
pub fn check_merge(
    installed: &[u8],
    header: &Header<'_>,
    out: &mut [u8],
    scratch: &mut [u8],
) -> Result<(), MergeError> {
    // As `Good`, but with the longer name.
    merge(installed, header, Naming::Loop, out, scratch)?;
    merge(installed, header, Naming::Inconsistent, out, scratch)?;
    Ok(())
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
    Members::of(Some(installed)).find(|(other, _)| other.is(key))?.1.as_str()
}

/// The name of a device whose artifact nobody knows; never stored by this client.
pub const UNKNOWN: &str = "unknown";

/// What the artifact puts in the place of what is installed.
struct Replacement<'t, 's> {
    /// What the artifact provides.
    new: Index<'t, 's>,
    /// The patterns it clears; `None`: everything.
    clears: Option<Value<'t>>,
    /// What is left of [`limits::CLEARS`].
    work: usize,
}

impl<'t, 's> Replacement<'t, 's> {
    fn of(header: &Header<'t>, installed: Value<'_>, scratch: &'s mut [u8]) -> Result<Self, MergeError> {
        let clears = header.clears();
        if let Some(clears) = clears {
            let (mut keys, mut bytes): (usize, usize) = (0, 0);
            for (key, _) in Members::of(Some(installed)) {
                keys = keys.saturating_add(1);
                bytes = bytes.saturating_add(key.len());
            }
            let patterns = Items::of(Some(clears)).count();
            let there = keys.saturating_mul(clears.raw().len());
            let back = patterns.saturating_mul(bytes);
            if there.saturating_add(back) > limits::CLEARS {
                return Err(MergeError::Clears);
            }
        }
        let new = Index::of(header.provides(), scratch).map_err(MergeError::Keys)?;
        Ok(Self { new, clears, work: limits::CLEARS })
    }

    /// Whether a key on record is neither cleared nor given another value.
    fn lets_survive(&mut self, key: Str<'_>) -> Result<bool, MergeError> {
        let Some(clears) = self.clears else { return Ok(false) };
        if self.new.find(key).is_some() {
            return Ok(false);
        }
        for pattern in Items::of(Some(clears)).filter_map(Value::as_str) {
            if glob(pattern, key, &mut self.work).ok_or(MergeError::Clears)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A name, and what the client appends.
struct Named<'a> {
    name: Str<'a>,
    suffix: &'static str,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)?;
        f.write_str(self.suffix)
    }
}

fn ends_inconsistent(name: Str<'_>) -> bool {
    let len = name.chars().count();
    len >= INCONSISTENT.len()
        && name.chars().skip(len.saturating_sub(INCONSISTENT.len())).eq(INCONSISTENT.chars())
}

/// Whether `text` matches `pattern`, in which `*` is any run of characters. Each pair of characters that is compared is
/// taken off `work`; `None`: nothing is left of it.
fn glob(pattern: Str<'_>, text: Str<'_>, work: &mut usize) -> Option<bool> {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // What stands behind the last star, and where in the text it was looked for last.
    let mut star = None;
    loop {
        *work = work.checked_sub(1)?;
        let from = text.clone();
        match (pattern.next(), text.next()) {
            (Some('*'), _) => {
                text = from;
                star = Some((pattern.clone(), text.clone()));
            }
            (wanted, found) if wanted == found => {
                if found.is_none() {
                    return Some(true);
                }
            }
            (_, None) => return Some(false),
            (_, Some(_)) => {
                let Some((behind, from)) = &mut star else { return Some(false) };
                from.next();
                (pattern, text) = (behind.clone(), from.clone());
            }
        }
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

    fn member(&mut self, key: &dyn fmt::Display, value: &dyn fmt::Display) {
        self.out.raw(self.separator);
        self.out.string_of(key);
        self.out.raw(":");
        self.out.string_of(value);
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
