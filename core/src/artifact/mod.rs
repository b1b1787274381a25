//! The Mender artifact, format version 3: a push parser without heap (`docs/rules/artifact.md`).
//!
//! Bytes go in by [`Parser::push`] in chunks of any size; the same bytes give the same events whatever the
//! chunks are. Nothing derived from the header leaves the parser before the header's digest was compared
//! ([`Parsed::Header`]), except scripts, which go to a staging place.

pub mod accept;
pub mod depends;
mod foreign;
mod gzip;
mod header;
mod manifest;
mod parser;
pub mod provides;
mod tar;

pub use gzip::Gzip;
pub use header::{Header, is_payload_type};
pub use parser::Parser;
pub(crate) use tar::BLOCK;

use core::fmt;

use crate::hal::{Compression, DecompressError};
use crate::json;
use crate::text::{Shown, Text};

/// A SHA-256 digest. There is no value that means "none".
pub type Sum = [u8; 32];

/// What a chunk of the artifact led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'s> {
    /// The whole chunk was taken without anything to tell.
    NeedInput,
    /// A state script begins. It is not verified yet: it goes to a staging place.
    Script {
        /// A name that [`crate::script::is_artifact_name`] takes.
        name: &'s str,
        /// Its length in bytes.
        size: u64,
    },
    /// Bytes of that script.
    ScriptData(&'s [u8]),
    /// The header is verified as a whole: [`Parser::header`].
    Header,
    /// A payload file begins.
    FileBegin {
        /// A plain name, listed in the manifest.
        name: &'s str,
        /// Its length in bytes.
        size: u64,
    },
    /// Bytes of that file. They stand at the end of what was taken of the chunk or, when the payload is compressed,
    /// in [`Parser::data`].
    FileData(&'s [u8]),
    /// The file is complete and its checksum is right.
    FileEnd,
}

/// Why an artifact is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A member that has no place there.
    UnexpectedMember(Text<64>),
    /// Parts that somebody added without signing them.
    Augmented,
    /// `version` is not that of format 3.
    BadVersion,
    /// The manifest breaks a rule.
    BadManifest(&'static str),
    /// Verify keys are configured and the artifact is not signed.
    Unsigned,
    /// The signature is not by any of the configured keys, or not of a form that is known.
    BadSignature,
    /// A digest is not the one in the manifest.
    ChecksumMismatch(WrongSum),
    /// The first bytes are those of something else.
    Foreign(&'static str),
    /// This platform cannot decompress it.
    UnsupportedCompression(Compression),
    /// The compressed stream is damaged, or needs more memory than the platform lends.
    Decompress(Compression, DecompressError),
    /// `header-info` is not JSON.
    HeaderInfoJson(json::Error),
    /// `header-info` breaks a rule.
    BadHeaderInfo(&'static str),
    /// `type-info` is not JSON.
    TypeInfoJson(json::Error),
    /// `type-info` breaks a rule.
    BadTypeInfo(&'static str),
    /// `meta-data` is not a JSON object, or an object in it has a key twice.
    BadMetaData,
    /// A state script's name breaks the grammar.
    BadScriptName(Text<64>),
    /// Scripts stand where none may be.
    ScriptsNotAllowed,
    /// Not exactly one payload.
    PayloadCount,
    /// The payload type is no plain name.
    BadPayloadType,
    /// An artifact without payload breaks a rule.
    EmptyPayloadRule(&'static str),
    /// The bootstrap artifact breaks a rule.
    Bootstrap(&'static str),
    /// A payload file's name is not a plain name.
    BadFileName(Text<64>),
    /// A payload file that the manifest does not list.
    UnlistedFile(Text<64>),
    /// A payload file that came before.
    DuplicateFile(Text<64>),
    /// The manifest lists a payload file that did not come.
    MissingFile,
    /// Something behind the end.
    TrailingData,
    /// The artifact ended too early.
    UnexpectedEof,
    /// A tar header breaks a rule.
    BadTar,
    /// A tar entry that is no regular file.
    BadEntryType(u8),
    /// A limit was reached.
    TooLarge {
        /// Of what.
        what: &'static str,
        /// The limit, in bytes or pieces.
        limit: usize,
    },
}

/// A digest that is not the one in the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongSum {
    /// The member or payload file.
    pub name: Text<64>,
    /// The SHA-256 in the manifest.
    pub wanted: Sum,
    /// The SHA-256 of what came.
    pub found: Sum,
}

impl PartialEq<&str> for WrongSum {
    /// Compares the name.
    fn eq(&self, name: &&str) -> bool {
        self.name == *name
    }
}

impl Error {
    fn wrong_sum(name: &[u8], wanted: Option<Sum>, found: Sum) -> Self {
        Self::ChecksumMismatch(WrongSum { name: shown(name), wanted: wanted.unwrap_or_default(), found })
    }

    pub(crate) fn unexpected_member(name: &[u8]) -> Self {
        Self::UnexpectedMember(shown(name))
    }

    pub(crate) fn bad_file_name(name: &[u8]) -> Self {
        Self::BadFileName(shown(name))
    }
}

/// An untrusted name for a message: bytes that are not printable ASCII as `?`.
pub(crate) fn shown(name: &[u8]) -> Text<64> {
    Text::cut(format_args!("{}", Shown(name)))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedMember(name) => write!(f, "unexpected member \"{name}\""),
            Self::Augmented => f.write_str("it is augmented, and augmented artifacts are not supported: their added parts are not signed"),
            Self::BadVersion => f.write_str("its format version is not 3; write it with format version 3"),
            Self::BadManifest(rule) => write!(f, "bad manifest: {rule}"),
            Self::Unsigned => f.write_str("it is not signed, and verify keys are configured"),
            Self::BadSignature => f.write_str("its signature is not by any of the configured verify keys"),
            Self::ChecksumMismatch(WrongSum { name, wanted, found }) => write!(
                f,
                "the checksum of \"{name}\" is {}, and the manifest says {}: it is damaged, or was changed",
                Hex(found),
                Hex(wanted)
            ),
            Self::Foreign(what) => write!(f, "it is {what} and no Mender artifact"),
            Self::UnsupportedCompression(kind) => write!(f, "this client cannot decompress {}", kind.name()),
            Self::Decompress(kind, error) => write!(f, "its {} stream {error}", kind.name()),
            Self::HeaderInfoJson(error) => write!(f, "bad header-info: {error}"),
            Self::BadHeaderInfo(rule) => write!(f, "bad header-info: {rule}"),
            Self::TypeInfoJson(error) => write!(f, "bad type-info: {error}"),
            Self::BadTypeInfo(rule) => write!(f, "bad type-info: {rule}"),
            Self::BadMetaData => {
                f.write_str("its meta-data is not a JSON object, or an object in it has a key twice")
            }
            Self::BadScriptName(name) => write!(f, "bad state script name \"{name}\""),
            Self::ScriptsNotAllowed => f.write_str("it has state scripts where none may be"),
            Self::PayloadCount => f.write_str("it has not exactly one payload"),
            Self::BadPayloadType => f.write_str("its payload type is not a plain name"),
            Self::EmptyPayloadRule(rule) => write!(f, "its payload type is null, but {rule}"),
            Self::Bootstrap(rule) => write!(f, "it cannot be a bootstrap artifact: {rule}"),
            Self::BadFileName(name) => write!(f, "bad payload file name \"{name}\""),
            Self::UnlistedFile(name) => write!(f, "payload file \"{name}\" is not listed in the manifest"),
            Self::DuplicateFile(name) => write!(f, "payload file \"{name}\" comes twice"),
            Self::MissingFile => f.write_str("a payload file that the manifest lists is missing"),
            Self::TrailingData => f.write_str("something follows behind its end"),
            Self::UnexpectedEof => f.write_str("it ends too early"),
            Self::BadTar => f.write_str("a tar header in it is damaged, or it is no artifact at all"),
            Self::BadEntryType(kind) => write!(f, "a tar entry of type '{}' is not a regular file", Shown(&[*kind])),
            Self::TooLarge { what, limit } => write!(f, "{what} is over the limit of {limit}"),
        }
    }
}

impl core::error::Error for Error {}

/// A digest as text.
struct Hex<'a>(&'a Sum);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What the client asks of an artifact before it looks at its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// No verify key is configured: a signature is ignored, even a broken one.
    Unsigned,
    /// Keys are configured: an artifact without a good signature is refused.
    Signed,
    /// The bootstrap artifact: no signature check, and it may only carry provides.
    Bootstrap,
}

impl Compression {
    /// The compression that a member's name, `base` with or without suffix, asks for.
    pub(crate) fn of(name: &[u8], base: &str) -> Option<Self> {
        match name.strip_prefix(base.as_bytes())? {
            b"" => Some(Self::None),
            b".gz" => Some(Self::Gzip),
            b".xz" => Some(Self::Xz),
            b".zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Whether a stream, or a skippable frame of zstd, may begin with this byte.
    pub(crate) const fn may_begin_with(self, byte: u8) -> bool {
        match self {
            Self::None => true,
            Self::Gzip => byte == 0x1f,
            Self::Xz => byte == 0xfd,
            Self::Zstd => matches!(byte, 0x28 | 0x50..=0x5f),
        }
    }
}

/// Memory the platform lends to the parser; the lengths are the limits of ARTIFACT-50 to ARTIFACT-58.
pub struct Workspace<'b> {
    /// Names of members and files (PAX and GNU long names): 4 KiB on Linux, 1 KiB on a board.
    pub name: &'b mut [u8],
    /// `header-info`.
    pub header_info: &'b mut [u8],
    /// `type-info`.
    pub type_info: &'b mut [u8],
    /// `meta-data`.
    pub meta_data: &'b mut [u8],
    /// One entry per payload file listed in the manifest.
    pub files: &'b mut [ManifestEntry],
    /// Decompressor window: a power of two, at least 32 KiB when gzip is to be read. Between two members it holds the keys of
    /// the header while they are compared: [`crate::json::ENTRY`] bytes each.
    pub window: &'b mut [u8],
}

/// What is kept of a manifest line for a payload file.
#[derive(Clone, Copy, Debug, Default)]
pub struct ManifestEntry {
    name: Sum,
    sum: Sum,
    seen: bool,
}

#[cfg(test)]
mod work_tests;
