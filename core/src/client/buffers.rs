//! The memory that a platform lends to a client, and how much of it is the least.

use super::Client;
use super::requests::API_URL;
use crate::artifact::{BLOCK, ManifestEntry, Sum, Workspace};
use crate::checkpoint;
use crate::config::Tier;
use crate::deployment::Status;
use crate::hal::{Decompress, Platform};
use crate::json::ENTRY;
use crate::limits;
use crate::message::texts;

/// What a client says of its device, and to whom. Fixed while the client lives; only the daemon looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Device<'b> {
    /// The base URLs of the servers, in the order they are tried: at most [`limits::SERVERS`].
    pub servers: &'b [&'b str],
    /// `TenantToken`; empty if there is none.
    pub tenant_token: &'b str,
    /// `DeviceTier`, if it is configured (R-1).
    pub tier: Option<Tier>,
    /// The client's version as the inventory shows it.
    pub version: &'b str,
}

impl<'b> Device<'b> {
    /// The base URL of a server.
    pub(super) fn server(&self, number: u8) -> Option<&'b str> {
        self.servers.get(usize::from(number)).copied()
    }
}

/// Memory the platform lends to the client for its life. The lengths are limits: reaching one is an error that names it.
/// A client does not start with less than the least lengths.
pub struct Buffers<'b> {
    /// What comes from the network or a file before it is parsed: 4 KiB on a board, 128 KiB on Linux.
    pub chunk: &'b mut [u8],
    /// The stored provides, a server's answer: 4 KiB on a board, 64 KiB on Linux. At least as long as `out`.
    pub record: &'b mut [u8],
    /// New provides, the body of a request: as `record`.
    pub out: &'b mut [u8],
    /// The token that requests are sent with, at most [`limits::TOKEN`] bytes: a token of Mender's server has some 800, with
    /// long names of tenants and users more. 1 KiB on a board, the limit on Linux.
    pub token: &'b mut [u8],
    /// Where the artifact comes from, at most [`limits::URL`] bytes: signed links of object stores reach 2 KiB. 2 KiB on a
    /// board, the limit on Linux.
    pub link: &'b mut [u8],
    /// The record of the control maps while it is written: [`limits::MAPS_RECORD`] bytes, none without feature
    /// `control-maps`. With less a map that the server sent could count as stored, and would be lost by a restart.
    pub maps: &'b mut [u8],
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

texts! {
    ERRORS = 'G': BufferError {
        21 TooShort { buffer, length, least } =>
            "the lent buffer `{buffer}` has a length of {length} and needs at least {least}",
        22 Window { length } => "the lent buffer `window` has a length of {length} and needs a power of two",
    }
}

impl core::error::Error for BufferError {}

impl Buffers<'_> {
    /// Least `chunk`: a block of a tar archive. With less, a call would move next to nothing.
    pub const LEAST_CHUNK: usize = BLOCK;

    /// Least `record`: the control maps on record, which would else count as damaged and fail the next update; as long is
    /// the longest output of an identity script.
    pub const LEAST_RECORD: usize = max(limits::MAPS_RECORD, limits::IDENTITY);

    /// Least `out`: the request for an update, with nothing in it but the longest name, group and device type. The record of
    /// provides is shorter.
    pub const LEAST_OUT: usize = room(
        r#"{"device_provides":{"device_type":,"artifact_name":,"artifact_group":},"update_control_map":true}"#
            .len()
            + quoted(limits::DEVICE_TYPE)
            + quoted(limits::STORED_NAME) + quoted(limits::NAME),
    );

    /// Least `token`: the shortest that servers give, signed with the shortest of keys.
    pub const LEAST_TOKEN: usize = 512;

    /// Least `link`: a path on the device.
    pub const LEAST_LINK: usize = limits::FILE_NAME;

    /// Least `maps`: all that can be kept at a time.
    pub const LEAST_MAPS: usize = limits::MAPS_RECORD;

    /// Least `name`: a PAX header with the longest file name, a size and three times.
    pub const LEAST_NAME: usize =
        room(pax("path", limits::FILE_NAME) + pax("size", DIGITS) + 3 * pax("mtime", SECONDS));

    /// Least `header_info`: the longest payload type, name, group and one device type.
    pub const LEAST_HEADER_INFO: usize = room(
        r#"{"payloads":[{"type":}],"artifact_provides":{"artifact_name":,"artifact_group":},"artifact_depends":{"device_type":[]}}"#
            .len()
            + quoted(limits::PAYLOAD_TYPE)
            + 2 * quoted(limits::NAME)
            + quoted(limits::DEVICE_TYPE),
    );

    /// Least `type_info`: type, checksum and version of a root file system as `mender-artifact` writes them, with the
    /// longest version.
    pub const LEAST_TYPE_INFO: usize = room(
        r#"{"type":"rootfs-image","artifact_provides":{"rootfs-image.checksum":"","rootfs-image.version":},"artifact_depends":{},"clears_artifact_provides":["rootfs-image.*"]}"#
            .len()
            + 2 * size_of::<Sum>()
            + quoted(limits::NAME),
    );

    /// Least `files`, in entries: the one file that almost every payload has.
    pub const LEAST_FILES: usize = 1;

    /// Least `window`: the keys of the shortest `header_info`, while they are compared.
    pub const LEAST_WINDOW: usize = Self::LEAST_HEADER_INFO / SHORTEST_MEMBER * ENTRY;
}

