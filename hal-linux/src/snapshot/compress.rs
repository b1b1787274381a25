//! Compresses a snapshot on its way out, by the programs `gzip` and `zstd`: the compressors would be a tenth of the client, and
//! devices have at least the first.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::process::{Child, Command, Stdio};

/// How a snapshot is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
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

/// Where a snapshot is written, compressed. Dropping it before [`Self::finish`] leaves an incomplete one.
pub struct Compressor(Kind);

enum Kind {
    None(File),
    Program(Child),
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// Writes to `out`.
    ///
    /// # Errors
    /// There is no such program, in words.
    pub fn new(compression: Compression, out: File) -> io::Result<Self> {
        let level: &[&str] = match compression {
            Compression::None => return Ok(Self(Kind::None(out))),
            Compression::Gzip => &[],
            Compression::Zstd => &["-q", "-1"],
        };
        let mut command = Command::new(compression.name());
        command.args(level).arg("-c").stdin(Stdio::piped()).stdout(out);
        match command.spawn() {
            Ok(child) => Ok(Self(Kind::Program(child))),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(io::Error::new(
                error.kind(),
                format!("there is no program {} on this device", compression.name()),
            )),
            Err(error) => Err(error),
        }
    }

    /// Compresses and writes all of `bytes`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::None(out) => out.write_all(bytes),
            Kind::Program(child) => child.stdin.as_mut().map_or(Ok(()), |input| input.write_all(bytes)),
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// Those of the writer; the program failed.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Kind::None(mut out) => out.flush(),
            Kind::Program(mut child) => {
                // Closes its input first.
                let status = child.wait()?;
                if status.success() {
                    Ok(())
                } else {
                    Err(io::Error::other(format!("the program that compresses failed: {status}")))
                }
            }
        }
    }
}
