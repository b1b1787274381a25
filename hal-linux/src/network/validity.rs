//! From when and until when configured certificates are valid, for people; a connection looks for itself.

use std::fmt;
use std::path::Path;

use super::error::{SetupError, Utc};
use super::tls::certificates_in;
use crate::x509::Certificate;

/// From when and until when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: u64,
    /// The last second.
    pub not_after: u64,
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} to {}", Utc(self.not_before), Utc(self.not_after))
    }
}

/// Those of the certificates in a file that `key` of `mender.conf` names, in their order; damaged ones are left out.
///
/// # Errors
/// The file is missing, others could have changed it, or it holds no certificate.
pub fn validity(key: &'static str, path: &Path) -> Result<Vec<Validity>, SetupError> {
    let all = certificates_in(key, path)?;
    let parsed = all.iter().filter_map(|der| Certificate::parse(der));
    Ok(parsed.map(|Certificate { not_before, not_after, .. }| Validity { not_before, not_after }).collect())
}
