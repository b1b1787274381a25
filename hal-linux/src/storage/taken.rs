//! What is remembered of the database of Mender's client. Records of the client itself count from 0; these from 255 down:
//!
//! | record | what it remembers |
//! |---|---|
//! | 255 | the number of the state whose name and provides were taken over (8 bytes, little-endian), then the provides that came of it |
//! | 254 | a format (1); what became of the update that was unfinished in it (1: it goes on here, 2: it is settled); the number; the deployment |

use super::unfinished::Finding;

pub(super) const IMPORTED: u8 = 255;
pub(super) const TAKEN: u8 = 254;

/// The format of record 254.
const FORMAT: u8 = 1;

/// What Mender's client had not finished, and nothing was decided about.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) finding: Finding,
    pub(super) transaction: u64,
    pub(super) maps: Option<Vec<u8>>,
    /// An update that begins takes its place.
    pub(super) is_replaced: bool,
}

/// Record 254.
pub(super) struct Taken<'a> {
    pub(super) goes_on: bool,
    pub(super) transaction: u64,
    pub(super) deployment: &'a [u8],
}

impl<'a> Taken<'a> {
    pub(super) fn decode(record: &'a [u8]) -> Option<Self> {
        let [FORMAT, how, rest @ ..] = record else { return None };
        let (transaction, deployment) = rest.split_first_chunk()?;
        Some(Self { goes_on: *how == 1, transaction: u64::from_le_bytes(*transaction), deployment })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut record = vec![FORMAT, if self.goes_on { 1 } else { 2 }];
        record.extend(self.transaction.to_le_bytes());
        record.extend(self.deployment);
        record
    }
}
