//! Compresses a snapshot on its way out.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};

/// How a snapshot is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, at a middling level.
    Gzip,
    /// zstd at level 1: a device has little memory and time, and mender-artifact compresses again.
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Gzip, Self::Zstd];

    /// The word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Where a snapshot is written, compressed.
pub struct Compressor<W: Write>(Kind<W>);

enum Kind<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Zstd { context: CCtx<'static>, room: Vec<u8>, out: W },
}

impl<W: Write> std::fmt::Debug for Compressor<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl<W: Write> Compressor<W> {
    /// Writes to `out`.
    ///
    /// # Errors
    /// No memory.
    pub fn new(compression: Compression, out: W) -> io::Result<Self> {
        Ok(Self(match compression {
            Compression::None => Kind::None(out),
            Compression::Gzip => Kind::Gzip(GzEncoder::new(out, flate2::Compression::new(6))),
            Compression::Zstd => {
                let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
                context.set_parameter(CParameter::CompressionLevel(1)).map_err(zstd_error)?;
                context.set_parameter(CParameter::ChecksumFlag(true)).map_err(zstd_error)?;
                Kind::Zstd { context, room: vec![0; CCtx::out_size()], out }
            }
        }))
    }

    /// Compresses and writes all of `bytes`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::None(out) => out.write_all(bytes),
            Kind::Gzip(encoder) => encoder.write_all(bytes),
            Kind::Zstd { context, room, out } => {
                zstd(context, room, out, bytes, ZSTD_EndDirective::ZSTD_e_continue)
            }
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Kind::None(mut out) => out.flush(),
            Kind::Gzip(encoder) => encoder.finish()?.flush(),
            Kind::Zstd { mut context, mut room, mut out } => {
                zstd(&mut context, &mut room, &mut out, &[], ZSTD_EndDirective::ZSTD_e_end)?;
                out.flush()
            }
        }
    }
}

fn zstd(
    context: &mut CCtx<'static>,
    room: &mut [u8],
    out: &mut impl Write,
    bytes: &[u8],
    directive: ZSTD_EndDirective,
) -> io::Result<()> {
    let mut input = InBuffer::around(bytes);
    let ends = !matches!(directive, ZSTD_EndDirective::ZSTD_e_continue);
    loop {
        let mut output = OutBuffer::around(&mut *room);
        let left = context.compress_stream2(&mut output, &mut input, directive).map_err(zstd_error)?;
        out.write_all(output.as_slice())?;
        let done = if ends { left == 0 } else { input.pos() == bytes.len() };
        if done {
            return Ok(());
        }
    }
}

fn zstd_error(code: usize) -> io::Error {
    io::Error::other(zstd_safe::get_error_name(code))
}
