//! Whether an artifact fits what is installed (ARTIFACT-40, ARTIFACT-41).

use core::fmt;

use super::Header;
use crate::json::{Index, Items, KeysError, Str, Value};
use crate::message::texts;
use crate::text::{Text, TextExt};

/// What does not fit. Texts for people are cut where they are too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DependsError {
    /// The stored provides are not a JSON object.
    Provides,
    /// The header does not list the type of this device.
    DeviceType {
        /// Those it lists.
        wanted: Text<128>,
        /// That of the device.
        present: Text<64>,
    },
    /// This key is not provided by what is installed.
    Missing {
        /// The key.
        key: Text<64>,
        /// The value, or all values, that would do.
        wanted: Text<128>,
    },
    /// What is installed provides another value of this key.
    Mismatch {
        /// The key.
        key: Text<64>,
        /// The value, or all values, that would do.
        wanted: Text<128>,
        /// The value that is provided.
        present: Text<64>,
    },
    /// There are more keys than the lent memory can compare.
    Keys(KeysError),
}

texts! {
    ERRORS = 'A': DependsError {
        41 Provides => "the record of what is installed is damaged",
        42 DeviceType { wanted, present } =>
            "the artifact is for the device type {wanted}, and this device is a \"{present}\"",
        43 Missing { key, wanted } =>
            "the artifact depends on \"{key}\" being {wanted}, and what is installed provides no \"{key}\"",
        44 Mismatch { key, wanted, present } =>
            "the artifact depends on \"{key}\" being {wanted}, and what is installed provides \"{present}\"",
        45 Keys(error) => "the artifact depends on {error}",
    }
}

/// The values that an artifact depends on, for people: a string, or a list of them.
struct Wanted<'a>(Option<Value<'a>>);

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(value) = self.0.and_then(Value::as_str) {
            return quoted(f, value);
        }
        let mut separator = "";
        for value in Items::of(self.0).filter_map(Value::as_str) {
            f.write_str(separator)?;
            separator = " or ";
            quoted(f, value)?;
        }
        Ok(())
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, value: Str<'_>) -> fmt::Result {
    f.write_str("\"")?;
    fmt::Display::fmt(&value, f)?;
    f.write_str("\"")
}

/// Checks the device type and everything the artifact depends on against the stored provides (a JSON object of
/// strings). `scratch` is what the parser lends beside the header; each side is walked through once.
///
/// # Errors
/// A key that does not fit.
pub fn check(
    header: &Header<'_>,
    device_type: &str,
    provides: &[u8],
    scratch: &mut [u8],
) -> Result<(), DependsError> {
    let provides = Value::parse(provides).map_err(|_| DependsError::Provides)?;
    if !header.has_device_type(device_type) {
        return Err(DependsError::DeviceType {
            wanted: Text::cut(&Wanted(header.device_types())),
            present: Text::front(device_type),
        });
    }
    for depends in header.depends() {
        let mut wanted = Index::of(depends, scratch).map_err(DependsError::Keys)?;
        for (key, installed) in provides.members().ok_or(DependsError::Provides)? {
            // Of a key that stands twice, the first counts.
            let Some(at) = wanted.find(key).filter(|&at| wanted.mark(at)) else { continue };
            let value = wanted.value(at);
            let installed = installed.as_str().ok_or_else(|| missing(key, value))?;
            if !key.is("device_type") && !fits(value, installed) {
                return Err(DependsError::Mismatch {
                    key: Text::cut(&key),
                    wanted: Text::cut(&Wanted(value)),
                    present: Text::cut(&installed),
                });
            }
        }
        if let Some(key) = wanted.unmarked().find(|key| !key.is("device_type")) {
            return Err(missing(key, wanted.find(key).and_then(|at| wanted.value(at))));
        }
    }
    Ok(())
}

fn missing(key: Str<'_>, wanted: Option<Value<'_>>) -> DependsError {
    let wanted = Text::cut(&Wanted(wanted));
    DependsError::Missing { key: Text::cut(&key), wanted }
}

/// Whether what is installed is the string, or one of the list, that an artifact depends on.
fn fits(wanted: Option<Value<'_>>, installed: Str<'_>) -> bool {
    let Some(wanted) = wanted else { return false };
    match wanted.as_str() {
        Some(wanted) => same(wanted, installed),
        None => {
            let mut wanted = Items::of(Some(wanted)).filter_map(Value::as_str);
            wanted.any(|wanted| same(wanted, installed))
        }
    }
}

fn same(a: Str<'_>, b: Str<'_>) -> bool {
    a.chars().eq(b.chars())
}
