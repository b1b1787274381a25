//! The Mender artifact, format version 3: a push parser without heap (`docs/rules/artifact.md`).
//!
//! Bytes go in by [`Parser::push`] in chunks of any size; the same bytes give the same events whatever the
//! chunks are. Nothing derived from the header leaves the parser before the header's digest was compared
//! ([`Parsed::Header`]), except scripts, which go to a staging place.

pub mod accept;
mod base64;
pub mod depends;
mod foreign;
mod gzip;
mod header;
mod manifest;
mod named;
mod parser;
pub mod provides;
mod tar;

pub use gzip::Gzip;
pub use header::{Header, is_payload_type};
pub use named::{Foreign, Limited, Rule};
pub use parser::Parser;
pub(crate) use tar::BLOCK;

use core::fmt;

use crate::digits;
use crate::hal::{Compression, DecompressError};
use crate::json;
#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::{self, Coded, texts};
use crate::text::{Shown, Text, TextExt};

/// Whether `header-info` and `type-info` are those of an artifact whose header keeps the rules. `scratch` is for their keys:
/// see [`crate::client::Buffers`], `window`.
///
/// # Errors
/// The first rule that is broken.
pub fn check_records(header_info: &[u8], type_info: &[u8], scratch: &mut [u8]) -> Result<(), Error> {
    header::Checked::check([header_info, type_info, &[]], scratch).map(|_| ())
}

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
    BadManifest(Rule),
    /// Verify keys are configured and the artifact is not signed.
    Unsigned,
    /// The signature is not by any of the configured keys, or not of a form that is known.
    BadSignature,
    /// A digest is not the one in the manifest.
    ChecksumMismatch(WrongSum),
    /// The first bytes are those of something else.
    Foreign(Foreign),
    /// This platform cannot decompress it.
    UnsupportedCompression(Compression),
    /// The compressed stream is damaged, or needs more memory than the platform lends.
    Decompress(Compression, DecompressError),
    /// `header-info` is not JSON.
    HeaderInfoJson(json::Error),
    /// `header-info` breaks a rule.
    BadHeaderInfo(Rule),
    /// `type-info` is not JSON.
    TypeInfoJson(json::Error),
    /// `type-info` breaks a rule.
    BadTypeInfo(Rule),
    /// `meta-data` is not JSON.
    MetaDataJson(json::Error),
    /// `meta-data` is no object, or breaks a rule.
    BadMetaData(Rule),
    /// A state script's name breaks the grammar.
    BadScriptName(Text<64>),
    /// Scripts stand where none may be.
    ScriptsNotAllowed,
    /// Not exactly one payload.
    PayloadCount,
    /// The payload type is no plain name.
    BadPayloadType,
    /// An artifact without payload breaks a rule.
    EmptyPayloadRule(Rule),
    /// The bootstrap artifact breaks a rule.
    Bootstrap(Rule),
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
        what: Limited,
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
    Text::cut(&Shown(name))
}

texts! {
    ERRORS = 'A': Error {
        1 UnexpectedMember(name) => "unexpected member \"{name}\"",
        2 Augmented =>
            "it is augmented, and augmented artifacts are not supported: their added parts are not signed",
        3 BadVersion => "its format version is not 3; write it with format version 3",
        4 BadManifest(rule) => "bad manifest: {rule}",
        5 Unsigned => "it is not signed, and verify keys are configured",
        6 BadSignature => "its signature is not by any of the configured verify keys",
        7 ChecksumMismatch(sum) with (name = sum.name, found = Hex(&sum.found), wanted = Hex(&sum.wanted)) =>
            "the checksum of \"{name}\" is {found}, and the manifest says {wanted}: it is damaged, or was changed",
        8 Foreign(what) => "it is {what} and no Mender artifact",
        9 UnsupportedCompression(kind) with (kind = kind.name()) => "this client cannot decompress {kind}",
        10 Decompress(kind, error) with (kind = kind.name(), error = error) => "its {kind} stream {error}",
        11 HeaderInfoJson(error) => "bad header-info: {error}",
        12 BadHeaderInfo(rule) => "bad header-info: {rule}",
        13 TypeInfoJson(error) => "bad type-info: {error}",
        14 BadTypeInfo(rule) => "bad type-info: {rule}",
        31 MetaDataJson(error) => "bad meta-data: {error}",
        32 BadMetaData(rule) => "bad meta-data: {rule}",
        16 BadScriptName(name) => "bad state script name \"{name}\"",
        17 ScriptsNotAllowed => "it has state scripts where none may be",
        18 PayloadCount => "it has not exactly one payload",
        19 BadPayloadType => "its payload type is not a plain name",
        20 EmptyPayloadRule(rule) => "its payload type is null, but {rule}",
        21 Bootstrap(rule) => "it cannot be a bootstrap artifact: {rule}",
        22 BadFileName(name) => "bad payload file name \"{name}\"",
        23 UnlistedFile(name) => "payload file \"{name}\" is not listed in the manifest",
        24 DuplicateFile(name) => "payload file \"{name}\" comes twice",
        25 MissingFile => "a payload file that the manifest lists is missing",
        26 TrailingData => "something follows behind its end",
        27 UnexpectedEof => "it ends too early",
        28 BadTar => "a tar header in it is damaged, or it is no artifact at all",
        29 BadEntryType(kind) with (kind = Shown(core::slice::from_ref(kind))) =>
            "a tar entry of type '{kind}' is not a regular file",
        30 TooLarge { what, limit } => "{what} is over the limit of {limit}",
    }
}

impl core::error::Error for Error {}

/// A digest as text.
struct Hex<'a>(&'a Sum);

impl Coded for Hex<'_> {
    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message::quote(f, self)
    }
}

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| digits::hex(f, byte))
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

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] = &[
    &ERRORS,
    &named::RULES,
    &named::LIMITED,
    &named::FOREIGN,
    &depends::ERRORS,
    &provides::ERRORS,
    &accept::ERRORS,
];

#[cfg(test)]
mod work_tests;
