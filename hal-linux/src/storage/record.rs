//! The bytes of the store (format 1). All numbers are little-endian.
//!
//! ```text
//! file   = header record*
//! header = "thimble\0"  format:u32  salt:u64  crc:u32                      24 bytes
//! record = "Rec\n"  length:u32  sequence:u64  body-crc:u32  head-crc:u32   24 bytes, then the body
//! body   = (key:u8  0)  for a deletion, or  (key:u8  1  length:u32  bytes)  for a record's new bytes, repeated
//! ```
//!
//! Checksums of records begin with the file's random salt: bytes that a server or an artifact put into a record
//! can therefore never be mistaken for a record, and neither can what an older file left on the same blocks.

use std::collections::BTreeMap;

use crc32fast::Hasher;

/// The records by number. Numbers this version does not know are kept: a newer client wrote them.
pub(super) type Live = BTreeMap<u8, Vec<u8>>;

/// What a batch does to each key it names: new bytes, or none.
pub(super) type Edits<'a> = BTreeMap<u8, Option<&'a [u8]>>;

/// Longest record in bytes: four times the largest the client writes.
pub const RECORD_MAX: usize = 1024 * 1024;

/// Most bytes of all records together. This bounds the memory, and the length of a write.
pub const TOTAL_MAX: usize = 4 * 1024 * 1024;

/// The newest format this version reads, and the one it writes.
pub(super) const FORMAT: u32 = 1;

pub(super) const FILE_HEADER: usize = 24;
pub(super) const RECORD_HEADER: usize = 24;

/// Longest body: all keys with all their bytes. Anything longer is no record of ours.
pub(super) const BODY_MAX: usize = TOTAL_MAX + 256 * 6;

const FILE_MAGIC: [u8; 8] = *b"thimble\0";
const RECORD_MAGIC: [u8; 4] = *b"Rec\n";

/// Why the first bytes of a file are not a usable header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Damaged,
    Newer(u32),
}

pub(super) fn file_header(salt: u64) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..8].copy_from_slice(&FILE_MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..20].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The salt of a file that begins with `header`. Magic, format and checksum keep their places in every format.
pub(super) fn salt_of(header: &[u8; FILE_HEADER]) -> Result<u64, HeaderFault> {
    if header[..8] != FILE_MAGIC || u32_at(header, 20) != crc32fast::hash(&header[..20]) {
        return Err(HeaderFault::Damaged);
    }
    match u32_at(header, 8) {
        FORMAT => Ok(u64_at(header, 12)),
        0 => Err(HeaderFault::Damaged),
        newer => Err(HeaderFault::Newer(newer)),
    }
}

/// The head of a record whose own checksum was right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) sequence: u64,
    body_crc: u32,
}

impl Head {
    pub(super) fn read(salt: u64, bytes: &[u8; RECORD_HEADER]) -> Option<Self> {
        let length = usize::try_from(u32_at(bytes, 4)).ok()?;
        let good =
            bytes[..4] == RECORD_MAGIC && length <= BODY_MAX && u32_at(bytes, 20) == crc(salt, &bytes[..20]);
        good.then(|| Self { length, sequence: u64_at(bytes, 8), body_crc: u32_at(bytes, 16) })
    }

    pub(super) fn fits(&self, salt: u64, body: &[u8]) -> bool {
        body.len() == self.length && crc(salt, body) == self.body_crc
    }
}

/// A whole record, ready for one write.
pub(super) fn encode(salt: u64, sequence: u64, edits: &Edits<'_>) -> Vec<u8> {
    let mut record = vec![0; RECORD_HEADER];
    for (&key, edit) in edits {
        match edit {
            None => record.extend_from_slice(&[key, 0]),
            Some(bytes) => {
                record.extend_from_slice(&[key, 1]);
                record.extend_from_slice(&length_u32(bytes).to_le_bytes());
                record.extend_from_slice(bytes);
            }
        }
    }
    let (head, body) = record.split_at_mut(RECORD_HEADER);
    head[..4].copy_from_slice(&RECORD_MAGIC);
    head[4..8].copy_from_slice(&length_u32(body).to_le_bytes());
    head[8..16].copy_from_slice(&sequence.to_le_bytes());
    head[16..20].copy_from_slice(&crc(salt, body).to_le_bytes());
    let head_crc = crc(salt, &head[..20]);
    head[20..].copy_from_slice(&head_crc.to_le_bytes());
    record
}

/// Applies a body whose checksum was right; false if its content is not valid all the same.
pub(super) fn apply(mut body: &[u8], live: &mut Live) -> bool {
    while let [key, operation, rest @ ..] = body {
        match operation {
            0 => {
                live.remove(key);
                body = rest;
            }
            1 => {
                let Some((length, rest)) = rest.split_first_chunk::<4>() else { return false };
                let Ok(length) = usize::try_from(u32::from_le_bytes(*length)) else { return false };
                let Some((bytes, rest)) = rest.split_at_checked(length) else { return false };
                live.insert(*key, bytes.to_vec());
                body = rest;
            }
            2.. => return false,
        }
    }
    body.is_empty()
}

/// Where in `tail` a whole good record with a sequence number from `next` on begins, if anywhere.
pub(super) fn find_later(salt: u64, next: u64, tail: &[u8]) -> Option<usize> {
    (0..tail.len()).find(|&at| {
        let Some((head, rest)) = tail[at..].split_first_chunk::<RECORD_HEADER>() else { return false };
        Head::read(salt, head).is_some_and(|head| {
            head.sequence >= next && rest.get(..head.length).is_some_and(|body| head.fits(salt, body))
        })
    })
}

fn crc(salt: u64, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Lengths are bounded by [`BODY_MAX`] before anything is encoded.
fn length_u32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}
