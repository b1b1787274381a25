use crate::message::texts;

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

impl Compression {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }
}

/// What one [`Decompress::decompress`] call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decompressed {
    /// Bytes taken from the input.
    pub consumed: usize,
    /// Bytes written to the output.
    pub produced: usize,
    /// The stream (member of gzip, frame of zstd) is complete and its own checksum was right. What follows in the input is
    /// another stream: the caller begins it.
    pub done: bool,
}

/// Why decompression failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecompressError {
    /// This platform has no decoder for it.
    Unsupported,
    /// The stream is damaged.
    Corrupt,
    /// The platform has no memory left for it.
    Memory,
    /// The stream needs more memory than the platform lends to any, in bytes.
    Limit(u64),
}

/// A streaming decompressor. One stream at a time.
pub trait Decompress {
    /// The shortest window that its streams can be decompressed in, in bytes: a power of two, or 0 when any will do.
    fn window(&self) -> usize {
        0
    }

    /// A new stream of this kind begins. Never called with [`Compression::None`]. An artifact may consist of streams of a few
    /// bytes each: to begin another one of the same kind should cost little.
    fn begin(&mut self, kind: Compression) -> Result<(), DecompressError>;

    /// No other stream follows the one that was done: memory can be given back. Not called where an artifact is given up; then
    /// the next [`Self::begin`] ends what was begun.
    fn end(&mut self) {}

    /// Decompresses into `window[at..]`. `window` is the same slice for the whole stream; what was produced
    /// before `at`, and, after the caller has begun again at 0, what stands from `at` on, is the dictionary:
    /// the caller never changes it, fills the window to its end, then goes on at 0. Produces nothing and consumes nothing only
    /// when it needs more input (`input` empty) or more room (`at == window.len()`).
    fn decompress(
        &mut self,
        input: &[u8],
        window: &mut [u8],
        at: usize,
    ) -> Result<Decompressed, DecompressError>;
}

impl<T: Decompress + ?Sized> Decompress for &mut T {
    fn window(&self) -> usize {
        T::window(self)
    }

    fn begin(&mut self, kind: Compression) -> Result<(), DecompressError> {
        T::begin(self, kind)
    }

    fn end(&mut self) {
        T::end(self);
    }

    fn decompress(
        &mut self,
        input: &[u8],
        window: &mut [u8],
        at: usize,
    ) -> Result<Decompressed, DecompressError> {
        T::decompress(self, input, window, at)
    }
}

/// Takes artifacts that are not compressed.
impl Decompress for () {
    fn begin(&mut self, _: Compression) -> Result<(), DecompressError> {
        Err(DecompressError::Unsupported)
    }

    fn decompress(&mut self, _: &[u8], _: &mut [u8], _: usize) -> Result<Decompressed, DecompressError> {
        Err(DecompressError::Unsupported)
    }
}

texts! {
    ERRORS = 'H': DecompressError {
        21 Unsupported => "is of a kind this client does not know",
        22 Corrupt => "is damaged",
        23 Memory => "needs more memory than this client lends",
        24 Limit(limit) => "needs more than the {limit} bytes of memory that this client lends: pack it at a lower level",
    }
}