/// Bytes of a JSON string that stands for so many bytes, each of them a quote or a backslash. A control character takes
/// six: a text with many of them may not fit, which is an error where it is written or read.
#[expect(clippy::arithmetic_side_effects, reason = "only of constants: an overflow does not compile")]
const fn quoted(bytes: usize) -> usize {
    2 * bytes + r#""""#.len()
}

/// Bytes of the shortest member of a JSON object: nested objects, with the closing brace of each not counted.
const SHORTEST_MEMBER: usize = r#""":{"#.len();

/// Digits of the longest size.
const DIGITS: usize = 20;

/// Digits of the longest time: seconds, a point, nanoseconds.
const SECONDS: usize = DIGITS + 1 + 9;

/// Bytes of a PAX record: its length, a blank, `key=value`, a new line.
#[expect(clippy::arithmetic_side_effects, reason = "only of constants: an overflow does not compile")]
const fn pax(key: &str, value: usize) -> usize {
    let rest = " =\n".len() + key.len() + value;
    rest + if rest < 98 { 2 } else { 3 }
}

/// Lent memory comes in powers of two.
const fn room(bytes: usize) -> usize {
    bytes.next_power_of_two()
}

/// What else is put into the shortest buffers without a further look: it has room there.
const _: () = {
    assert!(Buffers::LEAST_RECORD >= Buffers::LEAST_OUT, "what is written is read back");
    assert!(Buffers::LEAST_HEADER_INFO >= limits::SIGNATURE, "a signature, before the header comes");
    assert!(Buffers::LEAST_TYPE_INFO >= limits::SIGNATURE / 4 * 3, "the same without its base64");
    assert!(Buffers::LEAST_RECORD >= API_URL, "the URL of a request");
    assert!(Buffers::LEAST_RECORD >= checkpoint::MAX_LEN, "the record of an update");
    assert!(Buffers::LEAST_RECORD > limits::DEPLOYMENT_ID + limits::REASON, "the reason on record");
    assert!(
        Buffers::LEAST_OUT
            >= r#"{"status":"","substate":}"#.len() + LONGEST_STATUS.name().len() + quoted(limits::SUBSTATE),
        "a report"
    );
    assert!(Buffers::LEAST_WINDOW.is_power_of_two());
    assert!(max(Buffers::LEAST_RECORD, Buffers::LEAST_HEADER_INFO) <= 4096, "what a board can lend");
};

const LONGEST_STATUS: Status = Status::PauseBeforeCommitting;

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
            ("token", self.token.limit(), Buffers::LEAST_TOKEN),
            ("link", self.download.source.limit(), Buffers::LEAST_LINK),
            ("maps", self.maps.len(), Buffers::LEAST_MAPS),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::deployments;
    use crate::json::Value;
    use std::format;

    /// So many characters, each of which is escaped.
    fn quotes(count: usize) -> std::string::String {
        "\"".repeat(count)
    }

    #[test]
    fn the_longest_texts_fit_into_the_shortest_buffers() {
        let escaped = |count| "\\\"".repeat(count);
        let (name, group) = (escaped(limits::STORED_NAME), escaped(limits::NAME));
        let provides = format!(r#"{{"artifact_name":"{name}","artifact_group":"{group}"}}"#);
        let provides = Value::parse(provides.as_bytes()).unwrap();
        let mut out = [0; Buffers::LEAST_OUT];
        let request = deployments::next_v2(&quotes(limits::DEVICE_TYPE), provides, &mut out).unwrap();
        assert!(request.len() > Buffers::LEAST_OUT / 2, "{}", request.len());
        let status = deployments::status(LONGEST_STATUS, &quotes(limits::SUBSTATE), &mut out);
        assert!(status.is_ok());
    }
}
