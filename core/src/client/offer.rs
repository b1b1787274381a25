//! The server's offer: what this process must hold the artifact against, and the record that a later process needs to
//! go on with a download.
//!
//! Layout: format number (1 byte), `postcard` of [`SavedOffer`], CRC-32 (IEEE) of all before it, little endian. Fields
//! are appended, never reordered; the golden bytes in the tests guard it.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::sealed;
use crate::text::Text;

/// The format this version writes, and the only one it reads: without an offer it can use, a restart in Download ends
/// the deployment.
const FORMAT: u8 = 1;

/// The record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedOffer<'a> {
    /// Of the deployment; another one's offer is none (I10).
    pub(super) id: &'a str,
    /// What the artifact's header must say.
    pub(super) artifact_name: &'a str,
    /// The server offered it to this type of device.
    pub(super) fits_device: bool,
    /// Where the artifact is.
    pub(super) link: &'a str,
    /// The strong `ETag` of the artifact; empty while it is not known, and where the server has none.
    pub(super) etag: &'a str,
}

impl<'a> SavedOffer<'a> {
    /// The record's bytes, in the front of `buf`; `None` when they do not fit.
    pub(super) fn encode<'b>(&self, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        sealed::seal(FORMAT, self, buf)
    }

    /// Reads a record; any bytes are either a whole one or none.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        sealed::open(FORMAT, bytes).filter(|offer: &Self| !offer.id.is_empty() && !offer.link.is_empty())
    }
}

/// What the server said about the artifact it offered.
#[derive(Debug, Default)]
pub(super) struct Offered {
    artifact_name: Text<{ limits::NAME }>,
    fits_device: bool,
}

impl Offered {
    pub(super) const fn new(artifact_name: Text<{ limits::NAME }>, fits_device: bool) -> Self {
        Self { artifact_name, fits_device }
    }

    pub(super) fn artifact_name(&self) -> &str {
        self.artifact_name.as_str()
    }

    pub(super) const fn fits_device(&self) -> bool {
        self.fits_device
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const SAMPLE: SavedOffer<'_> =
        SavedOffer { id: "d-1", artifact_name: "a", fits_device: true, link: "http://h/x", etag: "\"e\"" };

    #[test]
    fn golden_bytes() {
        let mut buf = [0; 64];
        let bytes = SAMPLE.encode(&mut buf).unwrap();
        assert_eq!(&bytes[..bytes.len() - 4], b"\x01\x03d-1\x01a\x01\x0ahttp://h/x\x03\"e\"");
        assert_eq!(SavedOffer::decode(bytes), Some(SAMPLE));
    }

    #[test]
    fn d7_every_prefix_and_every_flipped_bit_is_none() {
        let mut buf = [0; 64];
        let bytes = SAMPLE.encode(&mut buf).unwrap().to_vec();
        for cut in 0..bytes.len() {
            assert_eq!(SavedOffer::decode(&bytes[..cut]), None, "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SavedOffer::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_cut() {
        let mut buf = [0; 64];
        let length = SAMPLE.encode(&mut buf).unwrap().len();
        for room in 0..length {
            assert_eq!(SAMPLE.encode(&mut vec![0; room]), None, "{room}");
        }
    }

    #[test]
    fn i11_an_offer_without_id_or_link_is_none() {
        for nothing in [SavedOffer { id: "", ..SAMPLE }, SavedOffer { link: "", ..SAMPLE }] {
            assert_eq!(SavedOffer::decode(nothing.encode(&mut [0; 64]).unwrap()), None);
        }
    }
}
