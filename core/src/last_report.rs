//! The record of a deployment that is over and whose end the server has not heard of yet. It takes the place of the
//! record of the update, so that restarts neither count as its writes nor call `Cleanup` again, and stays until the
//! server has heard of it, or refuses it for good.
//!
//! Layout: format number (1 byte), `postcard` of [`LastReport`], CRC-32 (IEEE) of all before it, little endian. A version
//! of the client that does not know this record leaves it alone.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::sealed;
use crate::text::Text;
use crate::time::Duration;

/// The format this version writes, and the only one it reads: what it cannot read it does not report.
const FORMAT: u8 = 1;

/// Room for an encoded record: beside the two texts it has at most 27 bytes.
pub const MAX_LEN: usize = limits::DEPLOYMENT_ID + limits::SUBSTATE + 32;

/// What the server must still hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Owed {
    /// The status, and after a failure the log.
    Status,
    /// The log: the status was accepted.
    Log,
}

/// A deployment that is over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ended {
    /// The server's id of the deployment.
    pub id: Text<{ limits::DEPLOYMENT_ID }>,
    /// It ended with `success`; else with `failure`, and its log is sent too.
    pub good: bool,
    /// What the server must still hear.
    pub owed: Owed,
    /// How long the server has answered with errors of its own.
    pub broken: Duration,
}

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReport<'a> {
    /// The deployment.
    pub ended: Ended,
    /// What is reported beside the status.
    pub substate: &'a str,
    /// [`mark`] of the server that made the offer, if it is known.
    pub server: Option<u32>,
}

/// What a server is known by on record: its number is its place in a list that a person may change.
#[must_use]
pub fn mark(url: &str) -> u32 {
    crate::crc::hash(url.as_bytes())
}

impl<'a> LastReport<'a> {
    /// The record's bytes, in the front of `buf`; `None` when they do not fit, which nothing of its size leads to.
    pub fn encode<'b>(&self, buf: &'b mut [u8; MAX_LEN]) -> Option<&'b [u8]> {
        sealed::seal(FORMAT, self, buf)
    }

    /// Reads a record; any bytes are either a whole one or none.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        sealed::open(FORMAT, bytes).filter(|report: &Self| !report.ended.id.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TextExt;

    fn sample() -> LastReport<'static> {
        let id = Text::copy("d-1").unwrap();
        let ended = Ended { id, good: true, owed: Owed::Log, broken: Duration::from_secs(1) };
        LastReport { ended, substate: "installed", server: Some(5) }
    }

    #[test]
    fn golden_bytes() {
        let mut buf = [0; MAX_LEN];
        let record = sample();
        let bytes = record.encode(&mut buf).unwrap();
        assert_eq!(&bytes[..bytes.len() - 4], b"\x01\x03d-1\x01\x01\xe8\x07\x09installed\x01\x05");
        assert_eq!(LastReport::decode(bytes), Some(record));
    }

    #[test]
    fn d7_every_prefix_and_every_flipped_bit_is_none() {
        let mut buf = [0; MAX_LEN];
        let bytes = sample().encode(&mut buf).unwrap().to_vec();
        for cut in 0..bytes.len() {
            assert_eq!(LastReport::decode(&bytes[..cut]), None, "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(LastReport::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn the_longest_record_fits() {
        let (id, substate) = ("i".repeat(limits::DEPLOYMENT_ID), "s".repeat(limits::SUBSTATE));
        let ended = Ended { id: Text::copy(&id).unwrap(), broken: Duration::MAX, ..sample().ended };
        let longest = LastReport { ended, substate: &substate, server: Some(u32::MAX) };
        assert_eq!(LastReport::decode(longest.encode(&mut [0; MAX_LEN]).unwrap()), Some(longest));
    }

    #[test]
    fn i11_a_report_without_an_id_is_none() {
        let nameless = Ended { id: Text::new(), ..sample().ended };
        let nameless = LastReport { ended: nameless, ..sample() };
        assert_eq!(LastReport::decode(nameless.encode(&mut [0; MAX_LEN]).unwrap()), None);
    }
}
