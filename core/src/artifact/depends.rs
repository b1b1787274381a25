//! Whether an artifact fits what is installed (`artifact.md` 6.2).

use core::fmt;

use super::Header;
use crate::json::{Str, Value};
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
        }
    }
}

/// Checks the device type and everything the artifact depends on against the stored provides (a JSON object of
/// strings).
///
/// # Errors
/// The first key that does not fit.
pub fn check(header: &Header<'_>, device_type: &str, provides: &[u8]) -> Result<(), DependsError> {
    let provides = Value::parse(provides).map_err(|_| DependsError::Provides)?;
    for (key, wanted) in header.depends() {
        if key.is("device_type") {
            if !header.has_device_type(device_type) {
                return Err(DependsError::DeviceType(Text::cut(format_args!("{device_type}"))));
            }
            continue;
        }
        let name = || Text::cut(format_args!("{key}"));
        let mut members = provides.members().ok_or(DependsError::Provides)?;
        let installed = members.find(|(other, _)| same(*other, key)).and_then(|(_, value)| value.as_str());
        let installed = installed.ok_or_else(|| DependsError::Missing(name()))?;
        let fits = match wanted.as_str() {
            Some(wanted) => same(wanted, installed),
            None => wanted
                .items()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .any(|wanted| same(wanted, installed)),
        };
        if !fits {
            return Err(DependsError::Mismatch(name()));
        }
    }
    Ok(())
}

fn same(a: Str<'_>, b: Str<'_>) -> bool {
    a.chars().eq(b.chars())
}
