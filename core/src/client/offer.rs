//! The server's offer: what this process must hold the artifact against.

use crate::limits;
use crate::text::Text;

/// What the server said about the artifact it offered.
#[derive(Debug, Default)]
pub(super) struct Offered {
    artifact_name: Text<{ limits::NAME }>,
    fits_device: bool,
}

impl Offered {
    pub(super) const fn new(artifact_name: Text<{ limits::NAME }>, fits_device: bool) -> Self {
        Self { artifact_name, fits_device }
    }

    pub(super) fn artifact_name(&self) -> &str {
        self.artifact_name.as_str()
    }

    pub(super) const fn fits_device(&self) -> bool {
        self.fits_device
    }
}
