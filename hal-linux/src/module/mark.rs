//! The mark: a small record beside the work tree that says how much of a payload file is durably stored, so that a
//! download can go on after a restart.
//!
//! ```text
//! mark = format:u8  length:u64  sum:32  whole:32  name  crc:u32        numbers little endian
//! ```

use thimble_core::hal::Stored;

use super::names::is_plain;

const FORMAT: u8 = 1;

/// Longest mark: the name has at most 255 bytes.
pub(crate) const MARK_MAX: usize = 512;

/// What the record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The name of the payload file, or of the slot that holds the bytes.
    pub(crate) name: String,
    /// How many bytes are stored, and their SHA-256.
    pub(crate) stored: Stored,
    /// The SHA-256 of the whole file, from the manifest that was verified when the download began.
    pub(crate) whole: [u8; 32],
}

impl Mark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend(self.stored.length.to_le_bytes());
        bytes.extend(self.stored.sum);
        bytes.extend(self.whole);
        bytes.extend(self.name.as_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a mark; `None` unless the bytes are exactly one undamaged mark.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body).to_le_bytes() != *crc {
            return None;
        }
        let (&[FORMAT], rest) = body.split_first_chunk::<1>()? else { return None };
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (sum, rest) = rest.split_first_chunk::<32>()?;
        let (whole, name) = rest.split_first_chunk::<32>()?;
        let name = str::from_utf8(name).ok().filter(|name| is_plain(name))?.to_owned();
        let stored = Stored { length: u64::from_le_bytes(*length), sum: *sum };
        Some(Self { name, stored, whole: *whole })
    }

    /// Whether the stored bytes are a part of the file with this name, length and digest.
    pub(crate) fn fits(&self, name: &str, size: u64, whole: Option<[u8; 32]>) -> bool {
        self.name == name && self.stored.length <= size && Some(self.whole) == whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Mark {
        Mark { name: "f".into(), stored: Stored { length: 258, sum: [3; 32] }, whole: [4; 32] }
    }

    #[test]
    fn golden_bytes() {
        let bytes = sample().encode();
        let expected = [&[1, 2, 1, 0, 0, 0, 0, 0, 0][..], &[3; 32], &[4; 32], b"f"].concat();
        assert_eq!(bytes[..bytes.len() - 4], expected);
        assert_eq!(Mark::decode(&bytes), Some(sample()));
        assert!(Mark { name: "x".repeat(255), ..sample() }.encode().len() <= MARK_MAX);
    }

    #[test]
    fn d7_every_prefix_and_every_flipped_bit_is_none() {
        let bytes = sample().encode();
        for cut in 0..bytes.len() {
            assert_eq!(Mark::decode(&bytes[..cut]), None, "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn a2_a_name_that_leads_elsewhere_is_none() {
        for name in ["", ".", "..", "a/b", "a\nb"] {
            assert_eq!(Mark::decode(&Mark { name: name.into(), ..sample() }.encode()), None, "{name:?}");
        }
    }
}
