//! The memory that a platform lends to a client, and how much of it is the least.

use core::fmt;

use super::Client;
use crate::artifact::{ManifestEntry, Workspace};
use crate::hal::{Decompress, Platform};
use crate::limits;

/// Memory the platform lends to the client for its life. The lengths are limits: reaching one is an error that names it.
/// A client does not start with less than the least lengths.
pub struct Buffers<'b> {
    /// What comes from the network or a file before it is parsed: 4 KiB on a board, 128 KiB on Linux.
    pub chunk: &'b mut [u8],
    /// The stored provides, a server's answer: 4 KiB on a board, 64 KiB on Linux. At least as long as `out`.
    pub record: &'b mut [u8],
    /// New provides, the body of a request: as `record`.
    pub out: &'b mut [u8],
    /// Names of members and files of an artifact: see [`Workspace::name`].
    pub name: &'b mut [u8],
    /// See [`Workspace::header_info`].
    pub header_info: &'b mut [u8],
    /// See [`Workspace::type_info`].
    pub type_info: &'b mut [u8],
    /// See [`Workspace::meta_data`]. May be empty: artifacts with meta-data are then refused.
    pub meta_data: &'b mut [u8],
    /// See [`Workspace::files`].
    pub files: &'b mut [ManifestEntry],
    /// See [`Workspace::window`].
    pub window: &'b mut [u8],
}

/// A lent buffer that a client cannot work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferError {
    /// It is too short.
    TooShort {
        /// Its name in [`Buffers`].
        buffer: &'static str,
        /// Its length, in bytes or, for `files`, in entries.
        length: usize,
        /// The least length.
        least: usize,
    },
    /// The window's length is no power of two.
    Window {
        /// Its length.
        length: usize,
    },
}

impl fmt::Display for BufferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { buffer, length, least } => {
                write!(f, "the lent buffer `{buffer}` has a length of {length} and needs at least {least}")
            }
            Self::Window { length } => {
                write!(f, "the lent buffer `window` has a length of {length} and needs a power of two")
            }
        }
    }
}

impl core::error::Error for BufferError {}

impl Buffers<'_> {
    /// Least `chunk`: a block of a tar archive. With less, a call would move next to nothing.
    pub const LEAST_CHUNK: usize = 512;

    /// Least `record`: the control maps on record, which would else count as damaged and fail the next update; as long is
    /// the longest output of an identity script.
    pub const LEAST_RECORD: usize = max(limits::MAPS_RECORD, limits::IDENTITY);

    /// Least `out`: the request for an update and the record of provides, with nothing in them but the longest name, group
    /// and device type, each character escaped.
    pub const LEAST_OUT: usize = 2048;

    /// Least `name`: a PAX header with the longest file name, a size and three times.
    pub const LEAST_NAME: usize = 512;

    /// Least `header_info`: the longest name, group and one device type, each character escaped.
    pub const LEAST_HEADER_INFO: usize = 2048;

    /// Least `type_info`: type, checksum and version of a root file system as `mender-artifact` writes them, with the
    /// longest version.
    pub const LEAST_TYPE_INFO: usize = 1024;

    /// Least `files`, in entries: the one file that almost every payload has.
    pub const LEAST_FILES: usize = 1;

    /// Least `window`: the keys of the shortest `header_info`, while they are compared.
    pub const LEAST_WINDOW: usize = 4096;
}

impl<P: Platform> Client<'_, P> {
    /// Checks the lengths against what a client needs at least.
    pub(super) fn check_buffers(&self) -> Result<(), BufferError> {
        let (record, out) = self.lent.lengths();
        let Workspace { name, header_info, type_info, meta_data: _, files, window } = self.parser.workspace();
        for (buffer, length, least) in [
            ("chunk", self.chunk.len(), Buffers::LEAST_CHUNK),
            // What is written in `out`, the new provides, is read back in `record`.
            ("record", record, max(Buffers::LEAST_RECORD, out)),
            ("out", out, Buffers::LEAST_OUT),
            ("name", name.len(), Buffers::LEAST_NAME),
            ("header_info", header_info.len(), Buffers::LEAST_HEADER_INFO),
            ("type_info", type_info.len(), Buffers::LEAST_TYPE_INFO),
            ("files", files.len(), Buffers::LEAST_FILES),
            ("window", window.len(), max(Buffers::LEAST_WINDOW, self.hal.decompress.window())),
        ] {
            if length < least {
                return Err(BufferError::TooShort { buffer, length, least });
            }
        }
        if window.len().is_power_of_two() {
            Ok(())
        } else {
            Err(BufferError::Window { length: window.len() })
        }
    }
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}
