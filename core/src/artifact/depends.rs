//! Whether an artifact fits what is installed (ARTIFACT-40, ARTIFACT-41).

use core::fmt;

use super::Header;
use crate::json::{Index, KeysError, Str, Value};
use crate::text::Text;

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DependsError {
    /// The stored provides are not a JSON object.
    Provides,
    /// The header does not list the type of this device.
    DeviceType(Text<64>),
    /// This key is not provided by what is installed.
    Missing(Text<64>),
    /// What is installed provides another value of this key.
    Mismatch(Text<64>),
    /// There are more keys than the lent memory can compare.
    Keys(KeysError),
}

impl fmt::Display for DependsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provides => f.write_str("the record of what is installed is damaged"),
            Self::DeviceType(device) => {
                write!(f, "the artifact is not made for this device type (\"{device}\")")
            }
            Self::Missing(key) => {
                write!(f, "the artifact depends on \"{key}\", which what is installed does not provide")
            }
            Self::Mismatch(key) => {
                write!(f, "what is installed provides another \"{key}\" than the artifact depends on")
            }
            Self::Keys(error) => write!(f, "the artifact depends on {error}"),
        }
    }
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
        return Err(DependsError::DeviceType(Text::cut(format_args!("{device_type}"))));
    }
    for depends in header.depends() {
        let mut wanted = Index::of(depends, scratch).map_err(DependsError::Keys)?;
        for (key, installed) in provides.members().ok_or(DependsError::Provides)? {
            // Of a key that stands twice, the first counts.
            let Some(at) = wanted.find(key).filter(|&at| wanted.mark(at)) else { continue };
            let name = || Text::cut(format_args!("{key}"));
            let installed = installed.as_str().ok_or_else(|| DependsError::Missing(name()))?;
            if !key.is("device_type") && !fits(wanted.value(at), installed) {
                return Err(DependsError::Mismatch(name()));
            }
        }
        if let Some(missing) = wanted.unmarked().find(|key| !key.is("device_type")) {
            return Err(DependsError::Missing(Text::cut(format_args!("{missing}"))));
        }
    }
    Ok(())
}

/// Whether what is installed is the string, or one of the list, that an artifact depends on.
fn fits(wanted: Option<Value<'_>>, installed: Str<'_>) -> bool {
    let Some(wanted) = wanted else { return false };
    match wanted.as_str() {
        Some(wanted) => same(wanted, installed),
        None => {
            let mut wanted = wanted.items().into_iter().flatten().filter_map(Value::as_str);
            wanted.any(|wanted| same(wanted, installed))
        }
    }
}

fn same(a: Str<'_>, b: Str<'_>) -> bool {
    a.chars().eq(b.chars())
}
