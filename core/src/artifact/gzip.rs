//! Gzip (RFC 1952): the container around `miniz_oxide`'s inflate, in the lent window.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use crate::hal::{Compression, Decompress, DecompressError, Decompressed};

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;

/// Header bytes of a gzip member that are looked at; longer names and comments are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The ten fixed bytes; how many came.
    Fixed(u8),
    /// Low byte of the length of the extra field.
    ExtraLow,
    /// High byte of it.
    ExtraHigh(u8),
    Extra(u16),
    /// Until a NUL.
    Name,
    Comment,
    /// Two bytes of header checksum; how many are left.
    HeaderCrc(u8),
    Deflate,
    /// CRC-32 and length; how many bytes came.
    Trailer(u8),
    Done,
}

/// The gzip decoder for platforms without a heap: about 11 KiB, and a window of at least 32 KiB lent by the caller.
pub struct Gzip {
    stage: Stage,
    flags: u8,
    inflate: DecompressorOxide,
    crc: crate::crc::Hasher,
    len: u32,
    trailer: [u8; 8],
}

impl Default for Gzip {
    fn default() -> Self {
        Self {
            stage: Stage::Done,
            flags: 0,
            inflate: DecompressorOxide::new(),
            crc: crate::crc::Hasher::new(),
            len: 0,
            trailer: [0; 8],
        }
    }
}

impl Gzip {
    /// One byte of the header or trailer.
    fn byte(&mut self, byte: u8) -> Result<(), DecompressError> {
        const CORRUPT: DecompressError = DecompressError::Corrupt;
        self.stage = match self.stage {
            Stage::Fixed(at) => {
                match (at, byte) {
                    (0, 0x1f) | (1, 0x8b) | (2, 8) | (4..=9, _) => {}
                    (3, flags) if flags < 0x20 => self.flags = flags,
                    _ => return Err(CORRUPT),
                }
                if at < 9 { Stage::Fixed(at.saturating_add(1)) } else { self.after(0) }
            }
            Stage::ExtraLow => Stage::ExtraHigh(byte),
            Stage::ExtraHigh(low) => match u16::from_le_bytes([low, byte]) {
                0 => self.after(FEXTRA),
                len => Stage::Extra(len),
            },
            Stage::Extra(1) => self.after(FEXTRA),
            Stage::Extra(left) => Stage::Extra(left.saturating_sub(1)),
            Stage::Name if byte == 0 => self.after(FNAME),
            Stage::Comment if byte == 0 => self.after(FCOMMENT),
            stage @ (Stage::Name | Stage::Comment) => stage,
            Stage::HeaderCrc(2) => Stage::HeaderCrc(1),
            Stage::HeaderCrc(_) => Stage::Deflate,
            Stage::Trailer(at) => {
                if let Some(slot) = self.trailer.get_mut(usize::from(at)) {
                    *slot = byte;
                }
                if at < 7 {
                    Stage::Trailer(at.saturating_add(1))
                } else {
                    let [a, b, c, d, e, f, g, h] = self.trailer;
                    let right = u32::from_le_bytes([a, b, c, d]) == self.crc.clone().finalize()
                        && u32::from_le_bytes([e, f, g, h]) == self.len;
                    if !right {
                        return Err(CORRUPT);
                    }
                    Stage::Done
                }
            }
            Stage::Deflate | Stage::Done => return Err(CORRUPT),
        };
        Ok(())
    }

    /// The next part of the header behind the one of this flag.
    const fn after(&self, part: u8) -> Stage {
        if part < FEXTRA && self.flags & FEXTRA != 0 {
            Stage::ExtraLow
        } else if part < FNAME && self.flags & FNAME != 0 {
            Stage::Name
        } else if part < FCOMMENT && self.flags & FCOMMENT != 0 {
            Stage::Comment
        } else if self.flags & FHCRC != 0 {
            Stage::HeaderCrc(2)
        } else {
            Stage::Deflate
        }
    }
}

impl Decompress for Gzip {
    /// What deflate refers back to.
    fn window(&self) -> usize {
        32 * 1024
    }

    fn begin(&mut self, kind: Compression) -> Result<(), DecompressError> {
        match kind {
            Compression::Gzip => {
                self.stage = Stage::Fixed(0);
                self.inflate.init();
                self.crc = crate::crc::Hasher::new();
                self.len = 0;
                Ok(())
            }
            Compression::None | Compression::Xz | Compression::Zstd => Err(DecompressError::Unsupported),
        }
    }

    fn decompress(
        &mut self,
        input: &[u8],
        window: &mut [u8],
        at: usize,
    ) -> Result<Decompressed, DecompressError> {
        let mut consumed: usize = 0;
        while let Some(&byte) = input.get(consumed)
            && !matches!(self.stage, Stage::Deflate | Stage::Done)
        {
            self.byte(byte)?;
            consumed = consumed.saturating_add(1);
        }
        let mut produced: usize = 0;
        if self.stage == Stage::Deflate {
            let rest = input.get(consumed..).unwrap_or_default();
            let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
            let (status, taken, written) = decompress(&mut self.inflate, rest, window, at, flags);
            let new = at.checked_add(written).and_then(|end| window.get(at..end)).unwrap_or_default();
            self.crc.update(new);
            self.len = self.len.wrapping_add(written as u32);
            consumed = consumed.saturating_add(taken);
            produced = written;
            match status {
                TINFLStatus::Done => self.stage = Stage::Trailer(0),
                TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => {}
                TINFLStatus::FailedCannotMakeProgress
                | TINFLStatus::BadParam
                | TINFLStatus::Adler32Mismatch
                | TINFLStatus::Failed
                | _ => return Err(DecompressError::Corrupt),
            }
        }
        Ok(Decompressed { consumed, produced, done: self.stage == Stage::Done })
    }
}
