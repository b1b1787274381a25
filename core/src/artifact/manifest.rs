//! The manifest: checksum lines, read as they come. The only signed bytes of an artifact.

use sha2::{Digest, Sha256};

use super::tar::BLOCK;
use super::{Error, Limited, ManifestEntry, Rule, Sum};
use crate::hal::Compression;
use crate::limits;

/// Digest, two blanks, name.
const LINE: usize = 64 + 2 + "data/0000/".len() + limits::FILE_NAME;

const _: () = assert!(LINE <= BLOCK, "a line is read into the room of a header");

/// What the manifest says.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    /// Bytes of the line at hand.
    len: usize,
    pub(super) version: Option<Sum>,
    pub(super) header: Option<(Compression, Sum)>,
    /// Entries of the lent table in use.
    pub(super) files: usize,
}

impl Manifest {
    pub(super) const fn new() -> Self {
        Self { len: 0, version: None, header: None, files: 0 }
    }

    /// More bytes of the manifest. `line` holds the one at hand.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        line: &mut [u8; BLOCK],
        files: &mut [ManifestEntry],
    ) -> Result<(), Error> {
        let (line, _) = line.split_at_mut_checked(LINE).unwrap_or_default();
        for &byte in bytes {
            if byte == b'\n' {
                self.line_done(line.get(..self.len).unwrap_or_default(), files)?;
                self.len = 0;
            } else {
                let room = line.get_mut(self.len).ok_or(Error::BadManifest(Rule::LineTooLong))?;
                *room = byte;
                self.len = self.len.saturating_add(1);
            }
        }
        Ok(())
    }

    /// The manifest has ended.
    pub(super) const fn finish(&self) -> Result<(), Error> {
        if self.len != 0 {
            return Err(Error::BadManifest(Rule::NoLineEnd));
        }
        if self.version.is_none() {
            return Err(Error::BadManifest(Rule::VersionNotListed));
        }
        if self.header.is_none() {
            return Err(Error::BadManifest(Rule::HeaderNotListed));
        }
        Ok(())
    }

    fn line_done(&mut self, line: &[u8], files: &mut [ManifestEntry]) -> Result<(), Error> {
        let (digits, name) = line.split_at_checked(64).ok_or(Error::BadManifest(Rule::LineTooShort))?;
        let sum = from_hex(digits).ok_or(Error::BadManifest(Rule::Checksum))?;
        let name = name.strip_prefix(b"  ").ok_or(Error::BadManifest(Rule::Blanks))?;
        const TWICE: Error = Error::BadManifest(Rule::ListedTwice);
        match name {
            b"version" => match self.version.replace(sum) {
                Some(_) => Err(TWICE),
                None => Ok(()),
            },
            _ => {
                if let Some(file) = name.strip_prefix(b"data/0000/") {
                    return self.file(file, sum, files);
                }
                let compression =
                    Compression::of(name, "header.tar").ok_or(Error::BadManifest(Rule::UnknownName))?;
                match self.header.replace((compression, sum)) {
                    Some(_) => Err(TWICE),
                    None => Ok(()),
                }
            }
        }
    }

    fn file(&mut self, name: &[u8], sum: Sum, files: &mut [ManifestEntry]) -> Result<(), Error> {
        if !is_file_name(name) {
            return Err(Error::bad_file_name(name));
        }
        let limit = files.len();
        let (listed, free) = files.split_at_mut_checked(self.files).unwrap_or_default();
        let name = digest(name);
        if listed.iter().any(|entry| entry.name == name) {
            return Err(Error::BadManifest(Rule::FileListedTwice));
        }
        let entry = free.first_mut().ok_or(Error::TooLarge { what: Limited::Files, limit })?;
        *entry = ManifestEntry { name, sum, seen: false };
        self.files = self.files.saturating_add(1);
        Ok(())
    }
}

/// A plain file name of the characters that every reader takes: letters, digits and `_`, `.`, `,`, `-`.
pub(super) fn is_file_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= limits::FILE_NAME
        && name != b"."
        && name != b".."
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b',' | b'-'))
}

pub(super) fn digest(bytes: &[u8]) -> Sum {
    Sha256::digest(bytes).into()
}

fn from_hex(digits: &[u8]) -> Option<Sum> {
    let mut sum = [0; 32];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != sum.len() || !rest.is_empty() {
        return None;
    }
    for (byte, &[high, low]) in sum.iter_mut().zip(pairs) {
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    Some(sum)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit & 0xf),
        b'a'..=b'f' => Some((digit & 0xf).wrapping_add(9)),
        _ => None,
    }
}
