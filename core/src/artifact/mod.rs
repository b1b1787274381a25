//! The Mender artifact, format version 3: a push parser without heap (`spec/artifact.md`).
//!
//! Bytes go in by [`Parser::push`] in chunks of any size; the same bytes give the same events whatever the
//! chunks are. Nothing derived from the header leaves the parser before the header's digest was compared
//! ([`Event::Header`]), except scripts, which go to a staging place.

use sha2 as _;

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

/// Verifies the signature of a manifest. Only a verifier with at least one key is ever asked.
pub trait Verifier {
    /// True when verify keys are configured.
    fn has_keys(&self) -> bool;

    /// A new manifest begins.
    fn reset(&mut self);

    /// More bytes of the manifest, exactly as stored. `false`: too long for this verifier.
    fn update(&mut self, manifest: &[u8]) -> bool;

    /// Whether `signature` (base64 already undone; any length) is good by any key for all bytes since `reset`.
    fn verify(&mut self, signature: &[u8]) -> bool;
}

/// Compressions an artifact can name by the suffix of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// No suffix.
    None,
    /// `.gz`
    Gzip,
    /// `.xz`
    Xz,
    /// `.zst`
    Zstd,
}

/// What one [`Decompress::decompress`] call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the input.
    pub consumed: usize,
    /// Bytes written to the output.
    pub produced: usize,
    /// The stream is complete and its own checksum was right. Input behind it is an error of the caller's.
    pub done: bool,
}

/// Why decompression failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecompressError {
    /// This platform has no decoder for it.
    Unsupported,
    /// The stream is damaged.
    Corrupt,
    /// The stream needs more memory than the platform lends.
    Memory,
}

/// A streaming decompressor. One stream at a time.
pub trait Decompress {
    /// A new stream of this kind begins. Never called with [`Compression::None`].
    fn begin(&mut self, kind: Compression) -> Result<(), DecompressError>;

    /// Decompresses into `window[at..]`. `window` is the same slice for the whole stream; what was produced
    /// before `at`, and, after the caller has begun again at 0, what stands from `at` on, is the dictionary:
    /// the caller never changes it, fills the window to its end, then goes on at 0. Produces nothing and consumes nothing only
    /// when it needs more input (`input` empty) or more room (`at == window.len()`).
    fn decompress(&mut self, input: &[u8], window: &mut [u8], at: usize)
    -> Result<Progress, DecompressError>;
}

/// Memory the platform lends to the parser; the lengths are the limits of `artifact.md` 8.
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
    /// Decompressor window: a power of two, at least 32 KiB when gzip is to be read.
    pub window: &'b mut [u8],
}

/// What is kept of a manifest line for a payload file.
#[derive(Clone, Copy, Debug, Default)]
pub struct ManifestEntry {
    _name_digest: [u8; 32],
    _digest: [u8; 32],
    _seen: bool,
}
