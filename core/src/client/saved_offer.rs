//! The record of the server's offer: what a later process needs to go on with a download. `no_saved_offer.rs` takes the place
//! of this file where the feature `resumed-downloads` is off.
//!
//! Layout: format number (1 byte), `postcard` of [`SavedOffer`], CRC-32 (IEEE) of all before it, little endian. Fields
//! are appended, never reordered; the golden bytes in the tests guard it.

use serde::{Deserialize, Serialize};

use super::Client;
use super::download::Download;
use super::messages::{RecordText, say};
use super::offer::Offered;
use crate::checkpoint::Checkpoint;
use crate::deployment::Mode;
use crate::hal::{Cause, Change, Hal, Key, Level, Log, Platform, Storage};
use crate::http::Target;
use crate::http::url::Url;
use crate::sealed;
use crate::text::{Text, TextExt};

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

/// What puts the offer on record, made in `out`; `None`: there is no link, or no room for it.
pub(super) fn change<'o>(
    deployment: &str,
    offered: &Offered,
    download: &Download<'_>,
    out: &'o mut [u8],
    log: &mut impl Log,
) -> Option<Change<'o>> {
    // An offer without a link is not worth going on with: the download fails at once.
    let offer = SavedOffer {
        id: deployment,
        artifact_name: offered.artifact_name(),
        fits_device: offered.fits_device(),
        link: download.source.link()?,
        etag: download.etag.as_str(),
    };
    let record = offer.encode(out);
    if record.is_none() {
        say(log, Level::Warning, &RecordText::OfferTooLong);
    }
    record.map(|record| Change::Put(Key::Offer, record))
}

impl<P: Platform> Client<'_, P> {
    /// Reads the offer of the saved deployment: what an earlier process knew of the download that goes on. One of another
    /// deployment, or a damaged one, is none: the download then does not go on.
    pub(super) fn load_offer(&mut self, saved: &Checkpoint) -> Option<()> {
        if saved.mode != Mode::Managed {
            return None;
        }
        let Self { hal: Hal { storage, log, .. }, lent, download, requests, .. } = self;
        let record = storage.read(Key::Offer, lent.free().0);
        let record = record.map_err(|error| {
            say(log, Level::Error, &RecordText::Offer { error: Cause::of(&error) });
        });
        let offer = SavedOffer::decode(record.ok()??)?;
        if saved.deployment != *offer.id {
            return None;
        }
        Url::parse(offer.link).ok()?;
        download.etag = Text::copy(offer.etag).ok()?;
        requests.offered = Offered::new(Text::copy(offer.artifact_name).ok()?, offer.fits_device);
        download.source.set(Target::Url(offer.link)).ok()
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
